"""How long items are kept, on every adapter of the table port."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Iterator

import pytest

from boundary.context import TenantContext, serving
from boundary.errors import Aborted, InvalidArgument
from boundary.guard import GuardViolation
from services.data.analytics import Analytics, Counter
from services.data.codec import NANOS
from services.data.counter_expiry import DELETED_AT_ONCE, CounterExpiry
from services.data.retention import ItemRetention
from services.data.transport import Form, ItemTransport
from services.table.guard import GuardedTable
from services.table.ports import Range, Table
from tests.contexts import make_context
from tests.contract.test_table import clock, table  # noqa: F401 - the adapters

MINE, NEIGHBOUR = make_context("keeper"), make_context("keeper-2")
TODAY = datetime.date(2024, 3, 31)
NOW = int(datetime.datetime(2024, 3, 31, 23, 59, tzinfo=datetime.UTC).timestamp()) * NANOS


class Suite:
    """The operations of one tenant over a guarded table."""

    def __init__(self, engine: Table, tenant: TenantContext) -> None:
        guarded = GuardedTable(engine)
        self.tenant, self.table = tenant, guarded
        self.retention = ItemRetention(table=guarded, clock=lambda: NOW)
        self.analytics = Analytics(table=guarded, clock=lambda: NOW, shards=lambda _: 3)
        self.expiry = CounterExpiry(table=guarded, retention=self.retention, clock=lambda: NOW)
        self.requests = 0

    async def keep(self, days: int, *, etag: str = "") -> str:
        changed = await self.retention.update(self.tenant, name="", counter_days=days, etag=etag)
        return changed.etag

    async def count(self, *days_ago: int, metric: str = "OPENS") -> None:
        for each in days_ago:
            self.requests += 1
            await self.analytics.increment(
                self.tenant,
                request_id=f"r{self.requests}",
                increments=[Counter(day(each), metric, 1)],
            )

    async def reported(self, first: int, last: int, *metrics: str) -> dict[str, int]:
        report = await self.analytics.report(
            self.tenant, start=day(first), end=day(last), metrics=metrics
        )
        return {each.date: each.value for each in report.counters}

    async def stored(self) -> set[str]:
        page = await self.table.query(
            self.tenant.partition, keys=Range(prefix="ANALYTICS#"), limit=1000
        )
        return {stored.sort_key.split("#")[1] for stored in page.items}


def day(days_ago: int) -> str:
    return (TODAY - datetime.timedelta(days=days_ago)).isoformat()


@pytest.fixture
def suite(table: Table) -> Iterator[Suite]:  # noqa: F811
    with serving(MINE):
        yield Suite(table, MINE)


async def test_days_come_back_and_neighbours_keep_theirs(suite: Suite, table: Table) -> None:  # noqa: F811
    assert (await suite.retention.get(MINE)).counter_days == 0
    first = await suite.keep(30, etag="0")
    assert (await suite.retention.get(MINE)).counter_days == 30
    with serving(NEIGHBOUR):
        assert (await Suite(table, NEIGHBOUR).retention.get(NEIGHBOUR)).counter_days == 0
    assert await suite.keep(0, etag=first) != first
    assert (await suite.retention.get(MINE)).counter_days == 0


async def test_an_etag_that_is_stale_is_refused(suite: Suite) -> None:
    first = await suite.keep(30)
    await suite.keep(40, etag=first)
    for stale in (first, "0"):
        with pytest.raises(Aborted):
            await suite.keep(1, etag=stale)
    assert (await suite.retention.get(MINE)).counter_days == 40


async def test_of_changes_at_once_with_one_etag_one_counts(suite: Suite) -> None:
    first = await suite.keep(30)
    done = await asyncio.gather(
        *(suite.keep(days, etag=first) for days in (1, 2, 3)), return_exceptions=True
    )
    assert sum(isinstance(each, Aborted) for each in done) == 2


@pytest.mark.parametrize("days", [-1, 3_651])
async def test_days_out_of_range_are_refused(suite: Suite, days: int) -> None:
    with pytest.raises(InvalidArgument):
        await suite.keep(days)
    await suite.keep(3_650)


async def test_a_counter_that_is_too_old_is_in_no_report_from_then_on(suite: Suite) -> None:
    await suite.count(0, 29, 30, 31, 300, 30, 31)
    assert await suite.reported(300, 0) == {
        day(300): 1,
        day(31): 2,
        day(30): 2,
        day(29): 1,
        day(0): 1,
    }
    await suite.keep(30)
    kept = {day(30): 2, day(29): 1, day(0): 1}
    assert await suite.reported(300, 0) == kept
    assert await suite.reported(300, 0, "OPENS") == kept
    assert await suite.reported(300, 31) == {}
    assert await suite.reported(300, 31, "OPENS") == {}
    await suite.count(31)
    assert await suite.reported(300, 0) == kept
    await suite.keep(31)
    assert await suite.reported(31, 31) == {day(31): 3}  # it was not deleted yet


async def test_a_sweep_deletes_what_is_too_old_and_nothing_else(
    suite: Suite,
    table: Table,  # noqa: F811
) -> None:
    """More than goes at once, in shards of several metrics, and the neighbour's of the same days."""
    for metric in ("OPENS", "CLICKS", "Z9"):
        await suite.count(*range(25, 45), metric=metric)
    with serving(NEIGHBOUR):
        other = Suite(table, NEIGHBOUR)
        await other.count(0, 40)
    assert await suite.expiry.apply(MINE) == 0  # kept for good
    await suite.keep(30)
    assert await suite.expiry.apply(MINE) == 14 * 3 > DELETED_AT_ONCE
    assert await suite.stored() == {day(each) for each in range(25, 31)}
    assert await suite.expiry.apply(MINE) == 0
    assert (await suite.retention.get(MINE)).counter_days == 30
    await suite.keep(0)
    assert set(await suite.reported(300, 0)) == {day(each) for each in range(25, 31)}
    with serving(NEIGHBOUR):
        assert await other.stored() == {day(0), day(40)}


