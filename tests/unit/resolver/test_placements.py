"""Where tenants can be placed, and the home of one that is placed outside of the directory's table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from boundary.context import Placement
from boundary.directory_scope import CONFIG_SORT_KEY, home_partition
from boundary.errors import FailedPrecondition, InvalidArgument, NotFound
from boundary.ids import TenantId
from boundary.regions import ByRegion
from services.engines.settings import Engines, load_engines
from services.resolver.changes import Changes
from services.resolver.directory import Directory
from services.resolver.guard import GuardedDirectoryTable
from services.resolver.operations import NewTenant, TenantChange, Tenants
from services.resolver.placements import Placements, places_of
from services.table.ports import Table
from services.table.sqlite import SqliteTable, open_table

EMBEDDED = Placement(region="local", table="t", bucket="b", search_cluster="c")
FILE = """{"regions": {
  "eu": {
    "table": {"aws_region": "eu-central-1", "tables": ["EmailPlatform", "Dedicated"]},
    "objects": {"aws_region": "eu-central-1", "buckets": ["pool", "own"]},
    "search": {"shared": {"url": "http://search.eu"}, "big": {"url": "http://big.eu"}}
  },
  "us": {
    "table": {"aws_region": "us-east-1"},
    "objects": {"aws_region": "us-east-1"},
    "search": {"us": {"url": "http://search.us"}}
  }
}}"""


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    path = tmp_path / "engines.json"
    path.write_text(FILE)
    return load_engines(path, region="eu")


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[dict[str, SqliteTable]]:
    tables = {region: open_table(tmp_path / f"{region}.db") for region in ("eu", "us")}
    yield tables
    for table in tables.values():
        table.close()


@pytest.fixture
def tenants(engines: Engines, tables: dict[str, SqliteTable]) -> Tenants:
    regional: ByRegion[Table] = ByRegion({**tables, "": tables["eu"]})
    directory = Directory(GuardedDirectoryTable(regional), table_name="EmailPlatform", region="eu")
    placements = Placements(places_of(engines.regions, embedded=EMBEDDED), default_region="eu")
    return Tenants(directory=directory, changes=Changes(), placements=placements)


def new(tenant_id: str, **asked: Any) -> NewTenant:
    return NewTenant(tenant_id=tenant_id, display_name=f"Tenant {tenant_id}", **asked)


async def home_of(
    tables: dict[str, SqliteTable], tenant_id: str, *, region: str, table: str
) -> dict[str, object] | None:
    home = home_partition(TenantId(tenant_id), region=region, table=table)
    return await tables[region].get(home, CONFIG_SORT_KEY)


def test_without_a_file_there_is_one_region_and_it_is_embedded() -> None:
    engines = load_engines(None, region="local")
    placements = Placements(places_of(engines.regions, embedded=EMBEDDED), default_region="local")
    assert placements.place() == EMBEDDED
    with pytest.raises(InvalidArgument) as raised:
        placements.place(table="other")
    assert raised.value.field == "tenant.placement.table"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"regions": {}}', "regions"),
        ('{"regions": {"us": {}}}', "does not have the region eu"),
        ('{"regions": {"eu": {}, "us": {}}}', "of its own"),
        ('{"regions": {"eu": {"tabel": {}}}}', "tabel"),
        ('{"regions": {"eu": {"table": {"aws_region": "x", "tables": []}}}}', "tables"),
        ('{"regions": {"eu": {}}, "credentials": {"kind": "hope"}}', "kind"),
    ],
)
def test_a_file_that_is_out_of_order_stops_the_service(
    tmp_path: Path, text: str, complaint: str
) -> None:
    path = tmp_path / "engines.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        load_engines(path, region="eu")


async def test_pooled_tenants_share_and_others_have_what_they_ask_for(tenants: Tenants) -> None:
    pooled = await tenants.create(new("A"))
    assert pooled.placement == Placement(
        region="eu", table="EmailPlatform", bucket="pool", search_cluster="shared"
    )
    dedicated = await tenants.create(
        new("B", table="Dedicated", bucket="own", search_cluster="big")
    )
    assert dedicated.placement.table == "Dedicated"
    elsewhere = await tenants.create(new("C", region="us"))
    assert elsewhere.placement == Placement(
        region="us", table="EmailPlatform", bucket="email-platform-storage", search_cluster="us"
    )


@pytest.mark.parametrize(
    "asked",
    [
        {"region": "mars"},
        {"region": "us", "table": "Dedicated"},
        {"bucket": "email-platform-storage"},
        {"search_cluster": "us"},
    ],
)
async def test_what_a_region_does_not_have_is_refused(
    tenants: Tenants, asked: dict[str, str]
) -> None:
    with pytest.raises(InvalidArgument):
        await tenants.create(new("A", **asked))


async def test_a_tenant_elsewhere_has_a_home_where_its_data_is(
    tenants: Tenants, tables: dict[str, SqliteTable]
) -> None:
    await tenants.create(new("A"))
    await tenants.create(new("B", table="Dedicated"))
    await tenants.create(new("C", region="us"))
    assert await home_of(tables, "A", region="us", table="EmailPlatform") is None
    home = await home_of(tables, "B", region="eu", table="Dedicated")
    assert home == {"tenant_id": "B", "display_name": "Tenant B"}
    assert await home_of(tables, "C", region="us", table="EmailPlatform") is not None
    await tenants.update(TenantId("C"), TenantChange(display_name="Sea"), etag="")
    home = await home_of(tables, "C", region="us", table="EmailPlatform")
    assert home is not None
    assert home["display_name"] == "Sea"


async def test_a_refused_tenant_leaves_no_home(
    tenants: Tenants, tables: dict[str, SqliteTable]
) -> None:
    await tenants.create(new("c"))
    with pytest.raises(Exception, match="slug"):
        await tenants.create(new("C", region="us"))
    assert await home_of(tables, "C", region="us", table="EmailPlatform") is None
    with pytest.raises(Exception, match="tenants/c"):
        await tenants.create(new("c", region="us"))


async def test_the_shards_of_counters_are_the_tenants_limit(tenants: Tenants) -> None:
    assert (await tenants.create(new("A"))).counter_shards == 0
    changed = await tenants.update(TenantId("A"), TenantChange(counter_shards=8), etag="")
    assert (changed.counter_shards, changed.max_object_bytes) == (8, 0)
    assert (await tenants.get(TenantId("A"))).counter_shards == 8
    with pytest.raises(InvalidArgument):
        await tenants.update(TenantId("A"), TenantChange(counter_shards=65), etag="")


async def test_regions_without_a_keeper_have_no_encryption(tenants: Tenants) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        await tenants.create(new("A", encryption=True))
    assert caught.value.reason == "ENCRYPTION_UNAVAILABLE"
    with pytest.raises(NotFound):
        await tenants.get(TenantId("A"))
