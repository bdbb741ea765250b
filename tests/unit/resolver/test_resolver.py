"""The resolver as a whole: its real server on loopback, with tokens of a development issuer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from boundary.channel import open_channel
from boundary.context import ContextVerifier
from boundary.metadata import PEER_KEY
from boundary.peers import ensure_peer_tokens, read_peer_token
from boundary.resolver_client import ResolverContexts, ResolverKeys, TenantWatch
from boundary.tenants import LiveCalls, TenantStates
from services.resolver.bootstrap import build
from services.resolver.settings import ResolverSettings
from silo.resolver.v1 import (
    context_pb2,
    context_pb2_grpc,
    signing_key_pb2,
    signing_key_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from tests.serving import reason_of


class Suite:
    """A running resolver and what a caller needs."""

    def __init__(self, home: Path, key: ec.EllipticCurvePrivateKey) -> None:
        self.home = home
        self._key = key
        self.channel: grpc.aio.Channel
        self.tenants: Any
        self.contexts: Any
        self.keys: Any

    def connect(self, port: int) -> None:
        self.channel = open_channel(f"127.0.0.1:{port}")
        self.tenants = tenant_pb2_grpc.TenantServiceStub(self.channel)
        self.contexts = context_pb2_grpc.ContextServiceStub(self.channel)
        self.keys = signing_key_pb2_grpc.SigningKeyServiceStub(self.channel)

    def token(self, tenant: str | None = None, permissions: str = "*", ttl: int = 600) -> Any:
        claims: dict[str, Any] = {
            "iss": "https://dev.silo.local",
            "aud": "silo",
            "sub": "alice",
            "exp": int(time.time()) + ttl,
            "custom:permissions": permissions,
        }
        if tenant is not None:
            claims["custom:tenantId"] = tenant
        signed = jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": "dev-1"})
        return (("authorization", f"Bearer {signed}"),)

    @property
    def operator(self) -> Any:
        return self.token(permissions="platform.*")

    def peer(self, name: str) -> Any:
        return ((PEER_KEY, read_peer_token(self.home / "peers", name)),)

    async def create(self, tenant_id: str, **fields: Any) -> tenant_pb2.Tenant:
        response = await self.tenants.CreateTenant(
            tenant_pb2.CreateTenantRequest(
                tenant_id=tenant_id,
                tenant=tenant_pb2.Tenant(display_name=f"Tenant {tenant_id}", **fields),
            ),
            metadata=self.operator,
        )
        return response.tenant

    async def refused(self, awaitable: Any) -> tuple[str, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await awaitable
        return caught.value.code().name, reason_of(caught.value)


@pytest.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = tmp_path / "dev-issuer"
    issuer.mkdir()
    jwk = {**ECAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "dev-1", "use": "sig"}
    (issuer / "jwks.json").write_text(json.dumps({"keys": [jwk]}))
    (issuer / "private.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    ensure_peer_tokens(tmp_path / "peers")
    server = await build(
        ResolverSettings(
            home=tmp_path,
            environment="development",
            resolver_listen="127.0.0.1:0",
            resolver_http_listen="127.0.0.1:0",
        )
    )
    await server.start()
    running = Suite(tmp_path, key)
    running.connect(server.port)
    yield running
    await running.channel.close()
    await server.stop()


async def test_a_tenant_is_created_read_listed_and_changed(suite: Suite) -> None:
    created = await suite.create("Acme-1", tier=tenant_pb2.TENANT_TIER_PREMIUM)
    assert (created.name, created.slug) == ("tenants/Acme-1", "acme-1")
    assert created.status == tenant_pb2.TENANT_STATUS_ACTIVE
    assert created.placement.table == "EmailPlatform"
    read = await suite.tenants.GetTenant(
        tenant_pb2.GetTenantRequest(name="tenants/Acme-1"), metadata=suite.operator
    )
    assert read.tenant == created
    updated = await suite.tenants.UpdateTenant(
        tenant_pb2.UpdateTenantRequest(
            tenant=tenant_pb2.Tenant(
                name=created.name,
                display_name="Acme",
                etag=created.etag,
                limits=tenant_pb2.TenantLimits(max_object_bytes=5),
            )
        ),
        metadata=suite.operator,
    )
    assert updated.tenant.display_name == "Acme"
    assert updated.tenant.generation == created.generation + 1
    assert updated.tenant.tier == tenant_pb2.TENANT_TIER_PREMIUM
    assert updated.tenant.limits.max_object_bytes == 5
    stale = tenant_pb2.UpdateTenantRequest(
        tenant=tenant_pb2.Tenant(name=created.name, display_name="X", etag=created.etag)
    )
    assert await suite.refused(suite.tenants.UpdateTenant(stale, metadata=suite.operator)) == (
        "ABORTED",
        "ETAG_MISMATCH",
    )


async def test_pages_of_tenants(suite: Suite) -> None:
    for number in range(5):
        await suite.create(f"t{number}")
    seen: list[str] = []
    token = ""
    for _ in range(3):
        page = await suite.tenants.ListTenants(
            tenant_pb2.ListTenantsRequest(page_size=2, page_token=token), metadata=suite.operator
        )
        seen += [tenant.tenant_id for tenant in page.tenants]
        token = page.next_page_token
    assert seen == ["t0", "t1", "t2", "t3", "t4"]
    assert token == ""


async def test_ids_and_slugs_are_claimed_once(suite: Suite) -> None:
    await suite.create("Acme")

    def again(tenant_id: str) -> Any:
        return suite.refused(suite.create(tenant_id))

    assert await again("Acme") == ("ALREADY_EXISTS", "TENANT_EXISTS")
    assert await again("aCME") == ("ALREADY_EXISTS", "SLUG_EXISTS")
    assert await again("a#b") == ("INVALID_ARGUMENT", "INVALID_TENANT_ID")
    results = await asyncio.gather(
        *(suite.create(name) for name in ("zed", "ZED", "Zed", "zEd")), return_exceptions=True
    )
    assert sum(isinstance(result, tenant_pb2.Tenant) for result in results) == 1


async def test_a_create_with_its_request_id_can_be_repeated(suite: Suite) -> None:
    request = tenant_pb2.CreateTenantRequest(
        tenant_id="A", tenant=tenant_pb2.Tenant(display_name="A"), request_id="once"
    )
    first = await suite.tenants.CreateTenant(request, metadata=suite.operator)
    second = await suite.tenants.CreateTenant(request, metadata=suite.operator)
    assert first == second


async def test_a_context_for_the_callers_own_tenant(suite: Suite) -> None:
    created = await suite.create("A")
    response = await suite.contexts.ResolveTenant(
        context_pb2.ResolveTenantRequest(audience="data"),
        metadata=suite.token("A", "campaigns.* users.read"),
    )
    verifier = ContextVerifier(audience="data", keys=ResolverKeys(suite.channel))
    context = await verifier.verify(response.context)
    assert (context.tenant_id, context.principal) == ("A", "alice")
    assert context.generation == created.generation
    assert context.permissions.grants == ("campaigns.*", "users.read")
    assert response.expire_time.seconds == context.expires_at <= time.time() + 60
    short = await suite.contexts.ResolveTenant(
        context_pb2.ResolveTenantRequest(audience="data"), metadata=suite.token("A", ttl=7)
    )
    assert short.expire_time.seconds <= time.time() + 7


async def test_unknown_suspended_and_absent_tenants_read_alike(suite: Suite) -> None:
    await suite.create("A")
    await suite.tenants.SuspendTenant(
        tenant_pb2.SuspendTenantRequest(name="tenants/A"), metadata=suite.operator
    )
    answers = set()
    for metadata in (suite.token("A"), suite.token("nobody"), suite.token("a"), suite.token("x#y")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await suite.contexts.ResolveTenant(
                context_pb2.ResolveTenantRequest(audience="data"), metadata=metadata
            )
        answers.add((caught.value.code(), caught.value.details(), reason_of(caught.value)))
    assert answers == {
        (
            grpc.StatusCode.PERMISSION_DENIED,
            "the tenant is not available to this caller",
            "TENANT_UNAVAILABLE",
        )
    }
    operator = suite.contexts.ResolveTenant(
        context_pb2.ResolveTenantRequest(audience="data"), metadata=suite.operator
    )
    assert await suite.refused(operator) == ("PERMISSION_DENIED", "TENANT_UNAVAILABLE")


async def test_tenants_cannot_do_an_operators_work(suite: Suite) -> None:
    await suite.create("A")
    for metadata, code in (
        (suite.token("A", "*"), "PERMISSION_DENIED"),
        (suite.token("A", "platform.*"), "UNAUTHENTICATED"),
        (suite.token(None, "*"), "PERMISSION_DENIED"),
        ((), "UNAUTHENTICATED"),
    ):
        for attempt in (
            suite.tenants.ListTenants(tenant_pb2.ListTenantsRequest(), metadata=metadata),
            suite.keys.RotateSigningKey(
                signing_key_pb2.RotateSigningKeyRequest(), metadata=metadata
            ),
        ):
            assert (await suite.refused(attempt))[0] == code


async def test_watchers_hear_of_every_change_and_only_peers_may_watch(suite: Suite) -> None:
    first = (await suite.create("A")).generation
    states = TenantStates(LiveCalls())
    heard: list[tuple[str, int, bool]] = []
    states.on_change(lambda s: heard.append((s.tenant_id, s.generation, s.active)))
    token = read_peer_token(suite.home / "peers", "data")
    watch = TenantWatch(suite.channel, peer_token=token, states=states)
    running = asyncio.create_task(watch.run())
    await asyncio.wait_for(watch.synced.wait(), 5)
    second = (await suite.create("B")).generation
    await suite.tenants.SuspendTenant(
        tenant_pb2.SuspendTenantRequest(name="tenants/A"), metadata=suite.operator
    )
    await suite.tenants.ResumeTenant(
        tenant_pb2.ResumeTenantRequest(name="tenants/A"), metadata=suite.operator
    )
    for _ in range(100):
        if len(heard) == 4:
            break
        await asyncio.sleep(0.01)
    assert heard == [
        ("A", first, True),
        ("B", second, True),
        ("A", first + 1, False),
        ("A", first + 2, True),
    ]
    running.cancel()
    for metadata in ((), suite.token("A"), ((PEER_KEY, "data.forged"),)):
        stream = suite.contexts.WatchTenants(context_pb2.WatchTenantsRequest(), metadata=metadata)
        assert await suite.refused(stream.read()) == ("UNAUTHENTICATED", "PEER_UNKNOWN")


async def test_delegation_is_for_peers_and_their_own_calls(suite: Suite) -> None:
    await suite.create("A")
    data = await suite.contexts.ResolveTenant(
        context_pb2.ResolveTenantRequest(audience="data"), metadata=suite.token("A")
    )
    search = await suite.contexts.ResolveTenant(
        context_pb2.ResolveTenantRequest(audience="search"), metadata=suite.token("A")
    )
    keys = ResolverKeys(suite.channel)
    mine = await ContextVerifier(audience="data", keys=keys).verify(data.context)
    token = read_peer_token(suite.home / "peers", "data")
    contexts = ResolverContexts(suite.channel, peer_token=token, states=TenantStates(LiveCalls()))
    delegated = await ContextVerifier(audience="storage", keys=keys).verify(
        await contexts.on_behalf_of(mine, audience="storage")
    )
    assert (delegated.principal, delegated.actor, delegated.tenant_id) == ("alice", "data", "A")
    assert delegated.permissions.grants == ("objects.read", "objects.write")
    own = await ContextVerifier(audience="storage", keys=keys).verify(
        await contexts.for_tenant(mine.tenant_id, audience="storage")
    )
    assert own.principal == "service:data"

    def delegate(peer: Any, **fields: Any) -> Any:
        return suite.refused(
            suite.contexts.DelegateContext(
                context_pb2.DelegateContextRequest(**fields), metadata=peer
            )
        )

    peer = suite.peer("data")
    context = data.context
    assert await delegate(peer, audience="search", context=context) == (
        "PERMISSION_DENIED",
        "DELEGATION_DENIED",
    )
    assert await delegate(peer, audience="storage", context=search.context) == (
        "UNAUTHENTICATED",
        "CONTEXT_AUDIENCE",
    )
    assert await delegate(suite.peer("search"), audience="storage", context=search.context) == (
        "PERMISSION_DENIED",
        "DELEGATION_DENIED",
    )
    assert (await delegate((), audience="storage", context=context))[0] == "UNAUTHENTICATED"
    assert (await delegate(peer, audience="storage"))[0] == "INVALID_ARGUMENT"
    assert (await delegate(peer, audience="storage", tenant_id="nobody"))[1] == "TENANT_UNAVAILABLE"


async def test_keys_rotate_while_contexts_go_on(suite: Suite) -> None:
    await suite.create("A")
    keys = ResolverKeys(suite.channel)
    verifier = ContextVerifier(audience="data", keys=keys)

    async def resolve() -> str:
        response = await suite.contexts.ResolveTenant(
            context_pb2.ResolveTenantRequest(audience="data"), metadata=suite.token("A")
        )
        return str(response.context)

    before = await resolve()
    first = await verifier.verify(before)
    rotated = await suite.keys.RotateSigningKey(
        signing_key_pb2.RotateSigningKeyRequest(), metadata=suite.operator
    )
    after = await verifier.verify(await resolve())
    assert after.key_id == rotated.key_id != first.key_id
    again = await ContextVerifier(audience="data", keys=keys).verify(before)
    assert again.key_id == first.key_id