async def test_a_sweep_ends_with_its_context(suite: Suite) -> None:
    await suite.count(40)
    await suite.keep(30)
    ended = CounterExpiry(
        table=suite.table, retention=suite.retention, clock=lambda: MINE.expires_at * NANOS
    )
    assert await ended.apply(MINE) == 0
    assert await suite.stored() == {day(40)}


async def test_it_moves_with_the_items_and_is_in_no_archive(
    suite: Suite,
    table: Table,  # noqa: F811
) -> None:
    await suite.keep(30)
    await suite.count(1)
    transport = ItemTransport(table=suite.table)

    async def read(form: Form) -> bytes:
        return b"".join(
            [each.lines async for each in transport.read(MINE, form, position=b"", max_bytes=0)]
        )

    portable, exact = await read(Form.PORTABLE), await read(Form.EXACT)
    assert portable.count(b"\n") == 1

    async def chunks() -> AsyncIterator[bytes]:
        yield exact

    with serving(NEIGHBOUR):
        other = Suite(table, NEIGHBOUR)
        lines = [line for line in exact.splitlines(keepends=True) if b"RETENTION" in line]
        exact = b"".join(lines)
        await ItemTransport(table=other.table).write(NEIGHBOUR, Form.EXACT, chunks())
        arrived = await other.retention.get(NEIGHBOUR)
    assert arrived == await suite.retention.get(MINE)


async def test_another_tenants_items_are_refused(suite: Suite) -> None:
    with serving(NEIGHBOUR):
        for call in (
            lambda: suite.retention.get(MINE),
            lambda: suite.keep(1),
            lambda: suite.expiry.apply(MINE),
        ):
            with pytest.raises(GuardViolation):
                await call()
