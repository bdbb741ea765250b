"""What a step of an operation has to work with."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from boundary.context import Placement
from boundary.errors import NotFound, SiloError, Unavailable
from boundary.ids import TenantId
from services.resolver.changes import Changes
from services.resolver.directory import Changed, Directory, Placed, Tenant, now_micros
from services.resolver.lifecycle.holding import Holding
from services.resolver.lifecycle.pauses import WaitUntil
from services.resolver.lifecycle.records import Operation, told_time
from services.resolver.lifecycle.services import Access, Services
from services.resolver.lifecycle.store import OperationStore
from services.resolver.ports import Value
from services.resolver.resolution import subject_of

_ATTEMPTS = 8
_LOOK_SECONDS = 0.5
"""How often the directory is asked for what other resolvers may have changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What every operation works with, whatever its kind."""

    store: OperationStore
    directory: Directory
    changes: Changes
    services: Services


class Work:
    """One operation, as its steps see it. Everything that it writes is refused once another resolver holds it."""

    def __init__(self, holding: Holding, tools: Tools) -> None:
        self._holding = holding
        self._tools = tools

    @property
    def operation(self) -> Operation:
        """The operation as it is now."""
        return self._holding.operation

    @property
    def tenant_id(self) -> TenantId:
        """The tenant that it is about."""
        return self._holding.operation.tenant_id

    @property
    def parameters(self) -> Mapping[str, Value]:
        """What was asked for."""
        return self._holding.operation.parameters

    @property
    def memory(self) -> Mapping[str, Value]:
        """What steps have kept with `remember`."""
        return self._holding.operation.memory

    def number(self, name: str) -> int:
        """A number that steps have kept; 0 where they have not.

        Raises:
            TypeError: what they have kept is none.
        """
        value = self.memory.get(name, 0)
        if not isinstance(value, int):
            raise TypeError(f"{name} is no number")
        return value

    async def remember(self, **values: Value) -> None:
        """Keeps values for later steps and for after a crash; they are written when this returns.

        Raises:
            LeaseLost: another resolver holds the operation.
        """
        await self._holding.remember(values)

    async def mark(self, name: str) -> None:
        """Keeps the present moment under a name, unless an earlier try has kept one.

        Raises:
            LeaseLost: another resolver holds the operation.
        """
        if name not in self.memory:
            await self.remember(**{name: now_micros()})

    def wait(self, seconds: float, *, since: str, detail: str) -> None:
        """Returns where so much time is over since a moment that was marked.

        Args:
            since: the name under which it was.
            detail: what is waited for, for people.

        Raises:
            WaitUntil: it is not yet.
        """
        marked = self.memory[since]
        if not isinstance(marked, int):
            raise TypeError(f"{since} is no moment")
        moment = marked + round(seconds * 1e6)
        if now_micros() < moment:
            raise WaitUntil(moment, f"waits until {told_time(moment)}: {detail}")

    async def leave_no_way_back(self, **values: Value) -> None:
        """Passes the point of no return within a step, and keeps values; both are written when this returns.

        For steps that may still find something in their way: `Step.final` is passed as soon as a step begins.

        Raises:
            CancelRequested: somebody wants the operation rolled back, and still can.
            LeaseLost: another resolver holds the operation.
        """
        memory = {**self._holding.operation.memory, **values}
        await self._holding.write(unless_cancelled=True, memory=memory, cancellable=False)

    async def forget_parameters(self, *names: str) -> None:
        """Drops what was asked for and is needed no more, before this returns.

        Raises:
            LeaseLost: another resolver holds the operation.
        """
        kept = {name: value for name, value in self.parameters.items() if name not in names}
        await self._holding.write(parameters=kept)

    async def set_result(self, **result: Value) -> None:
        """Says what comes of the operation: one field of the proto's `result`, by name."""
        await self._holding.write(result=result)

    def progress(self, done: int, total: int = 0, unit: str = "", detail: str = "") -> None:
        """Says how far the running step is. Costs next to nothing; watchers see it at once."""
        self._holding.progress(done=done, total=total, unit=unit, detail=detail)

    async def tenant(self, tenant_id: TenantId | None = None) -> Tenant:
        """The tenant as the directory has it now; the operation's own unless another is named.

        Raises:
            NotFound: there is none.
        """
        tenant_id = tenant_id or self.tenant_id
        tenant = await self._tools.directory.find(tenant_id)
        if tenant is None:
            raise NotFound(f"tenants/{tenant_id}")
        return tenant

    async def until_tenant(self, holds: Callable[[Tenant], bool]) -> Tenant:
        """The operation's tenant once something holds of it.

        This resolver's changes are seen at once, those of others within half a second or so.

        Raises:
            NotFound: there is none.
            Unavailable: the directory does not answer.
        """
        with self._tools.changes.subscribe() as subscription:
            while not holds(tenant := await self.tenant()):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        async for changed in subscription.changes():
                            if changed.tenant_id == self.tenant_id:
                                break
        return tenant

    async def change_tenant(self, **changes: object) -> Tenant:
        """The tenant with changes; everyone who watches has been told when this returns.

        The change is made in one transaction with a look at the operation's fence: a resolver that has lost the
        operation without knowing it changes nothing.

        Raises:
            NotFound: there is no such tenant.
            LeaseLost: another resolver holds the operation.
        """
        for _ in range(_ATTEMPTS):
            tenant = await self.tenant()
            if all(getattr(tenant, name) == value for name, value in changes.items()):
                self._tools.changes.publish(tenant)  # a crash may have come before the telling
                return tenant
            changed = tenant.changed(**changes)
            try:
                await self._tools.directory.replace(
                    changed, etag=tenant.etag, checks=[self.fence()]
                )
            except Changed:
                await self._holding.write()  # tells a lost fence from a tenant that others changed
                continue
            self._tools.changes.publish(changed)
            return changed
        raise tenant_busy()

    def fence(self) -> Placed:
        """What makes a transaction of the directory fail once another resolver holds the operation."""
        return self._tools.store.fence(self.operation)

    async def at(
        self,
        service: str,
        *permissions: str,
        placement: Placement | None = None,
        tenant_id: TenantId | None = None,
    ) -> Access:
        """One of data, storage and search, for work on the tenant under lifecycle permissions.

        Args:
            service: `data`, `storage` or `search`.
            permissions: for example `lifecycle.purge`.
            placement: where the tenant is worked on; where it lives, unless set.
            tenant_id: another tenant than the operation's, of which an operator has asked to read.

        Raises:
            NotFound: there is no such tenant.
        """
        subject = subject_of(await self.tenant(tenant_id))
        if placement is not None:
            subject = replace(subject, placement=placement)
        return self._tools.services.at(service, subject=subject, permissions=permissions)


def tenant_busy() -> Unavailable:
    """The error for a tenant's record that others change at the same time; it may be tried again."""
    return Unavailable("TENANT_BUSY", "the tenant is being changed by others")


def is_transient(error: SiloError) -> bool:
    """Whether the same may succeed a little later."""
    if error.code == "RESOURCE_EXHAUSTED":
        return error.retry_after is not None
    return error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")
