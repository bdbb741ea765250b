"""How long events are kept, on every adapter of the search port."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from boundary.context import serving
from boundary.guard import GuardViolation
from services.search.ports import Document, Filter
from services.search.retention import DAY_MS, EXPIRED_AT_ONCE, EventRetention, etag_of
from tests.contract.test_index import (  # noqa: F401 - the adapters
    behind,
    context,
    event,
    everything,
    ids,
    index,
    indexes,
    ms,
)

NOW_MS = ms(2024, 3, 31)


class Stale(Exception):
    """Raised by a change that is not to be made."""


def aged(event_id: str, days: float, **fields: object) -> Document:
    return event(event_id, timestamp_ms=NOW_MS - int(days * DAY_MS), **fields)


async def keep(indexes, index, days: int) -> int:  # noqa: F811
    return await indexes.change_retention(index, lambda _: days)


async def expire(indexes, index, limit: int = 100) -> int:  # noqa: F811
    return await indexes.expire(index, now_ms=NOW_MS, limit=limit)


async def left(indexes, index) -> set[str]:  # noqa: F811
    return set(ids(await everything(indexes, index)))


class TestDays:
    """What holds of the number of days wherever it stands."""

    async def test_they_come_back(self, indexes, index):  # noqa: F811
        assert await indexes.read_retention(index) == 0
        assert await keep(indexes, index, 30) == 30
        assert await indexes.read_retention(index) == 30
        await indexes.bulk(index, [event("1")])
        assert await keep(indexes, index, 0) == 0
        assert await indexes.read_retention(index) == 0

    async def test_a_change_sees_what_is_there_and_one_that_refuses_changes_nothing(
        self,
        indexes,  # noqa: F811
        index,  # noqa: F811
    ):
        await keep(indexes, index, 30)

        def refuse(present: int) -> int:
            assert present == 30
            raise Stale

        with pytest.raises(Stale):
            await indexes.change_retention(index, refuse)
        assert await indexes.change_retention(index, lambda present: present + 1) == 31

    async def test_changes_at_once_all_count(self, indexes, index):  # noqa: F811
        await asyncio.gather(
            *(indexes.change_retention(index, lambda days: days + 1) for _ in range(3))
        )
        assert await indexes.read_retention(index) == 3

    async def test_they_are_no_event(self, indexes, index):  # noqa: F811
        await keep(indexes, index, 30)
        assert await left(indexes, index) == set()
        assert await indexes.count(index, filter=Filter()) == 0
        assert (await indexes.survey(index)).events == 0
        await indexes.bulk(index, [event("1"), event("retention"), event("days")])
        assert await left(indexes, index) == {"1", "retention", "days"}
        assert await indexes.read_retention(index) == 30

    async def test_they_go_with_the_index(self, indexes, index):  # noqa: F811
        await keep(indexes, index, 30)
        await indexes.drop(index)
        assert (await indexes.survey(index)).indexes == 0
        await indexes.bulk(index, [aged("old", 40)])
        assert await indexes.read_retention(index) == 0
        assert await expire(indexes, index) == 0

    async def test_neighbours_keep_theirs(self, indexes):  # noqa: F811
        for number, tenant in enumerate(("a", "ab", "a-b"), 1):
            await keep(indexes, context(tenant).index, number)
        await keep(indexes, context("a").index, 0)
        days = [await indexes.read_retention(context(each).index) for each in ("a", "ab", "a-b")]
        assert days == [0, 2, 3]

    async def test_ids_that_differ_in_case_only_never_share_them(self, indexes):  # noqa: F811
        await keep(indexes, context("Acme").index, 30)
        for call in (
            lambda: indexes.read_retention(context("ACME").index),
            lambda: keep(indexes, context("ACME").index, 1),
            lambda: expire(indexes, context("ACME").index),
        ):
            with pytest.raises(GuardViolation):
                await call()
        assert await indexes.read_retention(context("Acme").index) == 30


class TestExpiry:
    """What holds of events that are too old."""

    async def test_what_is_older_goes_with_its_words_and_nothing_else(self, indexes, index):  # noqa: F811
        await indexes.bulk(
            index,
            [
                *(aged(f"old{n}", 30.01 + n, subject="Grüße hello") for n in range(5)),
                aged("deep", 90, metadata='{"a":["hello",{"b":"x"}]}', strings=("hello", "x")),
                event("edge", timestamp_ms=NOW_MS - 30 * DAY_MS),
                aged("young", 1, subject="hello"),
                aged("future", -400),
            ],
        )
        await indexes.bulk(context("AB").index, [replace(aged("old", 99), tenant_id="AB")])
        assert await expire(indexes, index) == 0  # kept for good
        await keep(indexes, index, 30)
        assert [await expire(indexes, index, 4) for _ in range(3)] == [4, 2, 0]
        assert await left(indexes, index) == {"edge", "young", "future"}
        assert await indexes.count(index, filter=Filter(phrases=("hello",))) == 1
        assert await left(indexes, context("AB").index) == {"old"}

    async def test_an_event_that_is_sent_again_is_a_new_one(self, indexes, index):  # noqa: F811
        await keep(indexes, index, 30)
        assert await indexes.bulk(index, [aged("old", 31, subject="hello")]) == [True]
        assert await expire(indexes, index) == 1
        assert await indexes.bulk(index, [aged("old", 31, subject="hello")]) == [True]
        assert await indexes.count(index, filter=Filter(phrases=("hello",))) == 1

    async def test_a_search_under_way_goes_on_and_sees_nothing_that_came_later(
        self,
        indexes,  # noqa: F811
        index,  # noqa: F811
    ):
        """The events that came in last are the oldest by time, so the highest number of all goes."""
        await keep(indexes, index, 30)
        await indexes.bulk(index, [aged(f"young{n}", n / 10) for n in range(6)])
        await indexes.bulk(index, [aged(f"old{n}", 40 + n) for n in range(4)])
        first = await indexes.search(index, filter=Filter(), limit=2)
        assert ids(first.documents) == ["young0", "young1"]
        assert await expire(indexes, index) == 4
        await indexes.bulk(index, [aged(f"later{n}", 0.35) for n in range(4)])
        rest = await indexes.search(index, filter=Filter(), limit=100, position=behind(first))
        found = [each for each in ids(rest.documents) if not each.startswith("old")]
        assert found == ["young2", "young3", "young4", "young5"]

    async def test_where_there_is_no_index_there_is_nothing(self, indexes, index):  # noqa: F811
        assert await indexes.read_retention(index) == 0
        assert await expire(indexes, index) == 0
        assert (await indexes.survey(index)).indexes == 0


class TestSweep:
    """What the service does of itself in a tenant."""

    async def test_all_that_is_too_old_goes_at_once(self, indexes, index):  # noqa: F811
        retention = EventRetention(indexes, clock=lambda: NOW_MS / 1_000)
        tenant = context("A")
        old = [aged(f"old{n}", 8) for n in range(EXPIRED_AT_ONCE + 1)]
        await indexes.bulk(index, [*old, aged("young", 6)])
        with serving(tenant):
            assert await retention.apply(tenant) == 0
            await retention.update(tenant, name="", days=7, etag=etag_of(0))
            assert await retention.apply(tenant) == len(old)
            assert await retention.apply(tenant) == 0
        assert await left(indexes, index) == {"young"}

    async def test_it_ends_with_its_context(self, indexes, index):  # noqa: F811
        tenant = context("A")
        ended = EventRetention(indexes, clock=lambda: float(tenant.expires_at))
        await indexes.bulk(index, [aged("old", 8)])
        with serving(tenant):
            await ended.update(tenant, name="", days=7, etag="")
            assert await ended.apply(tenant) == 0
        assert await left(indexes, index) == {"old"}

    async def test_another_tenants_index_is_refused(self, indexes):  # noqa: F811
        retention = EventRetention(indexes)
        with serving(context("AB")):
            for call in (
                lambda: retention.get(context("A")),
                lambda: retention.update(context("A"), name="", days=1, etag=""),
                lambda: retention.apply(context("A")),
            ):
                with pytest.raises(GuardViolation):
                    await call()
