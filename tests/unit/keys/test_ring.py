"""Data keys as a service holds them: made once, asked for once, gone at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from boundary.errors import DataLoss, FailedPrecondition
from boundary.tenants import TenantState
from services.keys.local import LocalKeys
from services.keys.ring import KeyRing
from tests.contexts import make_context

A = make_context("A", key_version=1)
B = make_context("B", key_version=1)
SHREDDED = make_context("A", key_version=1, key_destroyed=True)


def state(*, active: bool = True, destroyed: bool = False) -> TenantState:
    return TenantState(tenant_id=A.tenant_id, generation=2, active=active, key_destroyed=destroyed)


class Records:
    """Wrapped data keys in memory, for any number of rings."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, int], bytes] = {}
        self.finds = 0

    async def find(self, tenant, *, purpose, version):
        self.finds += 1
        await asyncio.sleep(0)
        return self.stored.get((tenant.tenant_id, purpose, version))

    async def add(self, tenant, wrapped, *, purpose, version):
        await asyncio.sleep(0)
        return self.stored.setdefault((tenant.tenant_id, purpose, version), wrapped)

    async def drop(self, tenant, *, purpose, before):
        old = [k for k in self.stored if k[:2] == (tenant.tenant_id, purpose) and k[2] < before]
        for key in old:
            del self.stored[key]
        return len(old)


class Counting:
    """A keeper that counts and that can be held up."""

    def __init__(self, inner: LocalKeys) -> None:
        self.inner = inner
        self.unwraps = 0
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()

    async def generate(self, key, *, purpose):
        return await self.inner.generate(key, purpose=purpose)

    async def wrap(self, key, plaintext, *, purpose):
        return await self.inner.wrap(key, plaintext, purpose=purpose)

    async def unwrap(self, key, wrapped, *, purpose):
        self.unwraps += 1
        plaintext = await self.inner.unwrap(key, wrapped, purpose=purpose)
        self.asked.set()
        await self.open.wait()
        return plaintext


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalKeys]:
    keys = LocalKeys(tmp_path)
    yield keys
    keys.close()


@pytest.fixture
async def keeper(local: LocalKeys) -> Counting:
    await local.create(A.key)
    await local.create(B.key)
    return Counting(local)


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def time() -> list[float]:
    return [0.0]


@pytest.fixture
def ring(keeper: Counting, records: Records, time: list[float]) -> KeyRing:
    return KeyRing(keeper, records, seconds=60, clock=lambda: time[0])


def read(ring: KeyRing, tenant=A, version: int = 1):
    return ring.read(tenant, purpose="fields", version=version)


def write(ring: KeyRing, tenant=A, version: int = 1):
    return ring.write(tenant, purpose="fields", version=version)


async def test_processes_that_make_a_data_key_at_once_agree_on_one(keeper, records):
    rings = [KeyRing(keeper, records) for _ in range(5)]
    assert len({*await asyncio.gather(*(write(ring) for ring in rings))}) == 1


async def test_tenants_purposes_and_versions_have_data_keys_of_their_own(ring):
    made = [
        await write(ring),
        await write(ring, B),
        await write(ring, A, 2),
        await ring.write(A, purpose="index", version=1),
    ]
    assert len(set(made)) == 4
    assert await read(ring) == made[0]


async def test_each_place_of_a_tenant_has_data_keys_of_its_own(keeper):
    """As while it is moved within a region: what one table's key encrypted, no other table's record opens."""
    here, there = Records(), Records()
    moved = make_context("A", key_version=1, placement=replace(A.placement, table="Other"))

    class ByTable:
        async def find(self, tenant, **which):
            return await (here if tenant.placement == A.placement else there).find(tenant, **which)

        async def add(self, tenant, wrapped, **which):
            records = here if tenant.placement == A.placement else there
            return await records.add(tenant, wrapped, **which)

    ring = KeyRing(keeper, ByTable())
    assert await write(ring, A) != await write(ring, moved)
    assert await read(ring, A) != await read(ring, moved)
    assert here.stored.keys() == there.stored.keys()


