"""Keeping a tenant from being written to, and waiting until what was begun before that is over."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from boundary.context import ACTIVE, MOVING
from boundary.errors import FailedPrecondition
from services.resolver.directory import Tenant
from services.resolver.lifecycle.work import Work

HELD_AT = "held_at"
"""Under what name it is marked when a tenant was kept from writing."""


def settled(
    seconds: float, *, since: str, detail: str
) -> Callable[[Work], Coroutine[Any, Any, None]]:
    """A step that waits after a change of status, until what was begun before it is over.

    A service that hears of the change refuses older contexts and ends calls at once. One that does not hear is
    bound by the contexts' lifetime, and a call that it has admitted by how long calls last.

    Args:
        seconds: the lifetime of contexts, the skew of clocks, and the time that admitted calls may take.
        since: under what name the change was marked.
        detail: what is waited for, for people.
    """

    async def wait(work: Work) -> None:
        work.wait(seconds, since=since, detail=detail)

    return wait


def after_hold(seconds: float) -> Callable[[Work], Coroutine[Any, Any, None]]:
    """A step that waits until writes that were begun before `hold` are over."""
    return settled(seconds, since=HELD_AT, detail="writes that were begun before come to their end")


def require_active(tenant: Tenant) -> None:
    """Returns where nothing but its own people is at work on a tenant.

    Raises:
        FailedPrecondition: it is suspended, or an operation has it (`TENANT_STATUS`).
    """
    if tenant.status != ACTIVE:
        raise FailedPrecondition("TENANT_STATUS", f"the tenant is {tenant.status}")


async def hold(work: Work) -> None:
    """From here on the tenant is read and not written to, but by the operation."""
    tenant = await work.tenant()
    if tenant.status != MOVING:
        require_active(tenant)
    await work.change_tenant(status=MOVING)
    await work.mark(HELD_AT)


async def let_go(work: Work) -> None:
    """The tenant is written to again."""
    if (await work.tenant()).status == MOVING:
        await work.change_tenant(status=ACTIVE)
