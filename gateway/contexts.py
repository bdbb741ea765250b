"""The gateway's cache of tenant contexts.

Entries live until shortly before their context ends, counted from its minting: use does not prolong them. There is
one resolution under way for each caller and audience, whoever waits for it. A change of a tenant drops what is
held for it, and a resolution that the change overtook is not kept. Refusals are never kept, and nothing is ever
served in place of an answer that the resolver did not give.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from boundary.context import CLOCK_SKEW
from boundary.errors import PermissionDenied, Unauthenticated
from boundary.ids import TenantId
from boundary.tenants import TenantState, TenantStates
from boundary.tokens import Caller
from gateway.resolution import Resolved

_SIZE = 10_000

_MARGIN = CLOCK_SKEW + 1.0
"""Seconds before its end at which a context is no longer sent: the service's clock may be ahead of ours."""

_REFRESH_AHEAD = (8.0, 16.0)
"""Seconds before that at which the next context is asked for, drawn anew each time so that callers who came
together do not come together for ever."""

_REFRESH_RETRY = 1.0
"""Seconds between attempts to refresh where the resolver does not answer."""

Key = tuple[str, str]
"""The caller's JWT and the audience."""


class Resolver(Protocol):
    """Where contexts come from."""

    async def resolve(self, caller: Caller, audience: str, *, request_id: str) -> Resolved:
        """A new context for the caller's tenant at one service.

        Raises:
            PermissionDenied, Unauthenticated: the resolver refused.
            Unavailable: the resolver does not answer.
        """


@dataclass(slots=True, kw_only=True)
class _Entry:
    resolved: Resolved
    refresh_at: float
    usable_until: float


class ContextCache:
    """Contexts by caller and audience."""

    def __init__(
        self,
        resolver: Resolver,
        states: TenantStates,
        *,
        clock: Callable[[], float] = time.time,
        size: int = _SIZE,
    ) -> None:
        """Takes the parts.

        Args:
            clock: seconds since the epoch.
            size: how many contexts are held; beyond it the oldest goes.
        """
        self._resolver = resolver
        self._states = states
        self._clock = clock
        self._size = size
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._by_tenant: dict[TenantId, set[Key]] = {}
        self._flights: dict[Key, asyncio.Task[Resolved]] = {}
        states.on_change(self._forget_tenant)

    def __len__(self) -> int:
        return len(self._entries)

    def held(self, caller: Caller, audience: str) -> Resolved | None:
        """The context that is held for a caller at a service, or None. Does not wait.

        Where the context nears its end, the next one is asked for in the background.
        """
        key = (caller.token, audience)
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._clock()
        if now < entry.refresh_at:
            return entry.resolved
        if now >= entry.usable_until:
            self._forget(key)
            return None
        entry.refresh_at = now + _REFRESH_RETRY
        self._flight(key, caller, "")
        return entry.resolved

    async def resolve(
        self, caller: Caller, audience: str, *, request_id: str, rejected: Resolved | None = None
    ) -> Resolved:
        """The context that is held, or else a new one.

        Args:
            request_id: names the call that asks, in the resolver's records.
            rejected: a context that a service found stale; it is not given again.

        Raises:
            PermissionDenied, Unauthenticated: the resolver refused.
            Unavailable: the resolver does not answer.
        """
        key = (caller.token, audience)
        if rejected is not None:
            self._forget_older(key, than=rejected.generation + 1)
        held = self.held(caller, audience)
        if held is not None:
            return held
        resolved = await asyncio.shield(self._flight(key, caller, request_id))
        if rejected is not None and resolved.generation <= rejected.generation:
            # The resolution had been under way before the change; a new one will not have been.
            self._forget_older(key, than=rejected.generation + 1)
            resolved = await asyncio.shield(self._flight(key, caller, request_id))
        return resolved

    def _flight(self, key: Key, caller: Caller, request_id: str) -> asyncio.Task[Resolved]:
        """The resolution that is under way for a key. It is a task of its own: no waiter's end ends it."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(self._fly(key, caller, request_id))
            flight.add_done_callback(_retrieve)
            self._flights[key] = flight
        return flight

    async def _fly(self, key: Key, caller: Caller, request_id: str) -> Resolved:
        try:
            resolved = await self._newest(key[1], caller, request_id)
        except (PermissionDenied, Unauthenticated):
            self._forget(key)
            raise
        finally:
            del self._flights[key]
        self._keep(key, caller, resolved)
        return resolved

    async def _newest(self, audience: str, caller: Caller, request_id: str) -> Resolved:
        """A new context; asked for again where a change of the tenant overtook the first answer."""
        resolved = await self._resolver.resolve(caller, audience, request_id=request_id)
        if resolved.generation < self._states.newest_generation(resolved.tenant_id):
            self._states.require_active(resolved.tenant_id)
            resolved = await self._resolver.resolve(caller, audience, request_id=request_id)
        self._states.require_active(resolved.tenant_id)
        return resolved

    def _keep(self, key: Key, caller: Caller, resolved: Resolved) -> None:
        usable_until = resolved.expires_at - _MARGIN
        stale = resolved.generation < self._states.newest_generation(resolved.tenant_id)
        if stale or usable_until <= self._clock():
            return
        refresh_at = usable_until - random.uniform(*_REFRESH_AHEAD)  # noqa: S311 - jitter
        if resolved.expires_at >= caller.expires_at:
            refresh_at = usable_until  # the JWT ends then, and with it every context
        self._forget(key)
        while len(self._entries) >= self._size:
            self._forget(next(iter(self._entries)))
        self._entries[key] = _Entry(
            resolved=resolved, refresh_at=refresh_at, usable_until=usable_until
        )
        self._by_tenant.setdefault(resolved.tenant_id, set()).add(key)

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        keys = self._by_tenant[entry.resolved.tenant_id]
        keys.discard(key)
        if not keys:
            del self._by_tenant[entry.resolved.tenant_id]

    def _forget_older(self, key: Key, *, than: int) -> None:
        entry = self._entries.get(key)
        if entry is not None and entry.resolved.generation < than:
            self._forget(key)

    def _forget_tenant(self, state: TenantState) -> None:
        for key in tuple(self._by_tenant.get(state.tenant_id, ())):
            self._forget(key)


def _retrieve(flight: asyncio.Task[Resolved]) -> None:
    """Looks at how a flight ended, so that a failure which nobody waits for is not reported as overlooked."""
    if not flight.cancelled():
        flight.exception()
