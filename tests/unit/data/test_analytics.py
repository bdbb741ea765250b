"""Counters count once, and reports add up."""

import asyncio
import itertools
from collections import Counter as Sums

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boundary.context import serving
from boundary.errors import InvalidArgument
from services.data.analytics import MAX_COUNTERS, REPLAY_SECONDS, Counter, Report
from services.table.ports import Put, Update
from tests.contexts import make_context
from tests.unit.data.conftest import CONTEXT_A, CONTEXT_B


async def add(analytics, tenant, request_id, *increments) -> bool:
    return await analytics.increment(
        tenant, request_id=request_id, increments=[Counter(*each) for each in increments]
    )


async def report(analytics, tenant, start="2024-01-01", end="2024-12-31", metrics=()) -> Report:
    return await analytics.report(tenant, start=start, end=end, metrics=metrics)


async def test_increments_are_counted(analytics, tenant):
    await add(analytics, tenant, "r1", ("2024-01-15", "OPENS", 5), ("2024-01-15", "CLICKS", 2))
    await add(analytics, tenant, "r2", ("2024-01-15", "OPENS", -1), ("2024-01-16", "OPENS", 7))
    read = await report(analytics, tenant)
    assert read.counters == [
        Counter("2024-01-15", "CLICKS", 2),
        Counter("2024-01-15", "OPENS", 4),
        Counter("2024-01-16", "OPENS", 7),
    ]
    assert read.totals == [("CLICKS", 2), ("OPENS", 11)]


async def test_the_names_on_disk_are_the_specs(analytics, tenant, engine):
    await add(analytics, tenant, "r", ("2024-01-15", "OPENS", 5))
    item = await engine.get(CONTEXT_A.partition, "ANALYTICS#2024-01-15#OPENS")
    assert item is not None
    assert item["value"] == 5


async def test_a_repeated_request_changes_nothing(analytics, tenant):
    increments = [("2024-01-15", "OPENS", 5), ("2024-01-15", "CLICKS", 2)]
    assert await add(analytics, tenant, "r", *increments) is False
    assert await add(analytics, tenant, "r", *increments) is True
    assert await add(analytics, tenant, "r", *reversed(increments)) is True
    assert (await report(analytics, tenant)).totals == [("CLICKS", 2), ("OPENS", 5)]


async def test_concurrent_retries_count_once(analytics, tenant):
    outcomes = await asyncio.gather(
        *(add(analytics, tenant, "r", ("2024-01-15", "OPENS", 1)) for _ in range(20)),
        *(add(analytics, tenant, f"r{n}", ("2024-01-15", "OPENS", 1)) for n in range(20)),
    )
    assert outcomes.count(True) == 19
    assert (await report(analytics, tenant)).totals == [("OPENS", 21)]


async def test_a_request_id_with_other_increments_is_refused(analytics, tenant):
    await add(analytics, tenant, "r", ("2024-01-15", "OPENS", 5))
    for other in (("2024-01-15", "OPENS", 6), ("2024-01-16", "OPENS", 5)):
        with pytest.raises(InvalidArgument) as refused:
            await add(analytics, tenant, "r", other)
        assert (refused.value.reason, refused.value.field) == ("REQUEST_ID_REUSED", "request_id")
    assert (await report(analytics, tenant)).totals == [("OPENS", 5)]


async def test_request_ids_of_different_principals_and_tenants_are_apart(analytics, tenant):
    await add(analytics, tenant, "r", ("2024-01-15", "OPENS", 1))
    bob = make_context("A", principal="bob")
    with serving(bob):
        assert await add(analytics, bob, "r", ("2024-01-15", "OPENS", 10)) is False
    with serving(CONTEXT_B):
        assert await add(analytics, CONTEXT_B, "r", ("2024-01-15", "OPENS", 100)) is False
        assert (await report(analytics, CONTEXT_B)).totals == [("OPENS", 100)]
    assert (await report(analytics, tenant)).totals == [("OPENS", 11)]


async def test_a_request_is_remembered_for_a_day_and_more(analytics, tenant, clock):
    assert REPLAY_SECONDS >= 24 * 3600
    await add(analytics, tenant, "r", ("2024-01-15", "OPENS", 1))
    clock.pass_seconds(REPLAY_SECONDS - 60)
    assert await add(analytics, tenant, "r", ("2024-01-15", "OPENS", 1)) is True
    clock.pass_seconds(120)
    assert await add(analytics, tenant, "r", ("2024-01-15", "OPENS", 1)) is False


