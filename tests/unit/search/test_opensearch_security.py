"""What the security plugin is asked for, and what tenants' requests carry."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator

import pytest

from boundary.scope import SearchIndex
from services.search.opensearch import OpenSearchIndexes
from services.search.opensearch_security import (
    Impersonation,
    Passwords,
    SignIn,
    TenantRoles,
    role,
    role_name,
)
from services.search.ports import Filter
from tests.unit.search.test_opensearch import Engine, batch, failure, index_of
from tests.unit.search.test_opensearch import engine as engine  # noqa: PLC0414 - the fixture

API = "/_plugins/_security/api"
IMPERSONATE = "opendistro_security_impersonate_as"


async def password_of(index: SearchIndex) -> str:
    return f"password of {index.tenant_id}"


@pytest.fixture
def sign_in() -> SignIn:
    return Impersonation()


@pytest.fixture
async def indexes(engine: Engine, sign_in: SignIn) -> AsyncIterator[OpenSearchIndexes]:
    adapter = OpenSearchIndexes(lambda _: engine.url, access=TenantRoles(sign_in))
    yield adapter
    await adapter.aclose()


def test_a_role_reaches_one_index_by_its_full_name():
    (permission,) = role(index_of("A"))["index_permissions"]
    assert permission["index_patterns"] == ["email-analytics-tenant-a", "email-tenant-a"]
    assert not any("*" in pattern for pattern in permission["index_patterns"])
    assert not any(
        action.startswith(("indices:admin/c", "indices:admin/d"))
        for action in permission["allowed_actions"]
    )
    assert not {"*", "indices:*"} & set(permission["allowed_actions"])


async def test_role_user_and_mapping_are_there_before_the_index(indexes, engine):
    await indexes.create(index_of("A"))
    puts = {path: body for method, path, body in engine.requests if method == "PUT"}
    assert list(puts) == [
        "/_index_template/email-analytics-tenant",
        f"{API}/roles/silo-tenant-a",
        f"{API}/internalusers/silo-tenant-a",
        f"{API}/rolesmapping/silo-tenant-a",
        "/email-analytics-tenant-a",
    ]
    assert json.loads(puts[f"{API}/rolesmapping/silo-tenant-a"]) == {"users": ["silo-tenant-a"]}
    assert len(json.loads(puts[f"{API}/internalusers/silo-tenant-a"])["password"]) >= 48


async def test_they_go_with_the_index_and_what_is_gone_is_no_error(indexes, engine):
    await indexes.create(index_of("A"))
    engine.script("/rolesmapping/silo-tenant-a", failure(404, "whatever"))
    await indexes.drop(index_of("A"))
    deleted = [path for method, path, _ in engine.requests if method == "DELETE"]
    assert deleted == [
        "/email-analytics-tenant-a",
        f"{API}/rolesmapping/silo-tenant-a",
        f"{API}/internalusers/silo-tenant-a",
        f"{API}/roles/silo-tenant-a",
    ]


async def test_searches_and_writes_are_the_tenants_users_and_upkeep_is_the_services(
    indexes, engine
):
    for tenant in ("A", "B"):
        await indexes.bulk(index_of(tenant), batch(1, tenant))
        await indexes.count(index_of(tenant), filter=Filter())
        await indexes.search(index_of(tenant), filter=Filter(), limit=1)
    for (method, path, _), headers in zip(engine.requests, engine.headers, strict=True):
        last = path.rsplit("/", 1)[-1]
        if last in {"_bulk", "_search", "_refresh"}:
            tenant = path.split("/")[1][-1]
            assert headers[IMPERSONATE] == f"silo-tenant-{tenant}"
        else:
            assert IMPERSONATE not in headers, (method, path)


async def test_a_password_stands_in_place_of_the_clients(engine):
    adapter = OpenSearchIndexes(lambda _: engine.url, access=TenantRoles(Passwords(password_of)))
    await adapter.bulk(index_of("A"), batch(1))
    await adapter.aclose()
    users = engine.sent("/internalusers/silo-tenant-a")
    assert json.loads(users[0])["password"] == "password of A"
    pair = base64.b64decode(engine.headers[-1]["authorization"].removeprefix("Basic "))
    assert pair == b"silo-tenant-a:password of A"


def test_the_name_is_the_slugs():
    assert role_name(index_of("Acme-Corp")) == "silo-tenant-acme-corp"
