"""The gateway as it is built for production, between a caller and services of the tests' own."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from boundary.channel import open_channel
from boundary.context import CONTEXT_LIFETIME
from boundary.errors import SiloError, status_of
from boundary.metadata import STATUS_KEY
from boundary.server import Server
from gateway.bootstrap import build
from gateway.settings import GatewaySettings
from silo.resolver.v1 import context_pb2, tenant_pb2
from tests.audit_records import records_in
from tests.contexts import mint_token
from tests.serving import Serving, serving

_KEY = ec.generate_private_key(ec.SECP256R1())


def token(tenant_id: str = "A", *, permissions: Any = ("*",), **claims: Any) -> str:
    """A JWT of the development issuer."""
    body = {
        "iss": "https://dev.silo.local",
        "aud": "silo",
        "sub": "alice",
        "iat": int(time.time()),
        "exp": int(time.time()) + 3600,
        "custom:permissions": list(permissions),
        "jti": secrets.token_hex(4),
        **({"custom:tenantId": tenant_id} if tenant_id else {}),
        **claims,
    }
    return jwt.encode(body, _KEY, algorithm="ES256", headers={"kid": "dev-1"})


def bearer(*args: Any, **claims: Any) -> tuple[tuple[str, str], ...]:
    """The metadata of a caller."""
    return (("authorization", f"Bearer {token(*args, **claims)}"),)


@dataclass
class FakeResolver:
    """Resolves any tenant that is not suspended; tells of changes when it is told to."""

    generations: dict[str, int] = field(default_factory=dict)
    suspended: set[str] = field(default_factory=set)
    lifetime: float = CONTEXT_LIFETIME
    resolved: list[tuple[str, str]] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    gate: asyncio.Event | None = None
    refusal: SiloError | None = None
    watchers: list[asyncio.Queue[context_pb2.WatchTenantsResponse]] = field(default_factory=list)
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    operator_calls: list[dict[str, list[Any]]] = field(default_factory=list)

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        contexts = {
            "ResolveTenant": grpc.unary_unary_rpc_method_handler(
                self._resolve,
                request_deserializer=context_pb2.ResolveTenantRequest.FromString,
                response_serializer=context_pb2.ResolveTenantResponse.SerializeToString,
            ),
            "WatchTenants": grpc.unary_stream_rpc_method_handler(
                self._watch,
                request_deserializer=context_pb2.WatchTenantsRequest.FromString,
                response_serializer=context_pb2.WatchTenantsResponse.SerializeToString,
            ),
        }
        tenants = {"GetTenant": grpc.unary_unary_rpc_method_handler(self._get_tenant)}
        return (
            grpc.method_handlers_generic_handler("silo.resolver.v1.ContextService", contexts),
            grpc.method_handlers_generic_handler("silo.resolver.v1.TenantService", tenants),
        )

    async def _resolve(self, request: Any, rpc: Any) -> context_pb2.ResolveTenantResponse:
        metadata = dict(rpc.invocation_metadata())
        claims = jwt.decode(
            metadata["authorization"].removeprefix("Bearer "), options={"verify_signature": False}
        )
        tenant_id = claims.get("custom:tenantId", "")
        self.resolved.append((tenant_id, request.audience))
        self.request_ids.append(metadata["x-request-id"])
        generation = self.generations.get(tenant_id, 1)
        if self.gate is not None:
            await self.gate.wait()
        if self.refusal is not None:
            status = status_of(self.refusal, "resolvers-own-id")
            await rpc.abort(
                grpc.StatusCode[self.refusal.code],
                self.refusal.message,
                ((STATUS_KEY, status.SerializeToString()),),
            )
        expires_at = min(time.time() + self.lifetime, claims["exp"])
        response = context_pb2.ResolveTenantResponse(
            context=mint_token(
                tenant_id,
                permissions=claims["custom:permissions"],
                audience=request.audience,
                principal=claims["sub"],
                generation=generation,
                not_after=expires_at,
            ),
            tenant_id=tenant_id,
            generation=generation,
        )
        response.expire_time.FromNanoseconds(int(expires_at * 1e9))
        return response

    async def _watch(self, _: Any, rpc: Any) -> None:
        queue: asyncio.Queue[context_pb2.WatchTenantsResponse] = asyncio.Queue()
        self.watchers.append(queue)
        self.watched.set()
        await rpc.write(context_pb2.WatchTenantsResponse(synced=context_pb2.Synced()))
        while True:
            await rpc.write(await queue.get())

    async def _get_tenant(self, raw: bytes, rpc: Any) -> bytes:
        seen: dict[str, list[Any]] = {}
        for key, value in rpc.invocation_metadata():
            seen.setdefault(key, []).append(value)
        self.operator_calls.append(seen)
        return tenant_pb2.GetTenantResponse(
            tenant=tenant_pb2.Tenant(
                name=tenant_pb2.GetTenantRequest.FromString(raw).name, display_name="Seen"
            )
        ).SerializeToString()

    def tell(self, tenant_id: str, generation: int, *, active: bool = True) -> None:
        """Changes a tenant and tells every watcher."""
        self.generations[tenant_id] = generation
        status = tenant_pb2.TENANT_STATUS_ACTIVE if active else tenant_pb2.TENANT_STATUS_SUSPENDED
        for queue in self.watchers:
            queue.put_nowait(
                context_pb2.WatchTenantsResponse(
                    tenant=context_pb2.TenantState(
                        tenant_id=tenant_id, generation=generation, status=status
                    )
                )
            )


@dataclass(kw_only=True)
class Edge:
    """A gateway that runs, with what is behind it.

    Attributes:
        channel: a caller's channel to the gateway.
        resolver: the resolver behind it.
        service: the service behind it, where the test has a real chain around its servicers.
        gateway: the gateway itself.
        home: where it keeps its state.
    """

    channel: grpc.aio.Channel
    resolver: FakeResolver
    service: Serving | None
    gateway: Server
    home: Path
    stop_resolver: Callable[[], Any]

    def records(self) -> list[dict[str, Any]]:
        """The gateway's audit records so far."""
        return records_in(self.home / "audit", service="gateway")


