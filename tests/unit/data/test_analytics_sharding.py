"""Counters that are spread over shards count and read as one."""

import pytest

from services.data.analytics import Analytics, Counter
from services.table.ports import Range
from tests.unit.data.conftest import CONTEXT_A

DAY = "2024-01-15"


@pytest.fixture
def shards() -> list[int]:
    """The tenant's setting, which a test changes."""
    return [4]


@pytest.fixture
def analytics(table, clock, shards) -> Analytics:
    return Analytics(table=table, clock=clock, shards=lambda _: shards[0])


async def add(analytics: Analytics, request_id: str, *increments: tuple[str, str, int]) -> bool:
    return await analytics.increment(
        CONTEXT_A, request_id=request_id, increments=[Counter(*each) for each in increments]
    )


async def counter_keys(engine) -> list[str]:
    page = await engine.query(CONTEXT_A.partition, keys=Range(prefix="ANALYTICS#"), limit=1000)
    return [stored.sort_key for stored in page.items]


@pytest.mark.parametrize("metrics", [(), ("OPENS",), ("CLICKS", "OPENS")])
async def test_reads_add_up_the_shards(analytics, tenant, engine, metrics):
    for number in range(40):
        await add(analytics, f"r{number}", (DAY, "OPENS", 1), ("2024-01-16", "OPENS", 2))
    await add(analytics, "other", (DAY, "OPENS_UNIQUE", 7), ("2024-01-17", "OPENS", 100))
    opens = [key for key in await counter_keys(engine) if key.startswith(f"ANALYTICS#{DAY}#OPENS")]
    base = f"ANALYTICS#{DAY}#OPENS"
    assert set(opens) - {key for key in opens if "UNIQUE" in key} == {
        base,
        *(f"{base}#{shard}" for shard in (1, 2, 3)),
    }
    read = await analytics.report(tenant, start=DAY, end="2024-01-16", metrics=metrics)
    counters = [each for each in read.counters if each.metric == "OPENS"]
    assert counters == [Counter(DAY, "OPENS", 40), Counter("2024-01-16", "OPENS", 80)]
    assert dict(read.totals)["OPENS"] == 120


async def test_a_retry_counts_once_whatever_became_of_the_setting(analytics, tenant, shards):
    increment = (DAY, "OPENS", 5)
    assert [await add(analytics, "r", increment) for _ in range(2)] == [False, True]
    shards[0] = 16
    assert await add(analytics, "r", increment) is True
    shards[0] = 1
    assert await add(analytics, "r", increment) is True
    read = await analytics.report(tenant, start=DAY, end=DAY, metrics=())
    assert read.totals == [("OPENS", 5)]


async def test_fewer_shards_lose_nothing(analytics, tenant, engine, shards):
    for count in (1, 8, 1):
        shards[0] = count
        for number in range(10):
            await add(
                analytics, f"r{count}-{number}-{len(await counter_keys(engine))}", (DAY, "SENDS", 1)
            )
    read = await analytics.report(tenant, start=DAY, end=DAY, metrics=["SENDS"])
    assert read.totals == [("SENDS", 30)]
