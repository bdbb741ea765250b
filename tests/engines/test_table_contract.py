"""The contract of the table port, on a DynamoDB-protocol engine."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiodynamo.credentials import Key, StaticCredentials

from services.table.dynamodb import DynamoTable
from services.table.dynamodb_calls import Calls, connect
from services.table.dynamodb_tables import create_table, drift, layout
from services.table.ports import (
    MAX_ITEM_BYTES,
    PRESENT,
    Condition,
    ConditionFailed,
    Item,
    Put,
    Range,
    Table,
    Update,
)
from tests.engines.servers.dynamodb import start_dynamodb

pytest.register_assert_rewrite("tests.contract.test_table")

from tests.contract.test_table import *  # noqa: E402, F403 - the suite's tests run here again
from tests.contract.test_table import A, B, Clock, keys_of, put  # noqa: E402

# The engine drops expired items by itself, in its own time.
del test_expired_items_are_dropped_in_the_course_of_writing  # noqa: F821 - came with the suite

CREDENTIALS = StaticCredentials(Key(id="test", secret="test"))
TABLE = A.table


@contextlib.asynccontextmanager
async def connected(endpoint: str) -> AsyncIterator[Calls]:
    calls = await connect(region="local", endpoint=endpoint, credentials=CREDENTIALS)
    try:
        yield calls
    finally:
        await calls.close()


@pytest.fixture
def clock() -> Clock:
    """It shows the time, as the engine drops what expired long ago."""
    clock = Clock()
    clock.now = float(int(time.time()))
    return clock


@pytest.fixture
async def calls(dynamodb_endpoint: str) -> AsyncIterator[Calls]:
    """Calls of an engine that has the table, empty."""
    async with connected(dynamodb_endpoint) as calls:
        if not await create_table(calls, TABLE):
            await calls.send("DeleteTable", {"TableName": TABLE})
            await create_table(calls, TABLE)
        yield calls


@pytest.fixture
def table(calls: Calls, clock: Clock) -> Table:
    return DynamoTable(calls, clock=clock)


async def test_increments_from_two_processes_all_count(calls: Calls, dynamodb_endpoint: str):
    async with connected(dynamodb_endpoint) as others:
        tables = [DynamoTable(calls), DynamoTable(others)]
        await asyncio.gather(
            *(
                each.write(A, Update(sort_key="k", add={"n": 1}))
                for _ in range(50)
                for each in tables
            )
        )
        assert [await each.get(A, "k") for each in tables] == [{"n": 100}, {"n": 100}]


async def test_what_was_acknowledged_is_there_after_reopening(tmp_path: Path):
    with start_dynamodb(tmp_path) as engine:
        async with connected(engine.endpoint) as calls:
            await create_table(calls, TABLE)
            await put(DynamoTable(calls), A, "k", a=1)
        engine.kill()
        engine.start()
        async with connected(engine.endpoint) as calls:
            assert await DynamoTable(calls).get(A, "k") == {"a": 1}


# What DynamoDB needs besides


async def test_an_update_of_an_expired_item_begins_anew(table: Table, clock: Clock):
    old = Put(sort_key="k", item={"old": 1, "n": 40}, expires_at=int(clock.now) + 5)
    both: list[Update] = [
        Update(sort_key="k", set={"a": 1}, add={"n": 2}, condition=Condition(equals={"n": None})),
        Update(sort_key="k", remove=["old"], expires_at=int(clock.now) + 100),
    ]
    for make in (table.write, lambda p, write: table.transact([(p, write)])):
        for update, after in zip(both, [{"a": 1, "n": 2}, {}], strict=True):
            now = clock.now
            await table.write(A, old)
            clock.now += 10
            with pytest.raises(ConditionFailed) as failed:
                await make(A, Update(sort_key="k", set={"a": 1}, condition=PRESENT))
            assert failed.value.existing is None
            await make(A, update)
            assert await table.get(A, "k") == after
            clock.now = now


@pytest.mark.parametrize("name", ["", "\0", "name", "a.b[0]", "#n0", ":v0", " OR size(x) > y", "ä"])
async def test_no_name_is_part_of_an_expression(table: Table, name: str):
    item: Item = {name: 1, "m": {name: name}}
    assert await table.write(A, Put(sort_key="k", item=item)) == item
    update = Update(sort_key="k", add={name: 1}, condition=Condition(equals={name: 1}))
    assert await table.write(A, update) == {name: 2, "m": {name: name}}
    assert await table.write(A, Update(sort_key="k", remove=[name])) == {"m": {name: name}}


async def test_a_position_serves_its_own_query_alone(table: Table):
    await put(table, A, "a", "b", "c")
    position = (await table.query(A, keys=Range(), limit=1)).position
    others = [
        (A, {"keys": Range(prefix="a")}),
        (A, {"keys": Range(high="c")}),
        (A, {"keys": Range(), "descending": True}),
        (A, {"keys": Range(), "index": "GSI1", "index_key": A.index_key("X")}),
        (B, {"keys": Range()}),
    ]
    for partition, query in others:
        with pytest.raises(ValueError, match="position"):
            await table.query(partition, limit=1, position=position, **query)
    assert position is not None
    with pytest.raises(ValueError, match="position"):
        await table.query(A, keys=Range(), limit=1, position=position + b"\0")


async def test_a_batch_is_read_whole_though_no_answer_holds_it(table: Table):
    text = "x" * (MAX_ITEM_BYTES - 1000)
    keys = [f"k{n}" for n in range(45)]
    for key in keys:
        await table.write(A, Put(sort_key=key, item={"text": text}))
    found = await table.batch_get(A, [*keys, "missing", "k0"])
    assert list(found) == keys
    assert all(item == {"text": text} for item in found.values())


async def test_a_range_may_go_beyond_a_prefix(table: Table):
    await put(table, A, "C", "C#1", "C#2", "C#2\U0010ffff", "D")
    for keys, expected in (
        (Range(prefix="C#", low="C#2"), ["C#2", "C#2\U0010ffff"]),
        (Range(prefix="C#", low="B", high="C#1"), ["C#1"]),
        (Range(prefix="C#", low="D"), []),
        (Range(prefix="C#", high="D"), ["C#1", "C#2", "C#2\U0010ffff"]),
        (Range(low="", high=""), []),
    ):
        assert await keys_of(table, A, keys) == expected


async def test_each_call_tells_what_it_consumed(calls: Calls):
    told: list[tuple[str, str, float]] = []
    table = DynamoTable(
        calls,
        on_capacity=lambda partition, action, units: told.append((partition.key, action, units)),
    )
    await put(table, A, "k", a=1)
    await table.get(A, "k")
    await table.query(A, keys=Range(), limit=1)
    await table.batch_get(A, ["k"])
    await table.transact([(A, Put(sort_key="k", item={})), (B, Put(sort_key="k", item={}))])
    assert told == [
        (A.key, "PutItem", 1.0),
        (A.key, "GetItem", 1.0),
        (A.key, "Query", 1.0),
        (A.key, "BatchGetItem", 1.0),
        (A.key, "TransactWriteItems", 2.0),
        (B.key, "TransactWriteItems", 2.0),
    ]


async def test_a_table_as_it_was_made_has_no_drift(calls: Calls):
    assert await drift(calls, TABLE) == []
    assert await create_table(calls, TABLE) is False
    assert await drift(calls, "Missing") == ["there is no table Missing"]


async def test_drift_says_what_differs(calls: Calls):
    other = {
        **layout("Other"),
        "BillingMode": "PROVISIONED",
        "ProvisionedThroughput": {"ReadCapacityUnits": 1, "WriteCapacityUnits": 1},
    }
    first, second, _ = (
        {**each, "ProvisionedThroughput": other["ProvisionedThroughput"]}
        for each in other["GlobalSecondaryIndexes"]
    )
    first["Projection"] = {"ProjectionType": "KEYS_ONLY"}
    second["KeySchema"] = first["KeySchema"]
    other["GlobalSecondaryIndexes"] = [first, second, {**second, "IndexName": "Extra"}]
    other["AttributeDefinitions"] = other["AttributeDefinitions"][:4]
    await calls.send("CreateTable", other)
    try:
        found = await drift(calls, "Other")
    finally:
        await calls.send("DeleteTable", {"TableName": "Other"})
    assert found[:6] == [
        "the table is paid PROVISIONED, not PAY_PER_REQUEST",
        "the index GSI1 projects KEYS_ONLY, not ALL",
        "the keys of the index GSI2 are GSI1PK, GSI1SK, not GSI2PK, GSI2SK",
        "the index GSI3 is missing",
        "the index Extra is none of this table's",
        "time to live is not on for expires_at",
    ]
