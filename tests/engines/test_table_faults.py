"""The table on an engine that is slow, refuses, hangs up, falls silent, is killed and comes back."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiodynamo.credentials import Key, StaticCredentials

from boundary.errors import SiloError, Unavailable
from services.table.dynamodb import DynamoTable
from services.table.dynamodb_calls import connect
from services.table.dynamodb_tables import create_table
from services.table.ports import ABSENT, ConditionFailed, Put, Table, Update, Write
from tests.contexts import make_context
from tests.engines.fault_proxy import FaultProxy, Mode
from tests.engines.servers.dynamodb import DynamoDB, start_dynamodb

A = make_context("A").partition
CREDENTIALS = StaticCredentials(Key(id="test", secret="test"))
FAULTS = [Mode.REFUSE, Mode.CUT, Mode.HOLE]

RECOVERY_SECONDS = 5.0


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[DynamoDB]:
    with start_dynamodb(tmp_path) as engine:
        yield engine


@pytest.fixture
async def proxy(engine: DynamoDB) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(engine.port) as proxy:
        yield proxy


@pytest.fixture
async def table(proxy: FaultProxy) -> AsyncIterator[Table]:
    """The table behind the proxy, with one item."""
    calls = await connect(
        region="local", endpoint=proxy.endpoint, credentials=CREDENTIALS, attempt_seconds=0.6
    )
    await create_table(calls, A.table)
    table = DynamoTable(calls)
    await table.write(A, Put(sort_key="k", item={"a": 1}))
    yield table
    await calls.close()


async def failure(call: Awaitable[object], *, deadline: float) -> Exception:
    """What the caller of a call that must fail gets, within its deadline."""
    began = time.monotonic()
    with pytest.raises((Unavailable, TimeoutError)) as failed:
        async with asyncio.timeout(deadline):
            await call
    assert time.monotonic() - began < deadline + 0.3
    return failed.value


async def seconds_until_it_works(table: Table) -> float:
    began = time.monotonic()
    while True:
        try:
            async with asyncio.timeout(1):
                await table.write(A, Put(sort_key="recovered", item={}))
        except (Unavailable, TimeoutError):
            await asyncio.sleep(0.05)
        else:
            return time.monotonic() - began


@pytest.mark.parametrize("mode", FAULTS)
async def test_a_fault_is_told_within_the_deadline_and_is_over_when_it_ends(
    table: Table, proxy: FaultProxy, mode: Mode
):
    await proxy.set_mode(mode)
    for call in (
        table.get(A, "k"),
        table.write(A, Put(sort_key="l", item={})),
        table.write(A, Update(sort_key="n", add={"n": 1})),
        table.transact([(A, Put(sort_key="l", item={}))]),
    ):
        error = await failure(call, deadline=1.5)
        if isinstance(error, Unavailable):
            assert error.retry_after is not None
            assert "127.0.0.1" not in error.message
    await proxy.set_mode(Mode.PASS)
    assert await seconds_until_it_works(table) < RECOVERY_SECONDS
    assert await table.get(A, "k") == {"a": 1}


@pytest.mark.parametrize("mode", FAULTS)
async def test_without_a_deadline_a_call_ends_all_the_same(
    table: Table, proxy: FaultProxy, mode: Mode
):
    await proxy.set_mode(mode)
    error = await failure(table.get(A, "k"), deadline=8)
    assert isinstance(error, Unavailable)
    assert error.reason == "TABLE_UNAVAILABLE"


async def test_a_slow_engine_is_waited_for_up_to_the_deadline(table: Table, proxy: FaultProxy):
    await proxy.set_mode(Mode.SLOW)
    assert await table.get(A, "k") == {"a": 1}
    assert isinstance(await failure(table.get(A, "k"), deadline=0.1), TimeoutError)
    await proxy.set_mode(Mode.PASS)
    assert await table.get(A, "k") == {"a": 1}


async def test_a_count_whose_outcome_is_unknown_is_not_repeated(table: Table, proxy: FaultProxy):
    await proxy.set_mode(Mode.CUT)
    error = await failure(table.write(A, Update(sort_key="n", add={"n": 1})), deadline=5)
    assert isinstance(error, Unavailable)
    assert error.reason == "TABLE_OUTCOME_UNKNOWN"
    await proxy.set_mode(Mode.PASS)
    assert await table.get(A, "n") == {"n": 1}


async def test_a_transaction_is_repeated_and_counts_once(table: Table, proxy: FaultProxy):
    await proxy.set_mode(Mode.CUT)
    mending = asyncio.get_running_loop().call_later(
        0.02, lambda: asyncio.ensure_future(proxy.set_mode(Mode.PASS))
    )
    await table.transact([(A, Update(sort_key="n", add={"n": 1}))])
    mending.cancel()
    assert await table.get(A, "n") == {"n": 1}


async def test_a_creation_that_was_made_unheard_is_no_conflict_with_itself(
    table: Table, proxy: FaultProxy
):
    await proxy.set_mode(Mode.CUT)
    mending = asyncio.get_running_loop().call_later(
        0.02, lambda: asyncio.ensure_future(proxy.set_mode(Mode.PASS))
    )
    made = await table.write(A, Put(sort_key="new", item={"a": 1}, condition=ABSENT))
    mending.cancel()
    assert made == {"a": 1}
    with pytest.raises(ConditionFailed):
        await table.write(A, Put(sort_key="new", item={"a": 2}, condition=ABSENT))


async def test_a_killed_engine_comes_back_with_everything(table: Table, engine: DynamoDB):
    await table.write(A, Put(sort_key="kept", item={"a": 2}))
    engine.kill()
    assert isinstance(await failure(table.get(A, "k"), deadline=3), Unavailable)
    engine.start()
    assert await seconds_until_it_works(table) < RECOVERY_SECONDS
    assert await table.batch_get(A, ["k", "kept"]) == {"k": {"a": 1}, "kept": {"a": 2}}


# Many writes while faults come and go

WRITES = 10_000
WRITERS = 24


class Tally:
    """What writers were told."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.unknown = 0
        self.failed = 0


