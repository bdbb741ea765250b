"""The tenant's settings, in an item that is otherwise the resolver's."""

import asyncio

import pytest

from boundary.errors import Aborted, InvalidArgument, NotFound
from services.data.config import Configs
from services.table.ports import Delete, Update
from silo.data.v1.tenant_config_pb2 import TenantConfig
from tests.unit.data.conftest import CONTEXT_A


async def update(configs, tenant, *paths, **fields) -> TenantConfig:
    return await configs.update(tenant, message=TenantConfig(**fields), paths=paths)


async def test_settings_that_were_never_changed(configs, tenant):
    assert await configs.get(tenant) == TenantConfig(
        name="config", display_name="Tenant A", etag="0"
    )


async def test_settings_read_as_they_were_changed(configs, tenant, engine):
    changed = await update(
        configs,
        tenant,
        default_from_name="A Ltd",
        default_from_address="hello@a.example",
        time_zone="Europe/Berlin",
        postal_address="1 Street\nTown",
        track_opens=True,
        labels={"a": "b"},
    )
    assert await configs.get(tenant) == changed
    assert changed.display_name == "Tenant A"
    assert changed.update_time.seconds
    item = await engine.get(CONTEXT_A.partition, "CONFIG")
    assert item is not None
    assert (item["generation"], item["etag"], item["GSI1PK"]) == (
        1,
        "resolver",
        "DIRECTORY#TENANTS",
    )
    assert set(item) - {"settings", "settings_etag"} == {
        "tenant_id",
        "display_name",
        "etag",
        "generation",
        "GSI1PK",
        "GSI1SK",
    }


async def test_a_mask_changes_and_clears(configs, tenant):
    await update(configs, tenant, track_opens=True, track_clicks=True, time_zone="UTC")
    changed = await update(configs, tenant, "track_opens", "reply_to_address", time_zone="x")
    assert (changed.track_opens, changed.track_clicks, changed.time_zone) == (False, True, "UTC")


async def test_what_the_operator_governs_is_not_changed(configs, tenant):
    for path in ("display_name", "name", "etag", "update_time", "status", "settings.x"):
        with pytest.raises(InvalidArgument) as refused:
            await update(configs, tenant, path, display_name="Other")
        assert refused.value.field == "update_mask"
    assert (await update(configs, tenant, display_name="Other")).display_name == "Tenant A"


async def test_an_etag_must_be_the_current_one(configs, tenant):
    first = await update(configs, tenant, etag="0", time_zone="UTC")
    await update(configs, tenant, etag=first.etag, time_zone="Europe/Berlin")
    for stale in ("0", first.etag, "x"):
        with pytest.raises(Aborted) as refused:
            await update(configs, tenant, etag=stale, time_zone="UTC")
        assert refused.value.reason == "ETAG_MISMATCH"


async def test_the_resolvers_changes_do_not_make_an_etag_stale(configs, tenant, engine):
    changed = await update(configs, tenant, time_zone="UTC")
    await engine.write(
        CONTEXT_A.partition,
        Update(sort_key="CONFIG", set={"etag": "new", "display_name": "Renamed"}),
    )
    changed = await update(configs, tenant, etag=changed.etag, track_opens=True)
    assert (changed.display_name, changed.time_zone) == ("Renamed", "UTC")


async def test_concurrent_changes_are_all_kept(configs, tenant):
    await asyncio.gather(
        update(configs, tenant, time_zone="UTC"),
        update(configs, tenant, track_opens=True),
        update(configs, tenant, reply_to_address="a@b.co"),
    )
    read = await configs.get(tenant)
    assert (read.time_zone, read.track_opens, read.reply_to_address) == ("UTC", True, "a@b.co")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"default_from_name": "a\r\nBcc: x"}, "default_from_name"),
        ({"default_from_address": "x"}, "default_from_address"),
        ({"reply_to_address": "x"}, "reply_to_address"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"postal_address": "x" * 1001}, "postal_address"),
        ({"labels": {"": ""}}, "labels"),
        ({"name": "configs/B"}, "name"),
    ],
)
async def test_a_field_that_breaks_its_rule(configs, tenant, fields, field):
    with pytest.raises(InvalidArgument) as refused:
        await update(configs, tenant, **fields)
    assert refused.value.field == f"tenant_config.{field}"


async def test_a_tenant_without_a_record(configs: Configs, tenant, engine):
    await engine.write(CONTEXT_A.partition, Delete(sort_key="CONFIG"))
    with pytest.raises(NotFound):
        await configs.get(tenant)
    with pytest.raises(NotFound):
        await update(configs, tenant, time_zone="UTC")
    assert await engine.get(CONTEXT_A.partition, "CONFIG") is None
