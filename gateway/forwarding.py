"""What goes out with a forwarded call, for every call shape: the credential, the metadata and the deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import grpc

from boundary.catalog import Method
from boundary.channel import connected
from boundary.context import CONTEXT_KEY
from boundary.errors import tenant_unavailable
from boundary.interceptors.call import Call
from boundary.metadata import REQUEST_ID_KEY, Metadata
from boundary.tenants import STALE
from boundary.tokens import AUTHORIZATION_KEY, Caller
from gateway.contexts import ContextCache
from gateway.failures import failure_of
from gateway.resolution import Resolved
from silo.policy.v1 import policy_pb2

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Start = Callable[[Metadata, float | None, *Ts], Awaitable[T]]
"""Starts a call with metadata, a timeout in seconds and maybe its message, and returns once the service has let it
through.

Raises AioRpcError where the service refused or failed it.
"""

_PASSED_ON = frozenset({"traceparent", "tracestate"})
"""The caller's metadata that services see (W3C Trace Context). Everything else stays at the edge: services act on
nothing that a caller can put there, so there is nothing to forge."""

_UNARY_SECONDS = 60.0
"""How long a unary call may take whose caller set no deadline."""


class Forwarding:
    """Starts calls of one method at its service."""

    def __init__(
        self, method: Method, *, contexts: ContextCache, channel: grpc.aio.Channel
    ) -> None:
        self.method = method
        self.channel = channel
        self._contexts = contexts
        self._takes_context = method.credential == policy_pb2.CREDENTIAL_CONTEXT
        streams = method.client_streaming or method.server_streaming
        self._seconds = None if streams else _UNARY_SECONDS

    async def start(self, call: Call, start: Start[*Ts, T], *message: *Ts) -> T:
        """What start returns.

        A context that the service finds stale (the tenant has changed) is replaced, and the call started once
        more: nothing of it had been done. No other failure is retried.

        Raises:
            SiloError: the call cannot be started, or the service refused it.
        """
        resolved = None
        if self._takes_context:
            caller = call.operator
            resolved = self._contexts.held(caller, self.method.service)
            if resolved is None:
                resolved = await self._resolve(call, caller)
        if self.channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY:
            await connected(self.channel)
        # From here on the service has the call: it records it, also where the caller goes away meanwhile.
        call.recorded_downstream = True
        try:
            return await start(_metadata(call, resolved), self._timeout(call), *message)
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error, call)
            if resolved is None or failure.reason != STALE:
                raise failure from error
        resolved = await self._contexts.resolve(
            call.operator, self.method.service, request_id=call.request_id, rejected=resolved
        )
        call.recorded_downstream = True
        try:
            return await start(_metadata(call, resolved), self._timeout(call), *message)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error, call) from error

    async def _resolve(self, call: Call, caller: Caller) -> Resolved:
        if not caller.tenant_id:
            raise tenant_unavailable()
        return await self._contexts.resolve(caller, self.method.service, request_id=call.request_id)

    def _timeout(self, call: Call) -> float | None:
        if call.deadline is None:
            return self._seconds
        return call.remaining(at_most=float("inf"))


def _metadata(call: Call, resolved: Resolved | None) -> Metadata:
    """Exactly one credential, the request id, and the trace. The JWT goes only to methods that take a JWT."""
    if resolved is not None:
        credential = (CONTEXT_KEY, resolved.context)
    else:
        credential = (AUTHORIZATION_KEY, f"Bearer {call.operator.token}")
    trace = [pair for pair in call.metadata if pair[0] in _PASSED_ON]
    return (credential, (REQUEST_ID_KEY, call.request_id), *trace)