def write_home(home: Path) -> None:
    """What the gateway finds in its home: the development issuer's key set and its own peer token."""
    jwk = {**ECAlgorithm.to_jwk(_KEY.public_key(), as_dict=True), "kid": "dev-1", "use": "sig"}
    (home / "dev-issuer").mkdir()
    (home / "dev-issuer" / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    (home / "peers").mkdir()
    (home / "peers" / "gateway.token").write_text("gateway.secret")


async def listening(handlers: Any) -> tuple[grpc.aio.Server, str]:
    """A plain server over handlers, and its address."""
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", 64 * 1024 * 1024),))
    server.add_generic_rpc_handlers(tuple(handlers))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


@asynccontextmanager
async def edge(
    home: Path,
    *,
    service: str = "storage",
    servicers: Any = None,
    handlers: Any = None,
    http_port: int = 0,
) -> AsyncIterator[Edge]:
    """A gateway before one service: servicers behind a service's own chain, or bare handlers, or nothing."""
    write_home(home)
    resolver = FakeResolver()
    async with AsyncExitStack() as stack:
        resolver_server, resolver_address = await listening(resolver.handlers())
        stack.push_async_callback(resolver_server.stop, 0)
        behind: Serving | None = None
        address = "127.0.0.1:1"
        if servicers is not None:
            behind = await stack.enter_async_context(serving(service, servicers, home / "behind"))
            address = behind.address
        elif handlers is not None:
            bare, address = await listening(handlers)
            stack.push_async_callback(bare.stop, 0)
        settings = GatewaySettings(
            home=home,
            environment="development",
            gateway_listen="127.0.0.1:0",
            gateway_http_listen=f"127.0.0.1:{http_port}",
            resolver_address=resolver_address,
            drain_seconds=0.2,
            audit_mode="strict",
            **{f"{service}_address": address},  # type: ignore[arg-type]
        )
        gateway = await build(settings)
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        channel = open_channel(f"127.0.0.1:{gateway.port}")
        stack.push_async_callback(channel.close)
        await resolver.watched.wait()
        yield Edge(
            channel=channel,
            resolver=resolver,
            service=behind,
            gateway=gateway,
            home=home,
            stop_resolver=lambda: resolver_server.stop(0),
        )
