"""The contract of the table port: one suite for every adapter."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boundary.scope import Partition
from services.embedded.sqlite import Database
from services.table.point_reads import PointReader
from services.table.ports import (
    ABSENT,
    MAX_ITEM_BYTES,
    MAX_PAGE_BYTES,
    MAX_TRANSACTION,
    PRESENT,
    Check,
    Condition,
    ConditionFailed,
    Delete,
    Item,
    ItemTooLarge,
    PurgeableTable,
    Put,
    Range,
    Table,
    TransactionTooLarge,
    Update,
)
from services.table.sizes import item_size
from services.table.sqlite import SCHEMA, SqliteTable
from tests.contexts import make_context


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "sqlite-threads"])
def table(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[PurgeableTable]:
    path = tmp_path / "table.sqlite"
    database = Database(path)
    database.open(SCHEMA)
    points = PointReader(path) if request.param == "sqlite" else None
    table = SqliteTable(database, points=points, clock=clock)
    yield table
    table.close()


CONTEXTS = {name: make_context(name) for name in ("A", "A-1", "a", "ab", "B")}
A = CONTEXTS["A"].partition
A1 = CONTEXTS["A-1"].partition
B = CONTEXTS["B"].partition


async def keys_of(table: Table, partition: Partition, keys: Range, **query) -> list[str]:
    """The sort keys of a whole query, read in pages of 3."""
    found: list[str] = []
    position = None
    while True:
        page = await table.query(partition, keys=keys, limit=3, position=position, **query)
        assert len(page.items) <= 3
        found += [stored.sort_key for stored in page.items]
        if page.position is None:
            return found
        position = page.position


async def put(table: Table, partition: Partition, *sort_keys: str, **item) -> None:
    for sort_key in sort_keys:
        await table.write(partition, Put(sort_key=sort_key, item=dict(item)))


# Single writes and reads


async def test_an_item_reads_as_it_was_written(table: Table):
    item: Item = {
        "text": "Grüße \U0001f600 \x00 \"'\\",
        "number": -12,
        "wide": 10**37 + 1,
        "flag": True,
        "none": None,
        "list": [1, "two", {"three": [False]}],
        "map": {"": "", "a.b": {"c": 2**63}},
    }
    assert await table.write(A, Put(sort_key="CAMPAIGN#1", item=item)) == item
    read = await table.get(A, "CAMPAIGN#1")
    assert read == item
    assert read is not None
    assert read["flag"] is True


async def test_a_missing_item_is_none(table: Table):
    assert await table.get(A, "CAMPAIGN#1") is None


async def test_a_put_replaces_the_whole_item(table: Table):
    await table.write(A, Put(sort_key="k", item={"a": 1, "b": 2}))
    await table.write(A, Put(sort_key="k", item={"a": 3}))
    assert await table.get(A, "k") == {"a": 3}


async def test_an_integer_beyond_38_digits_is_refused(table: Table):
    with pytest.raises(ValueError, match="38"):
        await table.write(A, Put(sort_key="k", item={"n": 10**38}))
    assert await table.get(A, "k") is None


async def test_table_keys_are_no_attributes(table: Table):
    for name in ("PK", "SK"):
        with pytest.raises(ValueError, match="no attributes"):
            await table.write(A, Put(sort_key="k", item={name: "TENANT#B"}))
    assert await table.get(A, "k") is None


async def test_an_update_sets_removes_and_adds(table: Table):
    await put(table, A, "k", a=1, b=2, n=40)
    after = await table.write(
        A, Update(sort_key="k", set={"a": "x"}, remove=["b", "nothing"], add={"n": 2, "m": -1})
    )
    assert after == {"a": "x", "n": 42, "m": -1}
    assert await table.get(A, "k") == after


async def test_an_update_creates_what_is_not_there(table: Table):
    assert await table.write(A, Update(sort_key="k", add={"n": 5})) == {"n": 5}


async def test_an_update_does_not_add_to_text(table: Table):
    await put(table, A, "k", n="text")
    with pytest.raises(TypeError):
        await table.write(A, Update(sort_key="k", add={"n": 1}))
    assert await table.get(A, "k") == {"n": "text"}


async def test_deleting_twice_is_no_failure(table: Table):
    await put(table, A, "k", a=1)
    assert await table.write(A, Delete(sort_key="k")) is None
    assert await table.write(A, Delete(sort_key="k")) is None
    assert await table.get(A, "k") is None


# Conditions


async def test_absent_and_present(table: Table):
    with pytest.raises(ConditionFailed) as failed:
        await table.write(A, Update(sort_key="k", set={"a": 1}, condition=PRESENT))
    assert failed.value.existing is None
    await table.write(A, Put(sort_key="k", item={"a": 1}, condition=ABSENT))
    with pytest.raises(ConditionFailed) as failed:
        await table.write(A, Put(sort_key="k", item={"a": 2}, condition=ABSENT))
    assert failed.value.existing == {"a": 1}
    assert await table.get(A, "k") == {"a": 1}
    with pytest.raises(ConditionFailed):
        await table.write(A, Delete(sort_key="other", condition=PRESENT))


@pytest.mark.parametrize(
    ("equals", "holds"),
    [
        ({"etag": "1"}, True),
        ({"etag": "1", "n": 1}, True),
        ({"etag": "2"}, False),
        ({"etag": "1", "n": 2}, False),
        ({"missing": None}, True),
        ({"missing": "x"}, False),
        ({"etag": None}, False),
        ({"n": True}, False),
    ],
)
async def test_equals(table: Table, equals, holds):
    await put(table, A, "k", etag="1", n=1)
    condition = Condition(exists=True, equals=equals)
    writes = [
        Check(sort_key="k", condition=condition),
        Update(sort_key="k", set={"x": 1}, condition=condition),
        Put(sort_key="k", item={"etag": "1", "n": 1}, condition=condition),
        Delete(sort_key="k", condition=condition),
    ]
    for write in writes:
        if holds:
            await table.write(A, write)
        else:
            with pytest.raises(ConditionFailed):
                await table.write(A, write)
            assert await table.get(A, "k") == {"etag": "1", "n": 1}


async def test_equals_on_a_missing_item(table: Table):
    await table.write(A, Put(sort_key="k", item={}, condition=Condition(equals={"a": None})))
    with pytest.raises(ConditionFailed):
        await table.write(A, Put(sort_key="l", item={}, condition=Condition(equals={"a": 1})))


async def test_one_of_many_creators_wins(table: Table):
    async def create(number: int) -> bool:
        try:
            await table.write(A, Put(sort_key="k", item={"n": number}, condition=ABSENT))
        except ConditionFailed:
            return False
        return True

    assert sum(await asyncio.gather(*(create(number) for number in range(40)))) == 1


async def test_concurrent_increments_all_count(table: Table):
    await asyncio.gather(
        *(table.write(A, Update(sort_key="k", add={"n": 1, "m": 2})) for _ in range(200))
    )
    assert await table.get(A, "k") == {"n": 200, "m": 400}


async def test_increments_from_two_processes_all_count(tmp_path: Path):
    tables = []
    for _ in range(2):
        database = Database(tmp_path / "shared.sqlite")
        database.open(SCHEMA)
        tables.append(SqliteTable(database))
    await asyncio.gather(
        *(each.write(A, Update(sort_key="k", add={"n": 1})) for _ in range(50) for each in tables)
    )
    assert [await each.get(A, "k") for each in tables] == [{"n": 100}, {"n": 100}]
    for each in tables:
        each.close()


# Transactions


async def test_a_transaction_writes_all(table: Table):
    await put(table, A, "gone", a=1)
    await put(table, A, "checked", a=1)
    await table.transact(
        [
            (A, Put(sort_key="new", item={"a": 1}, condition=ABSENT)),
            (A, Update(sort_key="count", add={"n": 1})),
            (A, Delete(sort_key="gone")),
            (A, Check(sort_key="checked", condition=PRESENT)),
        ]
    )
    assert await table.batch_get(A, ["new", "count", "gone", "checked"]) == {
        "new": {"a": 1},
        "count": {"n": 1},
        "checked": {"a": 1},
    }


async def test_a_transaction_writes_none(table: Table):
    await put(table, A, "taken", a=1)
    with pytest.raises(ConditionFailed) as failed:
        await table.transact(
            [
                (A, Put(sort_key="new", item={"a": 1})),
                (A, Update(sort_key="count", add={"n": 1})),
                (A, Put(sort_key="taken", item={}, condition=ABSENT)),
            ]
        )
    assert (failed.value.index, failed.value.existing) == (2, {"a": 1})
    assert await table.batch_get(A, ["new", "count", "taken"]) == {"taken": {"a": 1}}


async def test_a_transaction_that_holds_a_large_item_writes_none(table: Table):
    with pytest.raises(ItemTooLarge) as refused:
        await table.transact(
            [
                (A, Put(sort_key="small", item={"a": 1})),
                (A, Put(sort_key="large", item={"a": "x" * MAX_ITEM_BYTES})),
            ]
        )
    assert refused.value.index == 1
    assert await table.get(A, "small") is None


async def test_a_transaction_holds_4_mb(table: Table):
    item: Item = {"a": "x" * (MAX_ITEM_BYTES - 100)}
    with pytest.raises(TransactionTooLarge):
        await table.transact([(A, Put(sort_key=f"k{n}", item=item)) for n in range(11)])
    assert await table.get(A, "k0") is None
    await table.transact([(A, Put(sort_key=f"k{n}", item=item)) for n in range(10)])


async def test_a_transaction_is_bounded_and_writes_a_key_once(table: Table):
    writes = [(A, Put(sort_key=f"k{n}", item={})) for n in range(MAX_TRANSACTION + 1)]
    with pytest.raises(ValueError, match="at most"):
        await table.transact(writes)
    await table.transact(writes[:-1])
    with pytest.raises(ValueError, match="once"):
        await table.transact([writes[0], writes[0]])
    # One sort key in two partitions is two items.
    await table.transact([(A, Put(sort_key="k", item={})), (B, Put(sort_key="k", item={}))])


async def test_transactions_do_not_lose_each_others_increments(table: Table):
    async def transfer(amount: int) -> None:
        await table.transact(
            [
                (A, Update(sort_key="from", add={"n": -amount})),
                (A, Update(sort_key="to", add={"n": amount})),
            ]
        )

    await asyncio.gather(*(transfer(amount) for amount in range(50)))
    total = sum(range(50))
    assert await table.batch_get(A, ["from", "to"]) == {"from": {"n": -total}, "to": {"n": total}}


async def test_a_batch_read_is_bounded(table: Table):
    assert await table.batch_get(A, []) == {}
    with pytest.raises(ValueError, match="at most"):
        await table.batch_get(A, [f"k{n}" for n in range(MAX_TRANSACTION + 1)])


# Ranges, order and pages

ODD_KEYS = ["C", "C#", "C#\x00", "C#0", "C#A", "C#a", "C#a#", "C#aa", "C#\x7f", "C#ä", "C#€"]
ODD_KEYS += ["C#\uffff", "C#\U00010000", "C#\U0010ffff", "C#\U0010ffff\U0010ffff", "C$", "D", "é"]


async def test_sort_keys_are_ordered_as_utf8(table: Table):
    await put(table, A, *reversed(ODD_KEYS))
    assert await keys_of(table, A, Range()) == ODD_KEYS
    assert await keys_of(table, A, Range(), descending=True) == ODD_KEYS[::-1]


@pytest.mark.parametrize("prefix", ["C", "C#", "C#a", "C#\U0010ffff", "C#ä", "é", "x"])
async def test_a_prefix_reads_exactly_its_own(table: Table, prefix):
    await put(table, A, *ODD_KEYS)
    expected = [key for key in ODD_KEYS if key.startswith(prefix)]
    assert await keys_of(table, A, Range(prefix=prefix)) == expected
    assert await keys_of(table, A, Range(prefix=prefix), descending=True) == expected[::-1]


async def test_a_range_includes_both_ends(table: Table):
    await put(table, A, *ODD_KEYS)
    assert await keys_of(table, A, Range(low="C#a", high="C#ä")) == ODD_KEYS[5:10]
    assert await keys_of(table, A, Range(low="C#€")) == ODD_KEYS[10:]
    assert await keys_of(table, A, Range(high="C#")) == ODD_KEYS[:2]
    assert await keys_of(table, A, Range(prefix="C#", low="C#a", high="C#a")) == ["C#a"]
    assert await keys_of(table, A, Range(low="D", high="C")) == []


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    keys=st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)),
    prefix=st.text(st.characters(exclude_categories=["Cs"]), max_size=2),
)
async def test_any_keys_page_as_utf8(table: Table, keys, prefix):
    left = await keys_of(table, A, Range())
    if left:
        await table.transact([(A, Delete(sort_key=key)) for key in left])
    await put(table, A, *keys)
    expected = sorted((key for key in keys if key.startswith(prefix)), key=str.encode)
    assert await keys_of(table, A, Range(prefix=prefix)) == expected


async def test_a_page_goes_on_where_it_ended_whatever_was_written_between(table: Table):
    await put(table, A, "a", "c", "e")
    page = await table.query(A, keys=Range(), limit=2)
    assert [stored.sort_key for stored in page.items] == ["a", "c"]
    await table.write(A, Delete(sort_key="c"))
    await put(table, A, "b", "d")
    page = await table.query(A, keys=Range(), limit=5, position=page.position)
    assert [stored.sort_key for stored in page.items] == ["d", "e"]
    assert page.position is None


async def test_a_full_last_page_has_no_position(table: Table):
    await put(table, A, "a", "b")
    assert (await table.query(A, keys=Range(), limit=2)).position is None


async def test_a_page_of_large_items_ends_early(table: Table):
    text = "x" * (MAX_PAGE_BYTES // 4)
    for number in range(10):
        await table.write(A, Put(sort_key=f"k{number}", item={"text": text}))
    page = await table.query(A, keys=Range(), limit=100)
    # The item that crosses the bound is on the page or begins the next, by engine.
    assert len(page.items) in (3, 4)
    assert page.position is not None


@pytest.mark.parametrize("position", [b"", b"\x00", b"\x00\x09a", b"a" * 40])
async def test_a_position_of_something_else_is_refused(table: Table, position):
    with pytest.raises(ValueError, match="position"):
        await table.query(A, keys=Range(), limit=1, position=position)


async def test_a_query_has_a_limit_and_a_known_index(table: Table):
    with pytest.raises(ValueError, match="at least one"):
        await table.query(A, keys=Range(), limit=0)
    with pytest.raises(ValueError, match="no such index"):
        await table.query(A, keys=Range(), limit=1, index="GSI9", index_key="TENANT#A#X")


# Indexes


async def test_an_index_orders_by_its_own_key(table: Table):
    key = A.index_key("CAMPAIGN", "STATUS", "DRAFT")
    for sort_key, order in [("C#1", "b"), ("C#2", "a"), ("C#3", "a"), ("C#4", "aa"), ("C#5", "c")]:
        await put(table, A, sort_key, GSI1PK=key, GSI1SK=order, x=1)
    await put(table, A, "C#6", GSI1PK=A.index_key("CAMPAIGN", "STATUS", "SENT"), GSI1SK="a")
    await put(table, A, "C#7", GSI1PK=key)  # without a sort key it is not in the index
    query = {"index": "GSI1", "index_key": key}
    ordered = ["C#2", "C#3", "C#4", "C#1", "C#5"]
    assert await keys_of(table, A, Range(), **query) == ordered
    assert await keys_of(table, A, Range(), **query, descending=True) == ordered[::-1]
    assert await keys_of(table, A, Range(prefix="a"), **query) == ["C#2", "C#3", "C#4"]
    assert await keys_of(table, A, Range(low="aa", high="b"), **query) == ["C#4", "C#1"]
    page = await table.query(A, keys=Range(), limit=1, **query)
    assert page.items[0].item == {"GSI1PK": key, "GSI1SK": "a", "x": 1}


async def test_an_item_leaves_the_index_with_its_key(table: Table):
    draft, sent = A.index_key("STATUS", "DRAFT"), A.index_key("STATUS", "SENT")
    await put(table, A, "k", GSI1PK=draft, GSI1SK="k", GSI2PK=draft, GSI2SK="k")
    await table.write(A, Update(sort_key="k", set={"GSI1PK": sent}, remove=["GSI2PK"]))
    assert await keys_of(table, A, Range(), index="GSI1", index_key=draft) == []
    assert await keys_of(table, A, Range(), index="GSI1", index_key=sent) == ["k"]
    assert await keys_of(table, A, Range(), index="GSI2", index_key=draft) == []
    await table.write(A, Delete(sort_key="k"))
    assert await keys_of(table, A, Range(), index="GSI1", index_key=sent) == []


# Expiry


async def test_an_expired_item_is_gone_everywhere(table: Table, clock: Clock):
    key = A.index_key("X")
    item: Item = {"n": 1, "GSI1PK": key, "GSI1SK": "k"}
    await table.write(A, Put(sort_key="k", item=item, expires_at=int(clock.now) + 10))
    clock.now += 9
    assert await table.get(A, "k") == item
    clock.now += 1
    assert await table.get(A, "k") is None
    assert await table.batch_get(A, ["k"]) == {}
    assert await keys_of(table, A, Range()) == []
    assert await keys_of(table, A, Range(), index="GSI1", index_key=key) == []
    with pytest.raises(ConditionFailed) as failed:
        await table.write(A, Check(sort_key="k", condition=PRESENT))
    assert failed.value.existing is None
    assert await table.write(A, Update(sort_key="k", add={"n": 5}, condition=ABSENT)) == {"n": 5}
    clock.now += 1000
    assert await table.get(A, "k") == {"n": 5}


async def test_an_update_keeps_or_sets_the_expiry(table: Table, clock: Clock):
    await table.write(A, Put(sort_key="k", item={}, expires_at=int(clock.now) + 10))
    await table.write(A, Update(sort_key="k", set={"a": 1}))
    clock.now += 5
    await table.write(A, Update(sort_key="k", set={"a": 2}, expires_at=int(clock.now) + 10))
    clock.now += 9
    assert await table.get(A, "k") == {"a": 2}
    clock.now += 1
    assert await table.get(A, "k") is None


async def test_a_put_without_expiry_stays(table: Table, clock: Clock):
    await table.write(A, Put(sort_key="k", item={}, expires_at=int(clock.now) + 10))
    await table.write(A, Put(sort_key="k", item={}))
    clock.now += 100
    assert await table.get(A, "k") == {}


# Sizes


def filled_to(size: int, sort_key: str) -> Item:
    """An item of exactly this size in partition A."""
    item: Item = {"text": ""}
    item["text"] = "x" * (size - item_size(A.key, sort_key, item))
    assert item_size(A.key, sort_key, item) == size
    return item


async def test_an_item_of_400_kb_fits_and_no_more(table: Table):
    await table.write(A, Put(sort_key="k", item=filled_to(MAX_ITEM_BYTES, "k")))
    with pytest.raises(ItemTooLarge):
        await table.write(A, Put(sort_key="l", item=filled_to(MAX_ITEM_BYTES + 1, "l")))
    assert await table.get(A, "l") is None
    with pytest.raises(ItemTooLarge):
        await table.write(A, Update(sort_key="k", set={"a": 1}))
    assert await table.get(A, "k") == filled_to(MAX_ITEM_BYTES, "k")


# Neighbours


@pytest.mark.parametrize(
    ("mine", "theirs"), [("A", "A-1"), ("A-1", "A"), ("a", "ab"), ("ab", "a"), ("A", "a")]
)
async def test_partitions_with_a_common_beginning_are_apart(table: Table, mine, theirs):
    here, there = CONTEXTS[mine].partition, CONTEXTS[theirs].partition
    key = there.index_key("X")
    await put(table, there, "k", "l", owner=theirs, GSI1PK=key, GSI1SK="k")
    assert await table.get(here, "k") is None
    assert await table.batch_get(here, ["k", "l"]) == {}
    assert await keys_of(table, here, Range()) == []
    assert await keys_of(table, here, Range(), index="GSI1", index_key=here.index_key("X")) == []
    await table.write(here, Delete(sort_key="k"))
    await table.write(here, Put(sort_key="l", item={"owner": mine}, condition=ABSENT))
    assert await keys_of(table, there, Range()) == ["k", "l"]
    read = await table.get(there, "l")
    assert read is not None
    assert read["owner"] == theirs


async def test_one_transaction_may_touch_two_partitions(table: Table):
    await put(table, B, "k", a=1)
    with pytest.raises(ConditionFailed) as failed:
        await table.transact(
            [(A, Put(sort_key="k", item={})), (B, Put(sort_key="k", item={}, condition=ABSENT))]
        )
    assert failed.value.index == 1
    assert await table.get(A, "k") is None


# Taking a partition away


async def stored_keys(table: PurgeableTable, partition: Partition) -> list[str]:
    """All stored sort keys, read in pages of 3."""
    found: list[str] = []
    position = None
    while True:
        page = await table.keys(partition, limit=3, position=position)
        assert len(page.sort_keys) <= 3
        found += page.sort_keys
        if page.position is None:
            return found
        position = page.position


async def test_keys_are_all_that_is_stored_in_order_and_nothing_of_a_neighbour(
    table: PurgeableTable,
):
    await put(table, A, "B", "a", "CONFIG", "B#1", "ä", "\U0001f600", "REQUEST#x")
    await put(table, A1, "other")
    expected = sorted(["B", "a", "CONFIG", "B#1", "ä", "\U0001f600", "REQUEST#x"], key=str.encode)
    assert await stored_keys(table, A) == expected
    assert await stored_keys(table, CONTEXTS["a"].partition) == []


async def test_a_drop_takes_any_number_of_items_and_their_index_entries(table: PurgeableTable):
    index_key = A.index_key("CAMPAIGN")
    numbers = range(120)
    for number in numbers:
        item: Item = {"GSI2PK": index_key, "GSI2SK": f"{number:03}"}
        await table.write(A, Put(sort_key=f"k{number:03}", item=item))
    await put(table, A, "kept")
    for neighbour in ("A-1", "a", "ab", "B"):
        await put(table, CONTEXTS[neighbour].partition, "k001")
    await table.drop(A, [f"k{number:03}" for number in numbers] + ["never-was"])
    assert await stored_keys(table, A) == ["kept"]
    assert await keys_of(table, A, Range(), index="GSI2", index_key=index_key) == []
    for neighbour in ("A-1", "a", "ab", "B"):
        assert await stored_keys(table, CONTEXTS[neighbour].partition) == ["k001"]
    await table.drop(A, ["k001", "kept"])
    await table.drop(A, [])
    assert await stored_keys(table, A) == []


async def test_a_drop_takes_what_has_expired_and_is_no_longer_read(
    table: PurgeableTable, clock: Clock
):
    await table.write(A, Put(sort_key="k", item={}, expires_at=int(clock.now) + 10))
    clock.now += 20
    assert await table.get(A, "k") is None
    keys = await stored_keys(table, A)
    await table.drop(A, keys)
    clock.now -= 20
    assert await table.get(A, "k") is None
    await table.scrub(A)


# Durability


async def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path):
    for round_ in range(2):
        database = Database(tmp_path / "kept.sqlite")
        database.open(SCHEMA)
        table = SqliteTable(database)
        if round_ == 0:
            await put(table, A, "k", a=1)
        assert await table.get(A, "k") == {"a": 1}
        table.close()


async def test_expired_items_are_dropped_in_the_course_of_writing(tmp_path: Path, clock: Clock):
    database = Database(tmp_path / "purged.sqlite")
    database.open(SCHEMA)
    with contextlib.closing(SqliteTable(database, clock=clock)) as table:
        for number in range(100):
            await table.write(
                A, Put(sort_key=f"k{number}", item={}, expires_at=int(clock.now) + 10)
            )
        clock.now += 20
        for _ in range(5):
            await put(table, A, "kept")
        rows = await database.read(lambda c: c.execute("SELECT count(*) FROM items").fetchone())
        assert rows == (1,)


async def test_nothing_of_what_was_dropped_is_left_in_the_files(tmp_path: Path):
    canary, other = "Zq7xCANARYx", "Zq7xNEIGHBOURx"
    database = Database(tmp_path / "table.sqlite")
    database.open(SCHEMA)
    with contextlib.closing(
        SqliteTable(database, points=PointReader(tmp_path / "table.sqlite"))
    ) as table:
        for number in range(300):
            size = number * 37 % 9000  # in the row, on its page, and on pages of its own
            item: Item = {
                "text": canary * (1 + size // len(canary)),
                "GSI1PK": A.index_key("USER", "EMAIL", canary),
                "GSI1SK": f"{canary}{number}",
            }
            await table.write(A, Put(sort_key=f"USER#{canary}{number}", item=item))
            await put(table, B, f"USER#{other}{number}", text=other)
        for number in range(0, 300, 3):
            await put(table, A, f"USER#{canary}{number}", text=canary)
        assert canary.encode() in raw_bytes(tmp_path)
        await table.drop(A, await stored_keys(table, A))
        await table.scrub(A)
        assert canary.encode() not in raw_bytes(tmp_path)
        assert raw_bytes(tmp_path).count(other.encode()) >= 300
        assert (await table.get(B, f"USER#{other}7")) == {"text": other}


async def test_a_reader_of_an_earlier_state_only_delays_a_scrub(tmp_path: Path):
    path = tmp_path / "table.sqlite"
    database = Database(path)
    database.open(SCHEMA)
    with contextlib.closing(SqliteTable(database)) as table:
        await put(table, A, "k", text="CANARY")
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM items").fetchone()
        await table.drop(A, ["k"])
        scrubbing = asyncio.create_task(table.scrub(A))
        await put(table, B, "others go on")
        assert not scrubbing.done()
        reader.execute("ROLLBACK")
        await asyncio.wait_for(scrubbing, 5)
        reader.close()
        assert b"CANARY" not in raw_bytes(tmp_path)


def raw_bytes(folder: Path) -> bytes:
    """Every byte of every file."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
