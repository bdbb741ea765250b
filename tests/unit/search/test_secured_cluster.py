"""Tenants on a cluster that knows them apart, opened from the engines file: the cluster refuses by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from boundary.errors import Unavailable
from services.engines.administration import places_in
from services.engines.settings import Engines
from services.search.opening import open_indexes
from services.search.opensearch_cluster import Cluster, Limits, client_of
from services.search.opensearch_security import Impersonation, drift
from services.search.opensearch_template import template
from services.search.ports import Filter, Indexes
from tests.unit.search.secured_engine import (
    API,
    IMPERSONATE,
    PASSWORD,
    SERVICE,
    SecuredEngine,
)
from tests.unit.search.test_opensearch import Engine, batch, index_of
from tests.unit.search.test_opensearch import engine as engine  # noqa: PLC0414 - the fixture


@pytest.fixture
async def secured() -> AsyncIterator[SecuredEngine]:
    engine = SecuredEngine()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", engine.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield engine
    await runner.cleanup()


def engines_file(url: str, folder: Path, security: str) -> Engines:
    secret = folder / "password"
    secret.write_text(PASSWORD)
    search = {"url": url, "username": SERVICE, "password_file": secret, "security": security}
    return Engines.model_validate({"regions": {"local": {"search": {"local": search}}}})


@pytest.fixture
def engines(secured: SecuredEngine, tmp_path: Path) -> Engines:
    return engines_file(secured.url, tmp_path, "roles")


@pytest.fixture
async def indexes(engines: Engines, tmp_path: Path) -> AsyncIterator[Indexes]:
    opened = open_indexes(engines, folder=tmp_path, open_limit=1)
    yield opened.indexes
    await opened.indexes.aclose()  # type: ignore[attr-defined] - OpenSearch's


@pytest.fixture
async def cluster(engines: Engines) -> AsyncIterator[Cluster]:
    limits = Limits()
    cluster = Cluster(client_of(engines.regions["local"].search["local"], limits), limits)
    yield cluster
    await cluster.close()


async def test_each_tenant_works_under_its_own_role_and_nothing_is_refused(
    indexes: Indexes, secured: SecuredEngine
):
    for tenant in ("A", "AB"):
        index = index_of(tenant)
        assert list(await indexes.bulk(index, batch(2, tenant))) == [True, True]
        await indexes.count(index, filter=Filter())
        await indexes.search(index, filter=Filter(), limit=1)
    assert secured.refused == []
    assert set(secured.documents["roles"]) == {"silo-tenant-a", "silo-tenant-ab"}


@pytest.mark.parametrize(
    "request_",
    [
        ("POST", "/email-analytics-tenant-ab/_search", {}),
        ("POST", "/email-tenant-ab/_search", {}),
        ("POST", "/email-analytics-tenant-ab/_refresh", None),
        ("POST", "/email-analytics-tenant-ab/_search/point_in_time", None),
        ("POST", "/_search", {"pit": {"id": "pit of email-analytics-tenant-ab"}}),
        ("POST", "/email-analytics-tenant-*/_search", {}),
        ("POST", "/email-tenant-ab/_bulk", b'{"create":{"_id":"1"}}\n{}\n'),
        (
            "POST",
            "/email-tenant-a/_bulk",
            b'{"create":{"_index":"email-analytics-tenant-ab","_id":"1"}}\n{}\n',
        ),
        ("DELETE", "/email-analytics-tenant-a", None),
        ("GET", f"{API}/roles/silo-tenant-ab", None),
    ],
)
async def test_what_a_defect_of_ours_might_ask_for_is_refused_by_the_cluster(
    indexes: Indexes,
    cluster: Cluster,
    secured: SecuredEngine,
    request_: tuple[str, str, object],
):
    method, path, body = request_
    for tenant in ("A", "AB"):
        await indexes.create(index_of(tenant))
    headers = await Impersonation().headers(index_of("A"))
    with pytest.raises(Unavailable):
        await cluster.change(method, path, body, headers=headers)
    assert secured.refused == [("silo-tenant-a", method, path)]


async def test_a_tenant_whose_index_is_dropped_can_do_nothing_more(
    indexes: Indexes, cluster: Cluster, secured: SecuredEngine
):
    await indexes.create(index_of("A"))
    await indexes.drop(index_of("A"))
    assert secured.documents == {"roles": {}, "internalusers": {}, "rolesmapping": {}}
    with pytest.raises(Unavailable):
        await cluster.read(
            "POST",
            "/email-analytics-tenant-a/_search",
            {},
            headers={IMPERSONATE: "silo-tenant-a"},
        )


async def test_without_roles_nobody_acts_as_a_tenant(secured: SecuredEngine, tmp_path: Path):
    opened = open_indexes(
        engines_file(secured.url, tmp_path, "none"), folder=tmp_path, open_limit=1
    )
    await opened.indexes.bulk(index_of("A"), batch(1))
    await opened.indexes.aclose()  # type: ignore[attr-defined] - OpenSearch's
    assert secured.documents["roles"] == {}
    assert not any(IMPERSONATE in headers for headers in secured.headers)


def test_roles_want_a_user_who_acts_as_the_tenants():
    search = {"url": "http://127.0.0.1:1", "security": "roles"}
    with pytest.raises(ValueError, match="wants a username"):
        Engines.model_validate({"regions": {"local": {"search": {"local": search}}}})


async def test_a_check_says_whether_the_plugin_answers(cluster: Cluster, engine: Engine):
    assert await drift(cluster) == []
    engine.script("/roles/silo-tenant--", (400, {"error": "no handler found for uri"}))
    limits = Limits()
    search = Engines.model_validate({"regions": {"local": {"search": {"x": {"url": engine.url}}}}})
    plain = Cluster(client_of(search.regions["local"].search["x"], limits), limits)
    assert await drift(plain) == ["the security plugin does not answer"]
    await plain.close()


async def test_the_check_of_the_engines_file_asks_for_the_plugin(
    engines: Engines, secured: SecuredEngine
):
    (place,) = places_in(engines)
    found = {"index_templates": [{"index_template": template()}]}
    secured.script("/_index_template/email-analytics-tenant", (200, found), (200, found))
    assert await asyncio.to_thread(place.drift) == []
    secured.documents["roles"]["silo-tenant--"] = {}
    assert len(await asyncio.to_thread(place.drift)) == 1
