"""The data keys of tenants: stored wrapped, held unwrapped for some minutes, and for no moment after their end.

A data key has a purpose and a version. It is made when it is first needed for writing and stored, wrapped under
the tenant's key, beside what it encrypts; of several processes that make it at once, the first to store it
wins. Store and keeper are asked once for each data key and lifetime, however many calls wait for it. A lifetime
is absolute and never slides. What the resolver tells of a destroyed key (boundary.tenants) empties the memory
at once and for good; where its stream is broken, the lifetime is the bound.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from boundary.context import Placement, TenantContext
from boundary.errors import key_destroyed
from boundary.ids import TenantId
from boundary.tenants import TenantState
from services.keys.ports import DataKeys
from services.keys.refusals import damaged, told

_SIZE = 10_000

_Slot = tuple[TenantId, Placement, str, int]
"""Tenant, place, purpose and version: each place of a tenant that is moved has data keys of its own."""

_Flight = tuple[_Slot, bool]
"""A data key that is being asked for, and whether it is made where there is none."""


class DataKeyRecords(Protocol):
    """Where wrapped data keys stand, in the tenant's own part of the engine that they encrypt for."""

    async def find(self, tenant: TenantContext, *, purpose: str, version: int) -> bytes | None:
        """The wrapped data key, or None."""

    async def add(
        self, tenant: TenantContext, wrapped: bytes, *, purpose: str, version: int
    ) -> bytes:
        """Stores a wrapped data key where there is none; the one that is stored then."""

    async def drop(self, tenant: TenantContext, *, purpose: str, before: int) -> int:
        """Removes the data keys of every version below before; says how many there were."""


class KeyRing:
    """The data keys of this process's tenants.

    Every method raises FailedPrecondition where the tenant's key does not serve, DataLoss where a stored data
    key is lost or damaged, Unavailable or ResourceExhausted where store or keeper cannot serve it.
    """

    def __init__(
        self,
        keys: DataKeys,
        records: DataKeyRecords,
        *,
        seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the guarded key port and the store.

        Args:
            seconds: for how long a data key is held.
            clock: seconds that only rise.
        """
        self._keys = keys
        self._records = records
        self._seconds = seconds
        self._clock = clock
        self._held: OrderedDict[_Slot, tuple[float, bytes]] = OrderedDict()
        self._coming: dict[_Flight, asyncio.Future[bytes]] = {}
        self._destroyed: set[TenantId] = set()

    async def read(self, tenant: TenantContext, *, purpose: str, version: int) -> bytes:
        """The data key of a version, which something was encrypted under."""
        return await self._obtain(tenant, purpose, version, make=False)

    async def write(self, tenant: TenantContext, *, purpose: str, version: int) -> bytes:
        """The data key of a version, made where there is none."""
        return await self._obtain(tenant, purpose, version, make=True)

    async def drop(self, tenant: TenantContext, *, purpose: str, before: int) -> int:
        """Removes data keys that nothing is encrypted under any more; says how many."""
        return await self._records.drop(tenant, purpose=purpose, before=before)

    def observe(self, state: TenantState) -> None:
        """Forgets the keys of a tenant that has changed, and for good those of one whose key is destroyed.

        A tenant that may not work has nothing unwrapped, and one that was moved is asked about where it is now.
        """
        if state.key_destroyed:
            self._destroyed.add(state.tenant_id)
        self.forget(state.tenant_id)

    def forget(self, tenant_id: TenantId) -> None:
        """Holds nothing of a tenant any more, for when the store has lost it."""
        for slot in [slot for slot in self._held if slot[0] == tenant_id]:
            del self._held[slot]

    def require(self, tenant: TenantContext) -> None:
        """Returns where the tenant's key is not known to be destroyed."""
        if tenant.key_destroyed and tenant.tenant_id not in self._destroyed:
            self._destroyed.add(tenant.tenant_id)
            self.forget(tenant.tenant_id)
        if tenant.tenant_id in self._destroyed:
            raise key_destroyed()

    async def _obtain(
        self, tenant: TenantContext, purpose: str, version: int, *, make: bool
    ) -> bytes:
        self.require(tenant)
        slot = (tenant.tenant_id, tenant.placement, purpose, version)
        held = self._held.get(slot)
        if held is not None and self._clock() < held[0]:
            return held[1]
        flight = (slot, make)
        coming = self._coming.get(flight)
        if coming is None:
            coming = asyncio.ensure_future(self._ask(tenant, slot, make=make))
            self._coming[flight] = coming
            coming.add_done_callback(lambda done: self._arrived(flight, done))
        found = await asyncio.shield(coming)
        self.require(tenant)  # its key may have been destroyed meanwhile
        return found

    async def _ask(self, tenant: TenantContext, slot: _Slot, *, make: bool) -> bytes:
        _, _, purpose, version = slot
        wrapped = await self._records.find(tenant, purpose=purpose, version=version)
        if wrapped is None and make:
            with told():
                made = await self._keys.generate(tenant.key, purpose=purpose)
            wrapped = await self._records.add(
                tenant, made.wrapped, purpose=purpose, version=version
            )
        if wrapped is None:
            raise damaged("DATA_KEY_MISSING", "a data key of the tenant is lost", _place(slot))
        return await self._open(tenant, slot, wrapped)

    async def _open(self, tenant: TenantContext, slot: _Slot, wrapped: bytes) -> bytes:
        expires_at = self._clock() + self._seconds
        with told(_place(slot)):
            plaintext = await self._keys.unwrap(tenant.key, wrapped, purpose=slot[2])
        if slot[0] not in self._destroyed:
            self._held[slot] = (expires_at, plaintext)
            self._held.move_to_end(slot)
            if len(self._held) > _SIZE:
                self._held.popitem(last=False)
        return plaintext

    def _arrived(self, flight: _Flight, done: asyncio.Future[bytes]) -> None:
        self._coming.pop(flight, None)
        if not done.cancelled():
            done.exception()  # whoever waited has it, and there may be nobody left


def _place(slot: _Slot) -> str:
    tenant_id, _, purpose, version = slot
    return f"version {version} for {purpose} of tenant {tenant_id}"
