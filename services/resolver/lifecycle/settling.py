"""Keeping a tenant from being written to, and waiting until what was begun before that is over."""

from __future__ import annotations

from dataclasses import dataclass

from boundary.context import ACTIVE, MOVING
from boundary.errors import FailedPrecondition
from services.resolver.directory import Tenant, now_micros
from services.resolver.lifecycle.kinds import WaitUntil
from services.resolver.lifecycle.work import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """How long to wait after a change of status.

    A service that hears of the change refuses older contexts and ends calls at once. One that does not hear is
    bound by the contexts' lifetime, and a call that it has admitted by how long calls last.

    Attributes:
        seconds: the lifetime of contexts, the skew of clocks, and the time that admitted writes may take.
    """

    seconds: float

    async def after_hold(self, work: Work) -> None:
        """Waits until writes that were begun before `hold` are over."""
        self._wait(work, "held_at", "writes that were begun before come to their end")

    async def after_switch(self, work: Work) -> None:
        """Waits until reads at the former place are over."""
        self._wait(work, "switched_at", "reads at the former place come to their end")

    def _wait(self, work: Work, since: str, detail: str) -> None:
        changed_at = work.memory[since]
        if not isinstance(changed_at, int):
            raise TypeError(f"{since} is no moment")
        moment = changed_at + round(self.seconds * 1e6)
        if now_micros() < moment:
            raise WaitUntil(moment, detail)


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
    if "held_at" not in work.memory:
        await work.remember(held_at=now_micros())


async def let_go(work: Work) -> None:
    """The tenant is written to again."""
    if (await work.tenant()).status == MOVING:
        await work.change_tenant(status=ACTIVE)