async def test_what_is_forgotten_is_asked_for_again(ring, keeper):
    first = await write(ring)
    asked = keeper.unwraps
    ring.forget(A.tenant_id)
    assert await read(ring) == first
    assert keeper.unwraps == asked + 1


async def test_many_readers_ask_once_and_then_not_until_the_lifetime_is_over(
    ring, keeper, records, time
):
    await write(KeyRing(keeper, records))
    keeper.unwraps = records.finds = 0
    await asyncio.gather(*(read(ring) for _ in range(20)))
    time[0] = 59.0
    await read(ring)
    assert (keeper.unwraps, records.finds) == (1, 1)
    time[0] = 60.0  # it does not slide
    await read(ring)
    assert keeper.unwraps == 2


async def test_a_data_key_that_is_lost_is_named(ring):
    with pytest.raises(DataLoss) as caught:
        await read(ring, A, 7)
    assert caught.value.reason == "DATA_KEY_MISSING"
    assert caught.value.metadata["place"] == "version 7 for fields of tenant A"


async def test_a_foreign_or_damaged_data_key_is_named(ring, records):
    await write(ring, B)
    records.stored["A", "fields", 1] = records.stored["B", "fields", 1]
    with pytest.raises(DataLoss) as caught:
        await read(ring)
    assert caught.value.reason == "DATA_KEY_INVALID"
    assert "version 1 for fields" in caught.value.message


async def test_a_key_store_that_was_tampered_with_is_named(ring, tmp_path, keeper, records):
    await write(KeyRing(keeper, records))
    (tmp_path / "tenant-a" / "1.key").write_bytes(bytes(32))
    with pytest.raises(DataLoss) as caught:
        await read(ring)
    assert caught.value.reason == "KEY_STORE_TAMPERED"
    assert caught.value.metadata["place"] == "tenant-a/1.key"


@pytest.mark.parametrize("told_by", ["stream", "context"])
async def test_a_destroyed_key_is_forgotten_at_once_and_for_good(ring, told_by):
    await write(ring)
    await write(ring, B)
    if told_by == "stream":
        ring.observe(state(destroyed=True))
    else:
        with pytest.raises(FailedPrecondition):
            await read(ring, SHREDDED)
    for ask in (read, write):
        with pytest.raises(FailedPrecondition) as caught:
            await ask(ring)  # with a context from before
        assert caught.value.reason == "KEY_DESTROYED"
    assert not any(slot[0] == A.tenant_id for slot in ring._held)
    await read(ring, B)


async def test_what_was_on_its_way_when_the_key_was_destroyed_does_not_arrive(
    ring, keeper, records
):
    await write(KeyRing(keeper, records))
    keeper.open.clear()
    keeper.asked.clear()
    asked = asyncio.create_task(read(ring))
    await keeper.asked.wait()
    ring.observe(state(destroyed=True))
    keeper.open.set()
    with pytest.raises(FailedPrecondition):
        await asked
    assert not ring._held


async def test_where_the_stream_is_broken_the_lifetime_is_the_bound(ring, local, time):
    await write(ring)
    await local.destroy(A.key)
    await read(ring)
    time[0] = 60.0
    with pytest.raises(FailedPrecondition) as caught:
        await read(ring)
    assert caught.value.reason == "KEY_DESTROYED"


@pytest.mark.parametrize("active", [True, False])
async def test_a_tenant_that_has_changed_has_nothing_unwrapped(ring, keeper, active):
    await write(ring)
    ring.observe(state(active=active))
    assert not ring._held
    await read(ring)
    assert keeper.unwraps == 2


async def test_a_caller_that_goes_away_takes_the_key_from_nobody(ring, keeper, records):
    await write(KeyRing(keeper, records))
    keeper.open.clear()
    keeper.asked.clear()
    goes, stays = (asyncio.create_task(read(ring)) for _ in range(2))
    await keeper.asked.wait()
    goes.cancel()
    keeper.open.set()
    assert len(await stays) == 32


async def test_data_keys_that_nothing_needs_are_dropped(ring, records):
    for version in (1, 2, 3):
        await write(ring, A, version)
    assert await ring.drop(A, purpose="fields", before=3) == 2
    assert [version for _, _, version in records.stored] == [3]