@pytest.mark.parametrize(
    ("increments", "field"),
    [
        ([], "increments"),
        ([("2024-01-15", f"M{n}", 1) for n in range(51)], "increments"),
        ([("2024-1-15", "OPENS", 1)], "increments[0].date"),
        ([("2024-02-30", "OPENS", 1)], "increments[0].date"),
        ([("20240115", "OPENS", 1)], "increments[0].date"),
        ([("2024-01-15#X", "OPENS", 1)], "increments[0].date"),
        ([("2024-01-15", "opens", 1)], "increments[0].metric"),
        ([("2024-01-15", "A#B", 1)], "increments[0].metric"),
        ([("2024-01-15", "A" * 41, 1)], "increments[0].metric"),
        ([("2024-01-15", "1A", 1)], "increments[0].metric"),
        ([("2024-01-15", "OPENS\n", 1)], "increments[0].metric"),
        ([("2024-01-15", "OPENS", 0)], "increments[0].delta"),
        ([("2024-01-15", "OPENS", 10**15 + 1)], "increments[0].delta"),
        ([("2024-01-15", "OPENS", 1), ("2024-01-15", "OPENS", 2)], "increments[1]"),
    ],
)
async def test_increments_out_of_order(analytics, tenant, increments, field):
    with pytest.raises(InvalidArgument) as refused:
        await add(analytics, tenant, "r", *increments)
    assert refused.value.field == field
    assert (await report(analytics, tenant)).counters == []


async def test_a_request_id_out_of_grammar(analytics, tenant):
    for request_id in ("", "a#b", "a" * 65):
        with pytest.raises(InvalidArgument) as refused:
            await add(analytics, tenant, request_id, ("2024-01-15", "OPENS", 1))
        assert refused.value.field == "request_id"


async def test_a_report_of_metrics_and_days(analytics, tenant):
    for day in ("2024-01-01", "2024-01-02", "2024-01-10", "2024-02-01"):
        await add(analytics, tenant, day, *((day, metric, 1) for metric in ("A", "AB", "B")))
    read = await report(analytics, tenant, "2024-01-02", "2024-01-31")
    assert [(c.date, c.metric) for c in read.counters] == [
        (day, metric) for day in ("2024-01-02", "2024-01-10") for metric in ("A", "AB", "B")
    ]
    read = await report(analytics, tenant, "2024-01-02", "2024-01-31", ["B", "A"])
    assert [(c.date, c.metric) for c in read.counters] == [
        (day, metric) for day in ("2024-01-02", "2024-01-10") for metric in ("A", "B")
    ]
    assert read.totals == [("A", 2), ("B", 2)]
    assert (await report(analytics, tenant, "2024-01-02", "2024-01-02", ["AB"])).totals == [
        ("AB", 1)
    ]
    assert (await report(analytics, tenant, metrics=["C"])).counters == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"start": "x"}, "start_date"),
        ({"end": ""}, "end_date"),
        ({"start": "2024-02-01", "end": "2024-01-31"}, "end_date"),
        ({"start": "2023-01-01", "end": "2024-01-03"}, "end_date"),
        ({"metrics": [f"M{n}" for n in range(21)]}, "metrics"),
        ({"metrics": ["A", "a"]}, "metrics[1]"),
        ({"metrics": ["A", "A"]}, "metrics[1]"),
    ],
)
async def test_a_report_out_of_order(analytics, tenant, fields, field):
    with pytest.raises(InvalidArgument) as refused:
        await report(analytics, tenant, **fields)
    assert refused.value.field == field


async def test_366_days_after_the_first_are_allowed(analytics, tenant):
    await report(analytics, tenant, "2023-01-01", "2024-01-02")
    await report(analytics, tenant, "0001-01-01", "0001-01-01")
    await report(analytics, tenant, "9999-12-31", "9999-12-31")


async def test_a_report_is_bounded(analytics, tenant, engine):
    for start in range(0, MAX_COUNTERS + 1, 100):
        await engine.transact(
            [
                (
                    CONTEXT_A.partition,
                    Put(sort_key=f"ANALYTICS#2024-01-15#M{start + n}", item={"value": 1}),
                )
                for n in range(100)
            ]
        )
    with pytest.raises(InvalidArgument) as refused:
        await report(analytics, tenant)
    assert refused.value.reason == "REPORT_TOO_LARGE"


async def test_what_is_beyond_64_bits_reads_as_the_largest(analytics, tenant, engine):
    await add(analytics, tenant, "r", ("2024-01-15", "OPENS", 10**15))
    await engine.write(
        CONTEXT_A.partition, Update(sort_key="ANALYTICS#2024-01-15#OPENS", add={"value": 2**70})
    )
    read = await report(analytics, tenant)
    assert read.counters == [Counter("2024-01-15", "OPENS", 2**63 - 1)]
    assert read.totals == [("OPENS", 2**63 - 1)]


NUMBERS = itertools.count()
DAYS = st.sampled_from(["2024-01-01", "2024-01-02", "2024-01-03"])
METRICS = st.sampled_from(["OPENS", "CLICKS", "OPENS_2"])
INCREMENTS = st.lists(
    st.tuples(DAYS, METRICS, st.integers(-5, 5).filter(bool)),
    min_size=1,
    max_size=4,
    unique_by=lambda each: each[:2],
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(requests=st.lists(INCREMENTS, max_size=5))
async def test_a_report_is_the_sum_of_the_requests(analytics, tenant, requests):
    before = {c.date + c.metric: c.value for c in (await report(analytics, tenant)).counters}
    expected: Sums[str] = Sums(before)
    for increments in requests:
        request_id = f"r{next(NUMBERS)}"
        for _ in range(2):
            await add(analytics, tenant, request_id, *increments)
        for date, metric, delta in increments:
            expected[date + metric] += delta
    after = {c.date + c.metric: c.value for c in (await report(analytics, tenant)).counters}
    assert after == dict(expected)
