"""What a service asks of the resolver: verifying keys, the tenants' states, contexts for its own work."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import OrderedDict

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from google.rpc import status_pb2

from boundary.channel import connected
from boundary.context import TenantContext
from boundary.errors import SiloError, Unavailable, error_info, tenant_unavailable
from boundary.ids import TenantId
from boundary.issuer_keys import parse_jwks
from boundary.metadata import PEER_KEY, STATUS_KEY
from boundary.tenants import TenantState, TenantStates
from silo.resolver.v1 import context_pb2, context_pb2_grpc, tenant_pb2

_log = logging.getLogger(__name__)

_CALL_SECONDS = 5.0
_KEYS_LIFETIME = 300.0
_KEYS_RETRY = 0.5
_RENEW_BEFORE = 15.0
_CACHE_SIZE = 10_000
_MAX_BACKOFF = 0.5
_TELL_SECONDS = 10.0


def unreachable(service: str) -> Unavailable:
    """The error for a process of the suite that does not answer."""
    return Unavailable("SERVICE_UNAVAILABLE", f"the {service} service does not answer")


_WORKING = (tenant_pb2.TENANT_STATUS_ACTIVE, tenant_pb2.TENANT_STATUS_MOVING)
"""The statuses in which callers are served (boundary.context.WORKING)."""


class ResolverKeys:
    """The keys that verify contexts, cached.

    An unknown key id waits for the next fetch, which all who wait share and which comes at most every half
    second: a rotated key is found at once, and a flood of made-up key ids costs one fetch.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: context_pb2_grpc.ContextServiceAsyncStub = context_pb2_grpc.ContextServiceStub(
            channel
        )
        self._channel = channel
        self._keys: dict[str, Ed25519PublicKey] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> Ed25519PublicKey | None:
        """The key of that id, or None where the resolver has none.

        Raises:
            Unavailable: the resolver does not answer and no key set is held that is recent enough.
        """
        fresh = time.monotonic() - self._read_at < _KEYS_LIFETIME
        key = self._keys.get(key_id)
        if key is not None and fresh:
            return key
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch())
        await asyncio.shield(self._fetching)
        return self._keys.get(key_id)

    async def _fetch(self) -> None:
        await asyncio.sleep(max(0.0, self._tried_at + _KEYS_RETRY - time.monotonic()))
        self._tried_at = time.monotonic()
        await connected(self._channel)
        try:
            response = await self._stub.GetKeySet(
                context_pb2.GetKeySetRequest(), timeout=_CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise unreachable("resolver") from error
        self._keys = {
            key_id: jwk.key
            for key_id, jwk in parse_jwks(response.jwks).items()
            if isinstance(jwk.key, Ed25519PublicKey)
        }
        self._read_at = time.monotonic()


class TenantWatch:
    """Follows the tenants' states from the resolver, reconnecting for as long as it runs."""

    def __init__(self, channel: grpc.aio.Channel, *, peer_token: str, states: TenantStates) -> None:
        self._stub: context_pb2_grpc.ContextServiceAsyncStub = context_pb2_grpc.ContextServiceStub(
            channel
        )
        self._metadata = ((PEER_KEY, peer_token),)
        self._states = states
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Follows until it is cancelled. `synced` is set while the states are complete and current."""
        backoff, told_at = 0.01, float("-inf")
        while True:
            try:
                async for message in self._stub.WatchTenants(
                    context_pb2.WatchTenantsRequest(), metadata=self._metadata, wait_for_ready=True
                ):
                    backoff = 0.01
                    self._take(message)
            except grpc.aio.AioRpcError as error:
                if time.monotonic() - told_at > _TELL_SECONDS:
                    told_at = time.monotonic()
                    _log.warning("the tenants' states are not followed: %s", error.code().name)
            self.synced.clear()
            await asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            backoff = min(_MAX_BACKOFF, backoff * 2)

    def _take(self, message: context_pb2.WatchTenantsResponse) -> None:
        if message.HasField("synced"):
            self.synced.set()
            return
        state = message.tenant
        self._states.observe(
            TenantState(
                tenant_id=TenantId(state.tenant_id),
                generation=state.generation,
                active=state.status in _WORKING,
                read_only=state.status == tenant_pb2.TENANT_STATUS_MOVING,
                key_destroyed=state.key_destroyed,
            )
        )


class ResolverContexts:
    """Contexts for a service's own work: a boundary.delegation.ContextSource that caches."""

    def __init__(self, channel: grpc.aio.Channel, *, peer_token: str, states: TenantStates) -> None:
        self._stub: context_pb2_grpc.ContextServiceAsyncStub = context_pb2_grpc.ContextServiceStub(
            channel
        )
        self._channel = channel
        self._metadata = ((PEER_KEY, peer_token),)
        self._cache: OrderedDict[tuple[TenantId, str, str], tuple[float, str]] = OrderedDict()
        self._changes: dict[TenantId, int] = {}
        states.on_change(self._forget)

    async def on_behalf_of(self, context: TenantContext, *, audience: str) -> str:
        """A context token for the same tenant and principal at another service.

        Raises:
            PermissionDenied: the tenant is not available, or the delegation is not allowed.
            Unavailable: the resolver does not answer.
        """
        request = context_pb2.DelegateContextRequest(audience=audience, context=context.token)
        return await self._delegated((context.tenant_id, audience, context.token), request)

    async def for_tenant(self, tenant_id: TenantId, *, audience: str) -> str:
        """A context token for the service's own work in a tenant.

        Raises:
            PermissionDenied: the tenant is not available, or the delegation is not allowed.
            Unavailable: the resolver does not answer.
        """
        request = context_pb2.DelegateContextRequest(audience=audience, tenant_id=tenant_id)
        return await self._delegated((tenant_id, audience, ""), request)

    async def _delegated(
        self, key: tuple[TenantId, str, str], request: context_pb2.DelegateContextRequest
    ) -> str:
        known = self._cache.get(key)
        if known is not None and time.time() < known[0]:
            return known[1]
        overtaken = self._changes.get(key[0], 0)
        await connected(self._channel)  # a resolver that has just started is reached, not missed
        try:
            response = await self._stub.DelegateContext(
                request, metadata=self._metadata, timeout=_CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise delegation_error(error) from error
        if self._changes.get(key[0], 0) != overtaken:
            return (
                response.context
            )  # the tenant changed meanwhile; this one is good for one attempt
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.popitem(last=False)
        renew_at = response.expire_time.seconds - _RENEW_BEFORE
        self._cache[key] = (renew_at, response.context)
        return response.context

    def _forget(self, state: TenantState) -> None:
        self._changes[state.tenant_id] = state.generation
        for key in [key for key in self._cache if key[0] == state.tenant_id]:
            del self._cache[key]


def delegation_error(error: grpc.aio.AioRpcError) -> SiloError:
    """What a refused delegation means to the caller whose work needed it."""
    if error.code() in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED):
        info = error_info(rich_status(error))
        if info is None or info.reason != "PEER_UNKNOWN":
            return tenant_unavailable()
    return unreachable("resolver")


def rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """The google.rpc.Status that came with an error; an empty one where none came."""
    for key, value in error.trailing_metadata() or ():
        if key == STATUS_KEY and isinstance(value, bytes):
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()