async def until_acknowledged(make: Callable[[], Awaitable[object]], tally: Tally) -> None:
    """Makes a write that may be repeated until it is acknowledged, as a caller would."""
    while True:
        try:
            await make()
        except SiloError:
            tally.failed += 1
            await asyncio.sleep(0.05)
        except ConditionFailed:
            return  # an attempt of before was made
        else:
            return


async def write_all(table: Table, numbers: Iterator[int], tally: Tally) -> None:
    """Takes numbers and writes, for each: an item, a count, and a count with the mark of its request."""
    for number in numbers:
        put = Put(sort_key=f"item-{number}", item={"n": number}, condition=ABSENT)
        await until_acknowledged(lambda put=put: table.write(A, put), tally)
        tally.acknowledged += 1
        try:
            await table.write(A, Update(sort_key="plain", add={"n": 1}))
            tally.acknowledged += 1
        except SiloError as error:
            tally.unknown += error.reason == "TABLE_OUTCOME_UNKNOWN"
        marked: list[tuple[object, Write]] = [
            (A, Put(sort_key=f"mark-{number}", item={}, condition=ABSENT)),
            (A, Update(sort_key="marked", add={"n": 1})),
        ]
        await until_acknowledged(lambda marked=marked: table.transact(marked), tally)
        tally.acknowledged += 1


KILL = "kill"
TROUBLES = [Mode.CUT, KILL, Mode.HOLE, Mode.REFUSE, Mode.SLOW]


async def make_trouble(proxy: FaultProxy, engine: DynamoDB, made: list[Mode | str]) -> None:
    """Every fault in turn, each for a moment, until it is cancelled."""
    for mode in itertools.cycle(TROUBLES):
        await asyncio.sleep(0.3)
        made.append(mode)
        if not isinstance(mode, Mode):
            engine.kill()
            await asyncio.sleep(0.2)
            await asyncio.to_thread(engine.start)
        else:
            await proxy.set_mode(mode)
            await asyncio.sleep(0.15)
            await proxy.set_mode(Mode.PASS)


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_under_faults_is_there_and_counted_once(
    table: Table, proxy: FaultProxy, engine: DynamoDB
):
    proxy.delay = 0.05
    tally = Tally()
    numbers = iter(range(WRITES // 3 + 1))
    made: list[Mode | str] = []
    trouble = asyncio.create_task(make_trouble(proxy, engine, made))
    await asyncio.gather(*(write_all(table, numbers, tally) for _ in range(WRITERS)))
    trouble.cancel()
    await asyncio.gather(trouble, return_exceptions=True)
    await proxy.set_mode(Mode.PASS)
    assert await seconds_until_it_works(table) < RECOVERY_SECONDS
    await asyncio.sleep(0.3)  # what was stuck in the silence arrives
    keys = [f"item-{number}" for number in range(WRITES // 3 + 1)]
    for start in range(0, len(keys), 100):
        found = await table.batch_get(A, keys[start : start + 100])
        assert list(found) == keys[start : start + 100]
    counts = await table.batch_get(A, ["plain", "marked"])
    assert counts["marked"]["n"] == len(keys)
    plain = tally.acknowledged - 2 * len(keys)
    assert plain <= counts["plain"]["n"] <= plain + tally.unknown
    assert set(made) == set(TROUBLES)
    assert tally.unknown > 0
