"""Tenants' keys as operators govern them, over the resolver's real server."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from boundary.context import ContextVerifier
from boundary.directory_scope import tenant_key
from boundary.errors import PermissionDenied
from boundary.ids import parse_tenant_id
from boundary.peers import read_peer_token
from boundary.resolver_client import ResolverKeys, TenantWatch
from boundary.tenants import LiveCalls, TenantState, TenantStates
from services.keys.local import LocalKeys
from services.keys.ports import KeyState
from services.resolver.directory import Tenant
from services.resolver.tenant_keys import Encryption
from silo.resolver.v1 import context_pb2, tenant_key_pb2, tenant_key_pb2_grpc, tenant_pb2
from tests.contexts import PLACEMENT
from tests.unit.resolver.test_resolver import Suite, suite

__all__ = ["suite"]

ON = tenant_pb2.TenantEncryption(enabled=True)


def keys(suite: Suite) -> Any:
    return tenant_key_pb2_grpc.TenantKeyServiceStub(suite.channel)


async def switch(suite: Suite, tenant_id: str, encryption: tenant_pb2.TenantEncryption) -> Any:
    request = tenant_pb2.UpdateTenantRequest(
        tenant=tenant_pb2.Tenant(name=f"tenants/{tenant_id}", encryption=encryption)
    )
    return await suite.tenants.UpdateTenant(request, metadata=suite.operator)


def rotate(suite: Suite, tenant_id: str, etag: str = "") -> Any:
    request = tenant_key_pb2.RotateTenantKeyRequest(name=f"tenants/{tenant_id}", etag=etag)
    return keys(suite).RotateTenantKey(request, metadata=suite.operator)


def destroy(suite: Suite, tenant_id: str, confirmation: str) -> Any:
    request = tenant_key_pb2.DestroyTenantKeyRequest(
        name=f"tenants/{tenant_id}", confirmation=confirmation
    )
    return keys(suite).DestroyTenantKey(request, metadata=suite.operator)


async def context(suite: Suite, tenant_id: str) -> Any:
    answer = await suite.contexts.ResolveTenant(
        context_pb2.ResolveTenantRequest(audience="data"), metadata=suite.token(tenant_id)
    )
    verifier = ContextVerifier(audience="data", keys=ResolverKeys(suite.channel))
    return await verifier.verify(answer.context)


async def test_a_tenant_is_created_with_encryption_and_a_key(suite: Suite) -> None:
    created = await suite.create("Acme", encryption=ON)
    assert created.encryption == tenant_pb2.TenantEncryption(
        enabled=True, key_version=1, key_state=tenant_pb2.TENANT_KEY_STATE_ENABLED
    )
    folder = suite.home / "keys" / "tenants" / "tenant-acme"
    assert [path.name for path in folder.iterdir()] == ["1.key"]
    resolved = await context(suite, "Acme")
    assert (resolved.key_version, resolved.generation) == (1, created.generation)


async def test_without_encryption_there_is_no_key_and_no_claim(suite: Suite) -> None:
    assert not (await suite.create("Acme")).HasField("encryption")
    assert not (suite.home / "keys" / "tenants").exists()
    assert (await context(suite, "Acme")).key_version == 0
    code = await suite.refused(rotate(suite, "Acme"))
    assert code == ("FAILED_PRECONDITION", "ENCRYPTION_OFF")
    code = await suite.refused(destroy(suite, "Acme", "Acme"))
    assert code == ("FAILED_PRECONDITION", "ENCRYPTION_OFF")


async def test_it_is_switched_on_and_never_off(suite: Suite) -> None:
    off = await suite.create("Acme")
    on = (await switch(suite, "Acme", ON)).tenant
    assert (on.encryption.key_version, on.generation) == (1, off.generation + 1)
    request = tenant_pb2.UpdateTenantRequest(tenant=tenant_pb2.Tenant(name=on.name))
    request.update_mask.paths.append("encryption.enabled")
    refusal = await suite.refused(suite.tenants.UpdateTenant(request, metadata=suite.operator))
    assert refusal == ("INVALID_ARGUMENT", "INVALID_FIELD")
    request.update_mask.paths[:] = ["encryption.key_version"]
    refusal = await suite.refused(suite.tenants.UpdateTenant(request, metadata=suite.operator))
    assert refusal == ("INVALID_ARGUMENT", "INVALID_FIELD")


async def test_a_key_that_could_not_be_made_is_made_by_the_next_call(suite: Suite) -> None:
    await suite.create("Acme", encryption=ON)
    shutil.rmtree(suite.home / "keys" / "tenants" / "tenant-acme")
    await switch(suite, "Acme", ON)
    assert (suite.home / "keys" / "tenants" / "tenant-acme" / "1.key").exists()


async def test_rotation_gives_key_and_data_keys_a_new_version(suite: Suite) -> None:
    created = await suite.create("Acme", encryption=ON)
    rotated = (await rotate(suite, "Acme", created.etag)).tenant
    assert (rotated.encryption.key_version, rotated.generation) == (2, created.generation + 1)
    folder = suite.home / "keys" / "tenants" / "tenant-acme"
    assert sorted(path.name for path in folder.iterdir()) == ["1.key", "2.key"]
    stale = await suite.refused(rotate(suite, "Acme", created.etag))
    assert stale == ("ABORTED", "ETAG_MISMATCH")
    assert sorted(path.name for path in folder.iterdir()) == ["1.key", "2.key"]


async def test_a_key_is_destroyed_for_good_and_everyone_is_told(suite: Suite) -> None:
    await suite.create("Acme", encryption=ON)
    states, heard = TenantStates(LiveCalls()), asyncio.Queue[TenantState]()
    states.on_change(heard.put_nowait)
    token = read_peer_token(suite.home / "peers", "data")
    watch = TenantWatch(suite.channel, peer_token=token, states=states)
    running = asyncio.create_task(watch.run())
    assert not (await asyncio.wait_for(heard.get(), 5)).key_destroyed
    for wrong in ("", "acme", "tenants/Acme"):
        code, _ = await suite.refused(destroy(suite, "Acme", wrong))
        assert code == "INVALID_ARGUMENT"
    gone = (await destroy(suite, "Acme", "Acme")).tenant
    assert (await asyncio.wait_for(heard.get(), 5)).key_destroyed
    running.cancel()
    assert gone.encryption.key_state == tenant_pb2.TENANT_KEY_STATE_DESTROYED
    assert (await context(suite, "Acme")).key_destroyed
    assert (await destroy(suite, "Acme", "Acme")).tenant == gone
    folder = suite.home / "keys" / "tenants" / "tenant-acme"
    assert [path.name for path in folder.iterdir()] == ["destroyed"]
    for refused in (rotate(suite, "Acme"), switch(suite, "Acme", ON)):
        assert await suite.refused(refused) == ("FAILED_PRECONDITION", "KEY_DESTROYED")


async def test_keys_are_operators_business(suite: Suite) -> None:
    await suite.create("Acme", encryption=ON)
    for metadata in (suite.token("Acme", permissions="*"), ()):
        for call, request in (
            (
                keys(suite).RotateTenantKey,
                tenant_key_pb2.RotateTenantKeyRequest(name="tenants/Acme"),
            ),
            (
                keys(suite).DestroyTenantKey,
                tenant_key_pb2.DestroyTenantKeyRequest(name="tenants/Acme", confirmation="Acme"),
            ),
        ):
            code, _ = await suite.refused(call(request, metadata=metadata))
            assert code in {"PERMISSION_DENIED", "UNAUTHENTICATED"}
    reader = suite.token(permissions="platform.keys.write")
    request = tenant_key_pb2.DestroyTenantKeyRequest(name="tenants/Acme", confirmation="Acme")
    refusal = await suite.refused(keys(suite).DestroyTenantKey(request, metadata=reader))
    assert refusal == ("PERMISSION_DENIED", "PERMISSION_MISSING")


def tenant(key_version: int = 0) -> Tenant:
    return Tenant(
        tenant_id=parse_tenant_id("Acme"),
        display_name="Acme",
        standing="ACTIVE",
        tier="STANDARD",
        placement=PLACEMENT,
        max_object_bytes=0,
        counter_shards=0,
        generation=1,
        created_at=0,
        updated_at=0,
        etag="e",
        create_request_id="",
        key_version=key_version,
    )


async def test_a_region_whose_bucket_wants_keys_gets_one_for_every_tenant(tmp_path: Path) -> None:
    keeper = LocalKeys(tmp_path)
    await Encryption({"local": keeper}).provide(tenant())
    key = tenant_key(tenant().tenant_id, region="local")
    assert await keeper.describe(key) is None
    await Encryption({"local": keeper}, always=["local"]).provide(tenant())
    assert await keeper.describe(key) is not None
    keeper.close()


async def test_whatever_key_there_is_can_be_ended_again_and_again(tmp_path: Path) -> None:
    keeper = LocalKeys(tmp_path)
    encryption = Encryption({"local": keeper})
    assert await encryption.end(tenant()) is None
    await encryption.provide(tenant(key_version=1))
    ended = await encryption.end(tenant())
    assert ended is not None
    assert ended.state is KeyState.DESTROYED
    assert await encryption.end(tenant()) == ended
    assert await Encryption({}).end(tenant()) is None
    keeper.close()


async def test_the_keys_of_every_region_end_with_the_tenant(tmp_path: Path) -> None:
    """A tenant that has moved left a key behind, so that it could come back."""
    keepers = {name: LocalKeys(tmp_path / name) for name in ("local", "elsewhere", "never")}
    encryption = Encryption(keepers)
    origin = tenant(key_version=1)
    await encryption.provide(origin)
    moved = replace(origin, placement=replace(PLACEMENT, region="elsewhere"))
    await encryption.provide(moved)
    ended = await encryption.end(moved)
    assert ended is not None
    assert ended.state is KeyState.DESTROYED
    for region in ("local", "elsewhere"):
        key = tenant_key(origin.tenant_id, region=region)
        described = await keepers[region].describe(key)
        assert described is not None
        assert described.state is KeyState.DESTROYED
    for keeper in keepers.values():
        keeper.close()


async def test_no_key_is_made_or_used_where_the_tenant_may_not_be(tmp_path: Path) -> None:
    keeper = LocalKeys(tmp_path)
    encryption = Encryption({"local": keeper})
    outside = replace(tenant(key_version=1), allowed_regions=("elsewhere",))
    for use in (encryption.provide, encryption.rotate):
        with pytest.raises(PermissionDenied) as refused:
            await use(outside)
        assert refused.value.reason == "REGION_NOT_ALLOWED"
    assert await keeper.describe(tenant_key(outside.tenant_id, region="local")) is None
    keeper.close()
