"""The table guard lets nothing out of the current tenant."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from boundary.context import serving
from boundary.guard import GuardViolation
from services.table.guard import GuardedTable
from services.table.ports import ABSENT, PRESENT, Check, Delete, Put, Range, Update
from services.table.sqlite import SqliteTable, open_table
from tests.contexts import make_context

CONTEXT_A = make_context("A")
CONTEXT_B = make_context("B")
A, B = CONTEXT_A.partition, CONTEXT_B.partition
NEIGHBOURS = [make_context(name).partition for name in ("A-1", "a", "B")]


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[SqliteTable]:
    table = open_table(tmp_path / "table.sqlite")
    yield table
    table.close()


@pytest.fixture
def table(inner: SqliteTable) -> GuardedTable:
    return GuardedTable(inner)


@pytest.mark.parametrize("partition", NEIGHBOURS)
async def test_another_partition_is_refused(table: GuardedTable, inner: SqliteTable, partition):
    put = Put(sort_key="k", item={"a": 1})
    with serving(CONTEXT_A):
        calls = [
            table.get(partition, "k"),
            table.batch_get(partition, ["k"]),
            table.query(partition, keys=Range(), limit=1),
            table.query(
                partition,
                keys=Range(),
                limit=1,
                index="GSI1",
                index_key=partition.index_key("X"),
            ),
            table.write(partition, put),
            table.write(partition, Delete(sort_key="k")),
            table.transact([(A, put), (partition, put)]),
        ]
        for call in calls:
            with pytest.raises(GuardViolation):
                await call
    assert await inner.get(partition, "k") is None
    assert await inner.get(A, "k") is None


async def test_no_call_at_all_is_refused(table: GuardedTable):
    with pytest.raises(GuardViolation):
        await table.get(A, "k")


async def test_a_context_is_no_longer_current_after_its_call(table: GuardedTable):
    with serving(CONTEXT_A):
        await table.write(A, Put(sort_key="k", item={}))
    with serving(CONTEXT_B), pytest.raises(GuardViolation):
        await table.get(A, "k")


@pytest.mark.parametrize(
    "key", ["TENANT#B", "TENANT#A-1#X", "TENANT#AB", "DIRECTORY#TENANTS", "", "tenant#A#X"]
)
@pytest.mark.parametrize("index", ["GSI1PK", "GSI2PK", "GSI3PK"])
async def test_a_foreign_index_key_is_refused(
    table: GuardedTable, inner: SqliteTable, key: str, index: str
):
    item = {index: key, index[:4] + "SK": "k"}
    with serving(CONTEXT_A):
        for write in (Put(sort_key="k", item=item), Update(sort_key="k", set=item)):
            with pytest.raises(GuardViolation):
                await table.write(A, write)
            with pytest.raises(GuardViolation):
                await table.transact([(A, Put(sort_key="l", item={})), (A, write)])
        with pytest.raises(GuardViolation):
            await table.query(A, keys=Range(), limit=1, index=index[:4], index_key=key)
    assert await inner.batch_get(A, ["k", "l"]) == {}


async def test_an_index_key_that_is_no_text_is_refused(table: GuardedTable):
    with serving(CONTEXT_A), pytest.raises(GuardViolation):
        await table.write(A, Put(sort_key="k", item={"GSI1PK": ["TENANT#A#X"], "GSI1SK": "k"}))


async def test_what_is_the_tenants_own_goes_through(table: GuardedTable):
    key = A.index_key("X")
    with serving(CONTEXT_A):
        await table.write(A, Put(sort_key="k", item={"GSI1PK": key, "GSI1SK": "k"}))
        page = await table.query(A, keys=Range(), limit=1, index="GSI1", index_key=key)
        assert [stored.sort_key for stored in page.items] == ["k"]
        await table.transact([(A, Update(sort_key="k", add={"n": 1}))])
        assert (await table.batch_get(A, ["k"]))["k"]["n"] == 1
        assert await table.get(A, "k") is not None
        await table.write(A, Delete(sort_key="k"))


@pytest.mark.parametrize(
    "write",
    [
        Put(sort_key="CONFIG", item={"settings": {}}),
        Put(sort_key="CONFIG", item={}, condition=ABSENT),
        Delete(sort_key="CONFIG"),
        Update(sort_key="CONFIG", set={"settings": {}}),
        Update(sort_key="CONFIG", set={"status": "ACTIVE"}, condition=PRESENT),
        Update(sort_key="CONFIG", set={"settings": {}, "tier": "PREMIUM"}, condition=PRESENT),
        Update(sort_key="CONFIG", set={"settings_x": 1}, condition=PRESENT),
        Update(sort_key="CONFIG", remove=["generation"], condition=PRESENT),
        Update(sort_key="CONFIG", add={"generation": 1}, condition=PRESENT),
        Update(sort_key="CONFIG", set={"settings": {}}, condition=PRESENT, expires_at=1),
    ],
)
async def test_what_the_resolver_owns_is_not_written(
    table: GuardedTable, inner: SqliteTable, write
):
    await inner.write(A, Put(sort_key="CONFIG", item={"generation": 1}))
    with serving(CONTEXT_A):
        with pytest.raises(GuardViolation):
            await table.write(A, write)
        with pytest.raises(GuardViolation):
            await table.transact([(A, write)])
    assert await inner.get(A, "CONFIG") == {"generation": 1}


async def test_the_tenants_settings_are_written(table: GuardedTable, inner: SqliteTable):
    await inner.write(A, Put(sort_key="CONFIG", item={"generation": 1}))
    with serving(CONTEXT_A):
        await table.write(
            A,
            Update(
                sort_key="CONFIG",
                set={"settings": {"a": 1}, "settings_etag": "x"},
                condition=PRESENT,
            ),
        )
        await table.transact([(A, Check(sort_key="CONFIG", condition=PRESENT))])
    assert await inner.get(A, "CONFIG") == {
        "generation": 1,
        "settings": {"a": 1},
        "settings_etag": "x",
    }
