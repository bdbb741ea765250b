"""What is known of the tenants' states, and the calls that end when a state changes.

The resolver streams every change. A context of an older generation is refused from the moment that the change
is known here; the calls of a tenant that may no longer work are ended, streams included. A tenant that nothing
was heard of passes: then the context's lifetime is the bound.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from boundary.context import READ, TenantContext
from boundary.errors import (
    SiloError,
    Unauthenticated,
    Unavailable,
    key_destroyed,
    tenant_read_only,
    tenant_unavailable,
)
from boundary.ids import TenantId
from boundary.interceptors.call import Call

STALE = "CONTEXT_STALE"
"""The reason with which a context of an older generation is refused; a fresh one will be taken."""

_END_SECONDS = 10.0
_END_POLL_SECONDS = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantState:
    """A tenant's state at a generation.

    Attributes:
        active: whether its callers are served.
        read_only: whether they may only read, because the data is being moved.
        key_destroyed: whether the tenant's key is destroyed, and what was encrypted under it gone for good.
    """

    tenant_id: TenantId
    generation: int
    active: bool
    read_only: bool = False
    key_destroyed: bool = False


class LiveCalls:
    """The calls under way, by tenant."""

    def __init__(self) -> None:
        self._calls: dict[TenantId, set[Call]] = {}

    def add(self, tenant_id: TenantId, call: Call) -> None:
        """Notes that call is under way."""
        self._calls.setdefault(tenant_id, set()).add(call)

    def remove(self, tenant_id: TenantId, call: Call) -> None:
        """Notes that call has ended."""
        calls = self._calls.get(tenant_id)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self._calls[tenant_id]

    def end(self, tenant_id: TenantId) -> None:
        """Ends every call of a tenant with the answer for a tenant that is not available.

        The platform's own work on the tenant goes on: its end is what that work may be.
        """
        self._end(tenant_id, tenant_unavailable, lambda _: True)

    async def ended(self, tenant: TenantContext) -> None:
        """Ends every call of a tenant at the context's place; returns when they have ended.

        The platform's own work goes on, and so do calls at another place: those of a tenant that has moved there.

        Raises:
            Unavailable: one of them does not end (`TENANT_BUSY`).
        """

        def here(call: Call) -> bool:
            return call.context is None or call.context.placement == tenant.placement

        until = time.monotonic() + _END_SECONDS
        calls = self._calls
        while any(here(c) and not _is_own_work(c) for c in calls.get(tenant.tenant_id, ())):
            self._end(tenant.tenant_id, tenant_unavailable, here)
            if time.monotonic() >= until:
                raise Unavailable("TENANT_BUSY", "a call of the tenant does not end")
            await asyncio.sleep(_END_POLL_SECONDS)

    def end_writes(self, tenant_id: TenantId) -> None:
        """Ends every call of a tenant that is not a read, with the answer for a tenant that may only read."""
        self._end(
            tenant_id, tenant_read_only, lambda call: not call.method.permission.endswith(READ)
        )

    def end_shredded(self, tenant_id: TenantId) -> None:
        """Ends every call of a tenant whose key is destroyed: one that has begun may hold what it unwrapped."""
        self._end(tenant_id, key_destroyed, lambda _: True)

    def _end(
        self, tenant_id: TenantId, refusal: Callable[[], SiloError], ends: Callable[[Call], bool]
    ) -> None:
        for call in tuple(self._calls.get(tenant_id, ())):
            if call.task is None or call.refusal is not None or _is_own_work(call):
                continue
            if ends(call):
                call.refusal = refusal()
                call.task.cancel()


def _is_own_work(call: Call) -> bool:
    """Whether a call is the platform's own work on its tenant."""
    return call.context is not None and call.context.lifecycle


class TenantStates:
    """The newest state of each tenant that was heard of."""

    def __init__(self, live_calls: LiveCalls) -> None:
        self._states: dict[TenantId, TenantState] = {}
        self._live_calls = live_calls
        self._listeners: list[Callable[[TenantState], None]] = []

    def on_change(self, listener: Callable[[TenantState], None]) -> None:
        """Calls listener with every state that is newer than what was known."""
        self._listeners.append(listener)

    def observe(self, state: TenantState) -> None:
        """Takes a state; one that is older than what is known is passed over."""
        known = self._states.get(state.tenant_id)
        if known is not None and known.generation >= state.generation:
            return
        self._states[state.tenant_id] = state
        if not state.active:
            self._live_calls.end(state.tenant_id)
        elif state.read_only:
            self._live_calls.end_writes(state.tenant_id)
        if state.key_destroyed and not (known is not None and known.key_destroyed):
            self._live_calls.end_shredded(state.tenant_id)
        for listener in self._listeners:
            listener(state)

    def check(self, context: TenantContext) -> None:
        """Returns where context is of the newest generation of an active tenant, or for the platform's own work.

        Raises:
            PermissionDenied: the tenant may not work.
            Unauthenticated: the context is of an older generation; resolve again.
        """
        state = self._states.get(context.tenant_id)
        if state is None or context.generation > state.generation or context.lifecycle:
            return  # the resolver signed it after what was heard last, or knows what it does
        if not state.active:
            raise tenant_unavailable()
        if context.generation < state.generation:
            raise Unauthenticated(STALE, "the tenant context is not the newest; resolve again")

    def require_active(self, tenant_id: TenantId) -> None:
        """Returns where nothing was heard that keeps the tenant from working.

        Raises:
            PermissionDenied: the tenant may not work.
        """
        state = self._states.get(tenant_id)
        if state is not None and not state.active:
            raise tenant_unavailable()

    def knows(self, tenant_id: TenantId) -> bool:
        """Whether anything was heard of the tenant."""
        return tenant_id in self._states

    def newest_generation(self, tenant_id: TenantId) -> int:
        """The newest generation that was heard of; 0 where nothing was."""
        state = self._states.get(tenant_id)
        return state.generation if state is not None else 0

    def writable_tenants(self) -> Iterator[TenantId]:
        """The tenants that may write, as known now."""
        return (
            state.tenant_id
            for state in tuple(self._states.values())
            if state.active and not state.read_only
        )
