"""Keeping a tenant from being written to, and waiting until what was begun before that is over."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from boundary.context import MOVING
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


def require_at_rest(tenant: Tenant) -> None:
    """Returns where a tenant has data, which no operation has: it may be suspended.

    Raises:
        FailedPrecondition: it has none, or an operation has it (`TENANT_STATUS`).
    """
    if tenant.read_only or not tenant.has_data:
        status = MOVING if tenant.read_only else tenant.status
        raise FailedPrecondition("TENANT_STATUS", f"the tenant is {status}")


async def hold(work: Work) -> None:
    """From here on the tenant is read and not written to, but by the operation."""
    tenant = await work.tenant()
    if not tenant.read_only:
        require_at_rest(tenant)
    await work.change_tenant(read_only=True)
    await work.mark(HELD_AT)


async def let_go(work: Work) -> None:
    """The tenant is written to again, unless it has been suspended."""
    await work.change_tenant(read_only=False)
