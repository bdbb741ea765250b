"""Fields come to the newest data key while others write, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from boundary.context import make_current, serving
from boundary.errors import DataLoss, FailedPrecondition, InvalidArgument
from services.data.config import Configs
from services.data.data_keys import ItemKeyRecords
from services.data.operations import Entities
from services.data.reencryption import Reencryption
from services.data.resources import USERS
from services.data.sealed_fields import SEALED
from services.data.sealed_table import SealedTable
from services.keys.local import LocalKeys
from services.keys.ring import KeyRing
from services.table.ports import Put, Range
from silo.data.v1.tenant_config_pb2 import TenantConfig
from silo.data.v1.user_pb2 import User
from tests.contexts import make_context

A = make_context("A")
A1 = make_context("A", key_version=1)
A2 = make_context("A", key_version=2)
SHREDDED = make_context("A", key_version=1, key_destroyed=True)


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[LocalKeys]:
    keys = LocalKeys(tmp_path / "keys")
    yield keys
    keys.close()


class World:
    """The table, and the layers over it as one process has them."""

    def __init__(self, table, keys, pages, clock) -> None:
        self.table = table
        self.ring = KeyRing(keys, ItemKeyRecords(table))
        self.sealed = SealedTable(table, self.ring)
        self.users = Entities(table=self.sealed, pages=pages, clock=clock)
        self.configs = Configs(table=self.sealed, clock=clock)
        self.reencryption = Reencryption(engine=table, sealed=self.sealed, ring=self.ring)

    async def create(self, tenant, count: int, kind: str) -> None:
        with serving(tenant):
            for number in range(count):
                await self.users.create(
                    tenant,
                    USERS,
                    entity_id=f"{kind}-{number}",
                    message=User(email=f"{kind}-{number}@example.com", display_name="Canary"),
                )

    async def run(self, tenant, position: bytes = b"") -> tuple[int, int]:
        with serving(tenant):
            told = [progress async for progress in self.reencryption.run(tenant, position)]
        return told[-1].seen, told[-1].rewritten

    async def versions(self) -> list[int]:
        with serving(A):
            page = await self.table.query(A.partition, keys=Range(prefix="USER#"), limit=1000)
        return [
            stored.item[SEALED]["version"] if SEALED in stored.item else 0 for stored in page.items
        ]

    async def emails(self, tenant) -> set[str]:
        with serving(tenant):
            page = await self.sealed.query(tenant.partition, keys=Range(prefix="USER#"), limit=1000)
        return {str(stored.item["email"]) for stored in page.items}


@pytest.fixture
async def world(table, keys, pages, clock, configs) -> World:
    await keys.create(A.key)
    return World(table, keys, pages, clock)


async def test_what_is_in_the_clear_and_older_versions_come_to_the_newest(world):
    await world.create(A, 3, "plain")
    await world.create(A1, 3, "one")
    await world.create(A2, 3, "two")
    with serving(A):
        await world.configs.update(A, message=TenantConfig(postal_address="Canary"), paths=[])
    assert await world.run(A2) == (10, 7)
    assert set(await world.versions()) == {2}
    assert len(await world.emails(A2)) == 9
    assert await world.run(A2) == (10, 0)
    with serving(A2):
        assert await world.reencryption.drop(A2, before=2) == 1
        assert (await world.configs.get(A2)).postal_address == "Canary"
        found = await world.users.get(A2, USERS, name="users/one-0")
        assert found.display_name == "Canary"
    assert len(await world.emails(A2)) == 9


async def test_it_goes_on_where_another_run_ended(world):
    await world.create(A, 250, "plain")
    make_current(A1)
    seen = []
    async for progress in world.reencryption.run(A1):
        seen.append(progress)
        if len(seen) == 4:  # settings, lists, and two pages of users
            break
    assert (seen[-1].seen, seen[-1].rewritten) == (201, 200)
    assert await world.run(A1, seen[-1].position) == (50, 50)
    make_current(None)


async def test_concurrent_changes_and_deletions_are_not_lost(world):
    await world.create(A1, 60, "one")
    done = asyncio.Event()
    changes = 0

    async def change() -> None:
        nonlocal changes
        make_current(A2)
        while not done.is_set():
            number = changes % 50
            changes += 1
            message = User(name=f"users/one-{number}", display_name=f"changed {changes}")
            changed = await world.users.update(A2, USERS, message=message, paths=["display_name"])
            assert changed.display_name == f"changed {changes}"
            last[number] = changed.display_name
            await asyncio.sleep(0)

    async def delete() -> None:
        make_current(A2)
        for number in range(50, 60):
            await world.users.delete(A2, USERS, name=f"users/one-{number}", etag="")

    last: dict[int, str] = {}
    changing = asyncio.create_task(change())
    deleting = asyncio.create_task(delete())
    await world.run(A2)
    await deleting
    done.set()
    await changing
    assert set(await world.versions()) == {2}
    assert len(await world.versions()) == 50
    with serving(A2):
        for number, name in last.items():
            found = await world.users.get(A2, USERS, name=f"users/one-{number}")
            assert found.display_name == name
    assert last


async def test_what_is_damaged_is_told_and_not_written_over(world, engine):
    await world.create(A1, 1, "one")
    with serving(A1):
        item = await world.table.get(A1.partition, "USER#one-0")
    item[SEALED]["values"]["email"] = "AAAA"
    await engine.write(A1.partition, Put(sort_key="USER#one-0", item=item))
    with pytest.raises(DataLoss) as caught:
        await world.run(A2)
    assert caught.value.metadata["place"] == "USER#one-0 email"


async def test_who_has_no_encryption_or_no_key_any_more(world):
    for tenant, reason in ((A, "ENCRYPTION_OFF"), (SHREDDED, "KEY_DESTROYED")):
        with pytest.raises(FailedPrecondition) as caught:
            await world.run(tenant)
        assert caught.value.reason == reason


@pytest.mark.parametrize("before", [0, 3])
async def test_the_newest_data_key_is_never_dropped(world, before):
    with pytest.raises(InvalidArgument):
        await world.reencryption.drop(A2, before=before)
