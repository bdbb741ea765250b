"""What every adapter of the search port must do, whatever the engine."""

from __future__ import annotations

import asyncio
import functools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from boundary.context import TenantContext, serving
from boundary.errors import InvalidArgument
from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search.guard import GuardedIndexes
from services.search.ports import (
    Bucket,
    CalendarInterval,
    Document,
    EventType,
    Filter,
    Histogram,
    HistogramResult,
    IndexSurvey,
    Page,
    Position,
    PurgeableIndexes,
    Rates,
    RatesResult,
    Term,
    Terms,
    TermsField,
    TermsResult,
    TooManyBuckets,
    UniqueRecipients,
    UniqueRecipientsResult,
)
from services.search.purge_guard import GuardedPurgeableIndexes
from services.search.sqlite import SqliteIndexes
from tests.contexts import make_context, make_lifecycle_context

MAX_BUCKETS = 10_000
HOUR = CalendarInterval.HOUR
DAY = CalendarInterval.DAY
WEEK = CalendarInterval.WEEK
MONTH = CalendarInterval.MONTH
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Africa/Casablanca",
)


@functools.cache
def context(tenant_id: str) -> TenantContext:
    return make_context(tenant_id, audience="search")


@pytest.fixture(params=["sqlite"])
async def indexes(request: Any, tmp_path: Path) -> AsyncIterator[PurgeableIndexes]:
    """Every adapter in turn."""
    assert request.param == "sqlite"
    adapter = SqliteIndexes(tmp_path / "search")
    yield adapter
    await asyncio.to_thread(adapter.close)


@pytest.fixture
def index() -> SearchIndex:
    return context("A").index


def ms(*when: int, zone: str = "UTC", fold: int = 0) -> int:
    local = datetime(*when, tzinfo=ZoneInfo(zone), fold=fold)  # type: ignore[arg-type, misc]
    return round(local.timestamp() * 1000)


def event(event_id: str, **fields: Any) -> Document:
    values: dict[str, Any] = {
        "tenant_id": context("A").tenant_id,
        "event_type": EventType.OPEN,
        "campaign_id": "spring",
        "timestamp_ms": ms(2024, 3, 1, 12),
        "recipient": "anna@example.com",
        "message_id": "m-1",
        "subject": "",
        "metadata": "",
        **fields,
    }
    return Document(event_id=event_id, **values)


async def everything(
    indexes: PurgeableIndexes, index: SearchIndex, *, limit: int = 500, **search: Any
) -> list[Document]:
    """All pages of a search, one after the other."""
    found: list[Document] = []
    search.setdefault("filter", Filter())
    position = None
    while True:
        page = await indexes.search(index, limit=limit, position=position, **search)
        assert len(page.documents) <= limit
        found += page.documents
        if not page.more:
            return found
        position = behind(page)


def behind(page: Page) -> Position:
    last = page.documents[-1]
    return Position(snapshot=page.snapshot, timestamp_ms=last.timestamp_ms, event_id=last.event_id)


def ids(documents: Sequence[Document]) -> list[str]:
    return [document.event_id for document in documents]


async def matching(indexes: PurgeableIndexes, index: SearchIndex, **filter_: Any) -> set[str]:
    return set(ids(await everything(indexes, index, filter=Filter(**filter_))))


class TestBulk:
    async def test_an_event_comes_back_as_it_was_sent(self, indexes, index):
        sent = event(
            "1", recipient="Änna@Example.com", subject="Grüße\n", metadata='{"a":[1.5,null]}'
        )
        assert await indexes.bulk(index, [sent]) == [True]
        assert await everything(indexes, index) == [sent]

    async def test_the_same_id_is_one_event_and_the_first_stays(self, indexes, index):
        first = event("1", subject="first")
        assert list(await indexes.bulk(index, [first, event("1", subject="second")])) == [
            True,
            False,
        ]
        assert list(await indexes.bulk(index, [event("2"), event("1", subject="third")])) == [
            True,
            False,
        ]
        assert await indexes.count(index, filter=Filter()) == 2
        assert first in await everything(indexes, index)
        assert await matching(indexes, index, phrases=("third",)) == set()

    async def test_batches_at_once_with_the_same_ids_make_each_event_once(self, indexes, index):
        batch = [event(str(number)) for number in range(300)]
        outcomes = await asyncio.gather(*(indexes.bulk(index, batch) for _ in range(8)))
        assert sum(sum(outcome) for outcome in outcomes) == 300
        assert await indexes.count(index, filter=Filter()) == 300

    async def test_ids_are_compared_exactly(self, indexes, index):
        assert list(await indexes.bulk(index, [event("a"), event("A"), event("a ")])) == [True] * 3


class TestMissingAndDropped:
    async def test_an_index_that_is_not_there_reads_as_empty(self, indexes, index):
        page = await indexes.search(index, filter=Filter(), limit=10)
        assert (list(page.documents), page.more) == ([], False)
        assert await indexes.count(index, filter=Filter()) == 0
        assert list(
            await indexes.aggregate(index, filter=Filter(), aggregations=EVERY, max_buckets=9)
        ) == [
            TermsResult(terms=(), other_count=0),
            HistogramResult(buckets=()),
            UniqueRecipientsResult(count=0),
            RatesResult(),
        ]

    async def test_an_index_without_events_is_empty(self, indexes, index):
        await indexes.create(index)
        assert await indexes.count(index, filter=Filter()) == 0
        results = await indexes.aggregate(index, filter=Filter(), aggregations=EVERY, max_buckets=9)
        assert [list(results[0].terms), list(results[1].buckets), results[2].count] == [[], [], 0]
        assert results[3] == RatesResult()

    async def test_creating_twice_keeps_what_is_there(self, indexes, index):
        await indexes.create(index)
        await indexes.bulk(index, [event("1")])
        await indexes.create(index)
        assert await indexes.count(index, filter=Filter()) == 1

    async def test_a_dropped_index_is_empty_and_can_be_filled_again(self, indexes, index):
        await indexes.bulk(index, [event("1")])
        await indexes.drop(index)
        assert await indexes.count(index, filter=Filter()) == 0
        assert list(await indexes.bulk(index, [event("1")])) == [True]

    async def test_dropping_what_is_not_there_is_no_error(self, indexes, index):
        await indexes.drop(index)
        await indexes.drop(index)

    async def test_dropping_while_others_read_and_write_breaks_nothing(self, indexes, index):
        async def write(number: int) -> None:
            await indexes.bulk(index, [event(f"{number}-{place}") for place in range(20)])

        async def read() -> None:
            await indexes.count(index, filter=Filter())

        work = [write(number) for number in range(20)] + [read() for _ in range(20)]
        work[10:10] = [indexes.drop(index) for _ in range(3)]
        await asyncio.gather(*work)
        await indexes.drop(index)
        assert await indexes.count(index, filter=Filter()) == 0


class TestFilters:
    @pytest.fixture(autouse=True)
    async def events(self, indexes, index):
        await indexes.bulk(
            index,
            [
                event("open", event_type=EventType.OPEN, recipient="Anna@Example.com"),
                event("click", event_type=EventType.CLICK, timestamp_ms=ms(2024, 3, 1, 13)),
                event(
                    "bounce", event_type=EventType.BOUNCE, campaign_id="", recipient="bob@b.example"
                ),
                event("late", campaign_id="autumn", timestamp_ms=ms(2024, 3, 2)),
            ],
        )

    @pytest.mark.parametrize(
        ("filter_", "expected"),
        [
            ({}, {"open", "click", "bounce", "late"}),
            ({"event_types": {EventType.CLICK}}, {"click"}),
            ({"event_types": {EventType.CLICK, EventType.BOUNCE}}, {"click", "bounce"}),
            ({"event_types": {EventType.SEND}}, set()),
            ({"campaign_ids": {"spring"}}, {"open", "click"}),
            ({"campaign_ids": {"spring", "autumn"}}, {"open", "click", "late"}),
            ({"campaign_ids": {"sprin"}}, set()),
            ({"recipient_key": "anna@example.com"}, {"open", "click", "late"}),
            ({"recipient_key": "anna@example"}, set()),
            ({"start_ms": ms(2024, 3, 1, 13)}, {"click", "late"}),
            ({"end_ms": ms(2024, 3, 1, 13)}, {"open", "bounce"}),
            ({"start_ms": ms(2024, 3, 1, 13), "end_ms": ms(2024, 3, 1, 13)}, set()),
            (
                {
                    "event_types": {EventType.OPEN},
                    "campaign_ids": {"spring"},
                    "recipient_key": "anna@example.com",
                    "end_ms": ms(2024, 3, 2),
                    "phrases": ("anna",),
                },
                {"open"},
            ),
        ],
    )
    async def test_all_set_parts_hold(self, indexes, index, filter_, expected):
        sets = {"event_types", "campaign_ids"}
        values = {
            name: frozenset(value) if name in sets else value for name, value in filter_.items()
        }
        assert await matching(indexes, index, **values) == expected
        assert await indexes.count(index, filter=Filter(**values)) == len(expected)


class TestText:
    @pytest.fixture(autouse=True)
    async def events(self, indexes, index):
        await indexes.bulk(
            index,
            [
                event("1", subject="Spring sale, 50% off!", strings=("https://shop.example/p/77",)),
                event(
                    "2", recipient="bob@b.example", subject="Frühling NEAR you", message_id="x-9"
                ),
                event(
                    "3", recipient="c@c.example", subject="日本語 テスト", strings=("left", "right")
                ),
                event(
                    "4",
                    recipient="d@d.example",
                    subject='"OR" * - NOT a:b (c)',
                    strings=("мо́ре",),  # noqa: RUF001 - Cyrillic on purpose
                ),
            ],
        )

    @pytest.mark.parametrize(
        ("phrases", "expected"),
        [
            (("spring",), {"1"}),
            (("SPRING", "sale"), {"1"}),
            (("sale", "fruhling"), set()),
            (("fruhling",), {"2"}),
            (("Frühling",), {"2"}),
            (("Fru\u0308hling",), {"2"}),
            (("near",), {"2"}),
            (("NEAR",), {"2"}),
            (("spring", "NEAR"), set()),
            (("OR",), {"4"}),
            (("NOT",), {"4"}),
            (("a b",), {"4"}),
            (("b a",), set()),
            (("anna example com",), {"1"}),
            (("anna com",), set()),
            (("shop example p 77",), {"1"}),
            (("x 9",), {"2"}),
            (("left", "right"), {"3"}),
            (("left right",), set()),
            (("日本語",), {"3"}),
            (("море",), {"4"}),
            (("spri",), set()),
            (("50",), {"1"}),
        ],
    )
    async def test_every_phrase_occurs(self, indexes, index, phrases, expected):
        assert await matching(indexes, index, phrases=phrases) == expected


class TestPages:
    async def test_ties_in_time_are_ordered_by_id_and_none_is_lost_or_doubled(self, indexes, index):
        chance = random.Random(7)
        sent = [event(f"{number:03}", timestamp_ms=chance.randrange(5)) for number in range(100)]
        chance.shuffle(sent)
        await indexes.bulk(index, sent)
        expected = sorted(sent, key=lambda document: (document.timestamp_ms, document.event_id))
        for limit in (1, 7, 100, 500):
            up = await everything(indexes, index, limit=limit, ascending=True)
            down = await everything(indexes, index, limit=limit)
            assert ids(up) == ids(expected)
            assert ids(down) == ids(expected)[::-1]

    async def test_the_last_page_says_so_even_when_it_is_full(self, indexes, index):
        await indexes.bulk(index, [event(str(number)) for number in range(10)])
        page = await indexes.search(index, filter=Filter(), limit=5)
        assert page.more
        page = await indexes.search(index, filter=Filter(), limit=5, position=behind(page))
        assert (len(page.documents), page.more) == (5, False)

    @pytest.mark.parametrize("ascending", [False, True])
    async def test_events_that_come_later_do_not_appear(self, indexes, index, ascending):
        await indexes.bulk(
            index, [event(f"old-{number:03}", timestamp_ms=number * 10) for number in range(200)]
        )
        first = await indexes.search(index, filter=Filter(), limit=20, ascending=ascending)
        found, page, number = list(first.documents), first, 0
        while page.more:
            number += 1
            await indexes.bulk(
                index,
                [
                    event(f"new-{number}-{place}", timestamp_ms=place * 7)
                    for place in range(0, 300, 10)
                ],
            )
            page = await indexes.search(
                index, filter=Filter(), limit=20, position=behind(page), ascending=ascending
            )
            found += page.documents
        assert len(found) == 200
        assert sorted(ids(found)) == [f"old-{number:03}" for number in range(200)]

    async def test_pages_are_stable_while_others_write(self, indexes, index):
        filter_ = Filter(event_types=frozenset({EventType.OPEN, EventType.CLICK}))
        before = [event(f"old-{number:04}", timestamp_ms=number) for number in range(1_000)]
        await indexes.bulk(index, before)
        page = await indexes.search(index, filter=filter_, limit=50)
        done = False

        async def write() -> int:
            batches = 0
            while not done:
                batches += 1
                await indexes.bulk(
                    index,
                    [event(f"new-{batches}-{place}", timestamp_ms=place) for place in range(50)],
                )
            return batches

        writing = asyncio.create_task(write())
        found = list(page.documents)
        while page.more:
            page = await indexes.search(index, filter=filter_, limit=50, position=behind(page))
            found += page.documents
        done = True
        assert await writing > 0
        assert ids(found) == ids(before)[::-1]


EVERY = (
    Terms(field=TermsField.CAMPAIGN_ID, size=3),
    Histogram(interval=DAY, time_zone="Europe/Berlin", by_event_type=True),
    UniqueRecipients(by_event_type=True),
    Rates(),
)


def random_events(seed: int, *, start: int, end: int, count: int = 400) -> list[Document]:
    chance = random.Random(seed)
    return [
        event(
            f"{seed}-{number}",
            event_type=chance.choice(list(EventType)[: chance.choice((4, 6, 10))]),
            campaign_id=chance.choice(("spring", "autumn", "c3", "c4", "")),
            timestamp_ms=chance.randrange(start, end),
            recipient=chance.choice(
                ("anna@example.com", "ANNA@example.com", "bob@b.example", "c@c")
            )
            + chance.choice(("", "", "x", "y")),
            message_id=chance.choice(("", "m-1", "m-2", "m-3")),
        )
        for number in range(count)
    ]


def kept(events: Sequence[Document], filter_: Filter) -> list[Document]:
    return [
        document
        for document in events
        if (not filter_.event_types or document.event_type in filter_.event_types)
        and (not filter_.campaign_ids or document.campaign_id in filter_.campaign_ids)
        and filter_.recipient_key in (None, document.recipient_key)
        and (filter_.start_ms is None or document.timestamp_ms >= filter_.start_ms)
        and (filter_.end_ms is None or document.timestamp_ms < filter_.end_ms)
    ]


def label(instant_ms: int, zone: ZoneInfo, interval: CalendarInterval) -> tuple[Any, ...]:
    """What a calendar of the zone calls the bucket of an instant."""
    local = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant_ms)).astimezone(zone)
    if interval is HOUR:
        return local.date(), local.hour, local.utcoffset()
    if interval is DAY:
        return (local.date(),)
    if interval is WEEK:
        return tuple(local.isocalendar())[:2]
    return local.year, local.month


def by_hand(
    events: Sequence[Document], interval: CalendarInterval, time_zone: str
) -> list[tuple[int, int, dict[EventType, int]]]:
    """A histogram by walking through every minute; start, count and types of each bucket."""
    zone = ZoneInfo(time_zone)
    counts: Counter[tuple[Any, ...]] = Counter()
    types: defaultdict[tuple[Any, ...], Counter[EventType]] = defaultdict(Counter)
    for document in events:
        name = label(document.timestamp_ms, zone, interval)
        counts[name] += 1
        types[name][document.event_type] += 1
    margin = {HOUR: 1, DAY: 26, WEEK: 8 * 24, MONTH: 32 * 24}[interval] * 3_600_000 + 7_200_000
    first = min(document.timestamp_ms for document in events) - margin
    last = max(document.timestamp_ms for document in events)
    starts: dict[tuple[Any, ...], int] = {}
    for minute in range(first // 60_000 * 60_000, last + 1, 60_000):
        starts.setdefault(label(minute, zone, interval), minute)
    buckets = [(start, counts[name], dict(types[name])) for name, start in starts.items()]
    filled = [place for place, bucket in enumerate(buckets) if bucket[1]]
    return buckets[filled[0] : filled[-1] + 1]


def plain(buckets: Sequence[Bucket]) -> list[tuple[int, int, dict[EventType, int]]]:
    return [(bucket.start_ms, bucket.count, dict(bucket.event_types)) for bucket in buckets]


async def histogram(
    indexes: PurgeableIndexes,
    index: SearchIndex,
    interval: CalendarInterval,
    time_zone: str,
    max_buckets: int = MAX_BUCKETS,
) -> Sequence[Bucket]:
    (result,) = await indexes.aggregate(
        index,
        filter=Filter(),
        aggregations=[Histogram(interval=interval, time_zone=time_zone, by_event_type=True)],
        max_buckets=max_buckets,
    )
    assert isinstance(result, HistogramResult)
    return result.buckets


class TestAggregates:
    @pytest.mark.parametrize("seed", range(4))
    async def test_terms_recipients_and_rates_are_those_counted_by_hand(self, indexes, index, seed):
        events = random_events(seed, start=ms(2024, 1, 1), end=ms(2024, 2, 1))
        await indexes.bulk(index, events)
        for filter_ in (
            Filter(),
            Filter(event_types=frozenset({EventType.SEND, EventType.DELIVERY, EventType.OPEN})),
            Filter(campaign_ids=frozenset({"spring", "c3"}), start_ms=ms(2024, 1, 10)),
            Filter(recipient_key="anna@example.com", end_ms=ms(2024, 1, 20)),
            Filter(recipient_key="nobody@example.com"),
        ):
            results = await indexes.aggregate(
                index,
                filter=filter_,
                aggregations=[
                    Terms(field=TermsField.EVENT_TYPE, size=4),
                    Terms(field=TermsField.CAMPAIGN_ID, size=3),
                    UniqueRecipients(by_event_type=True),
                    UniqueRecipients(by_event_type=False),
                    Rates(),
                ],
                max_buckets=MAX_BUCKETS,
            )
            here = kept(events, filter_)
            assert terms_of(results[0]) == top(Counter(e.event_type.name for e in here), 4)
            assert terms_of(results[1]) == top(Counter(e.campaign_id for e in here), 3)
            unique = len({e.recipient_key for e in here})
            assert results[2].count == results[3].count == unique
            assert dict(results[3].event_types) == {}
            assert dict(results[2].event_types) == {
                kind: len({e.recipient_key for e in here if e.event_type is kind})
                for kind in {e.event_type for e in here}
            }
            assert results[4] == rates_by_hand(here)

    async def test_a_message_without_an_id_is_known_by_its_campaign(self, indexes, index):
        def outcome(event_id: str, kind: EventType, **fields: Any) -> Document:
            return event(event_id, event_type=kind, message_id="", **fields)

        await indexes.bulk(
            index,
            [
                outcome("1", EventType.DELIVERY, campaign_id="spring"),
                outcome("2", EventType.OPEN, campaign_id="spring"),
                outcome("3", EventType.OPEN, campaign_id="spring"),
                outcome("4", EventType.DELIVERY, campaign_id="autumn"),
                outcome("5", EventType.BOUNCE, campaign_id="autumn"),
                event("6", event_type=EventType.DELIVERY, message_id="spring", campaign_id=""),
            ],
        )
        (rates,) = await indexes.aggregate(
            index, filter=Filter(), aggregations=[Rates()], max_buckets=1
        )
        assert rates == RatesResult(delivered=3, opened=1)

    @pytest.mark.parametrize("time_zone", ZONES)
    @pytest.mark.parametrize("interval", list(CalendarInterval))
    @pytest.mark.parametrize(
        "span",
        [
            (ms(2024, 3, 8), ms(2024, 4, 10)),  # spring in the north, autumn in the south
            (
                ms(2010, 10, 30),
                ms(2010, 11, 9),
            ),  # St John's went back at 00:01, into the day before
        ],
    )
    async def test_histograms_are_those_counted_by_hand(
        self, indexes, index, interval, time_zone, span
    ):
        events = random_events(11, start=span[0], end=span[1], count=300)
        await indexes.bulk(index, events)
        buckets = await histogram(indexes, index, interval, time_zone)
        assert plain(buckets) == by_hand(events, interval, time_zone)

    async def test_days_of_a_change_have_23_and_25_hours(self, indexes, index):
        hours = range(ms(2024, 3, 30), ms(2024, 4, 2), 3_600_000)
        autumn = range(ms(2024, 10, 26), ms(2024, 10, 29), 3_600_000)
        await indexes.bulk(index, [event(str(at), timestamp_ms=at) for at in (*hours, *autumn)])
        counts = {
            bucket.start_ms: bucket.count
            for bucket in await histogram(indexes, index, DAY, "Europe/Berlin")
        }
        assert counts[ms(2024, 3, 31, zone="Europe/Berlin")] == 23
        assert counts[ms(2024, 10, 27, zone="Europe/Berlin")] == 25
        assert counts[ms(2024, 6, 1, zone="Europe/Berlin")] == 0

    async def test_a_repeated_hour_is_two_buckets(self, indexes, index):
        zone = "America/New_York"
        first, second = ms(2024, 11, 3, 1, zone=zone), ms(2024, 11, 3, 1, zone=zone, fold=1)
        assert second - first == 3_600_000
        await indexes.bulk(index, [event("1", timestamp_ms=first), event("2", timestamp_ms=second)])
        buckets = await histogram(indexes, index, HOUR, zone)
        assert [(bucket.start_ms, bucket.count) for bucket in buckets] == [(first, 1), (second, 1)]

    async def test_half_an_hour_is_repeated_on_lord_howe_island(self, indexes, index):
        zone = "Australia/Lord_Howe"
        first = ms(2024, 4, 7, 1, zone=zone)
        await indexes.bulk(
            index,
            [
                event(str(minute), timestamp_ms=first + minute * 60_000)
                for minute in range(0, 120, 10)
            ],
        )
        buckets = await histogram(indexes, index, HOUR, zone)
        assert [(b.start_ms - first) // 60_000 for b in buckets] == [0, 60, 90]
        assert [b.count for b in buckets] == [6, 3, 3]

    async def test_a_date_that_samoa_skipped_is_no_bucket(self, indexes, index):
        zone = "Pacific/Apia"
        await indexes.bulk(
            index,
            [
                event("1", timestamp_ms=ms(2011, 12, 29, 12, zone=zone)),
                event("2", timestamp_ms=ms(2011, 12, 31, 12, zone=zone)),
            ],
        )
        buckets = await histogram(indexes, index, DAY, zone)
        assert [bucket.count for bucket in buckets] == [1, 1]

    async def test_weeks_begin_on_monday(self, indexes, index):
        await indexes.bulk(index, [event("1", timestamp_ms=ms(2024, 1, 7, 23, 59))])
        buckets = await histogram(indexes, index, WEEK, "UTC")
        assert [bucket.start_ms for bucket in buckets] == [ms(2024, 1, 1)]

    async def test_too_many_buckets_are_refused_and_the_aggregation_is_named(self, indexes, index):
        ends = [event("1", timestamp_ms=ms(2000, 1, 1)), event("2", timestamp_ms=ms(2024, 1, 1))]
        await indexes.bulk(index, ends)
        assert len(await histogram(indexes, index, DAY, "UTC", max_buckets=8_767)) == 8_767
        with pytest.raises(TooManyBuckets):
            await histogram(indexes, index, DAY, "UTC", max_buckets=8_766)
        with pytest.raises(TooManyBuckets):
            await histogram(indexes, index, HOUR, "UTC")
        days = Histogram(interval=DAY, time_zone="UTC", by_event_type=False)
        with pytest.raises(TooManyBuckets) as refused:
            await indexes.aggregate(
                index, filter=Filter(), aggregations=[Rates(), days, days], max_buckets=MAX_BUCKETS
            )
        assert refused.value.index == 2

    async def test_text_filters_apply_to_aggregates(self, indexes, index):
        await indexes.bulk(index, [event("1", subject="spring sale"), event("2", subject="sale")])
        (result,) = await indexes.aggregate(
            index,
            filter=Filter(phrases=("spring",)),
            aggregations=[Terms(field=TermsField.CAMPAIGN_ID, size=10)],
            max_buckets=1,
        )
        assert result == TermsResult(terms=[Term(value="spring", count=1)], other_count=0)


def terms_of(result: TermsResult) -> tuple[list[tuple[str, int]], int]:
    return [(term.value, term.count) for term in result.terms], result.other_count


def top(counts: Counter[str], size: int) -> tuple[list[tuple[str, int]], int]:
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ranked[:size], sum(count for _, count in ranked[size:])


def rates_by_hand(events: Sequence[Document]) -> RatesResult:
    pairs: defaultdict[EventType, set[tuple[str, ...]]] = defaultdict(set)
    for document in events:
        name = (document.message_id, "") if document.message_id else ("", document.campaign_id)
        pairs[document.event_type].add((document.recipient_key, *name))
    sent, delivered = pairs[EventType.SEND], pairs[EventType.DELIVERY]
    return RatesResult(
        sent=len(sent),
        bounced=len(sent & pairs[EventType.BOUNCE]),
        delivered=len(delivered),
        opened=len(delivered & pairs[EventType.OPEN]),
        clicked=len(delivered & pairs[EventType.CLICK]),
        complained=len(delivered & pairs[EventType.COMPLAINT]),
    )


class TestNeighbours:
    async def test_tenants_do_not_see_each_other(self, indexes):
        neighbours = [context(name) for name in ("a", "ab", "a-b")]
        for number, neighbour in enumerate(neighbours):
            await indexes.bulk(
                neighbour.index,
                [
                    event(f"{place}", tenant_id=neighbour.tenant_id, subject="shared word")
                    for place in range(number + 1)
                ],
            )
        for number, neighbour in enumerate(neighbours):
            found = await everything(indexes, neighbour.index, filter=Filter(phrases=("shared",)))
            assert len(found) == number + 1
            assert {document.tenant_id for document in found} == {neighbour.tenant_id}
        await indexes.drop(neighbours[0].index)
        assert await indexes.count(neighbours[1].index, filter=Filter()) == 2

    async def test_ids_that_differ_in_case_only_never_share_an_index(self, indexes):
        upper, lower = context("Acme"), context("acme")
        await indexes.bulk(upper.index, [event("1", tenant_id=upper.tenant_id)])
        with pytest.raises(GuardViolation):
            await indexes.count(lower.index, filter=Filter())
        with pytest.raises(GuardViolation):
            await indexes.bulk(lower.index, [event("2", tenant_id=lower.tenant_id)])
        assert await indexes.count(upper.index, filter=Filter()) == 1


def current_tenant(tenant_id: str | None) -> AbstractContextManager[None]:
    return nullcontext() if tenant_id is None else serving(context(tenant_id))


class TestGuard:
    async def test_the_current_tenants_index_passes(self, indexes):
        guarded = GuardedIndexes(indexes)
        mine = context("A")
        with serving(mine):
            await guarded.create(mine.index)
            await guarded.bulk(mine.index, [event("1")])
            assert ids((await guarded.search(mine.index, filter=Filter(), limit=1)).documents) == [
                "1"
            ]
            assert await guarded.count(mine.index, filter=Filter()) == 1
            await guarded.aggregate(mine.index, filter=Filter(), aggregations=EVERY, max_buckets=9)
            await guarded.drop(mine.index)

    @pytest.mark.parametrize("current", [None, "B"])
    async def test_another_tenants_index_is_refused(self, indexes, current):
        guarded = GuardedIndexes(indexes)
        foreign = context("A").index
        calls = [
            lambda: guarded.create(foreign),
            lambda: guarded.drop(foreign),
            lambda: guarded.bulk(foreign, [event("1")]),
            lambda: guarded.search(foreign, filter=Filter(), limit=1),
            lambda: guarded.count(foreign, filter=Filter()),
            lambda: guarded.aggregate(foreign, filter=Filter(), aggregations=EVERY, max_buckets=9),
        ]
        for call in calls:
            with current_tenant(current), pytest.raises(GuardViolation):
                await call()
        assert await indexes.count(foreign, filter=Filter()) == 0

    async def test_a_foreign_document_among_own_ones_stops_the_batch(self, indexes):
        guarded = GuardedIndexes(indexes)
        mine = context("A")
        batch = [event("1"), replace(event("2"), tenant_id=context("B").tenant_id)]
        with serving(mine), pytest.raises(GuardViolation):
            await guarded.bulk(mine.index, batch)
        assert await indexes.count(mine.index, filter=Filter()) == 0


class TestErasure:
    async def test_one_recipients_events_go_and_no_others(self, indexes, index):
        mine = [
            event(f"m{n}", recipient="Zq7x.Anna@Example.com", subject="hello") for n in range(7)
        ]
        others = [
            event("o1", recipient="joanna@example.com"),
            event("o2", recipient="anna@example.com.au"),
            event("o3", metadata='{"a":["x"]}', strings=("x",)),
        ]
        await indexes.bulk(index, mine + others)
        neighbour = replace(event("n1", recipient="zq7x.anna@example.com"), tenant_id="B")
        await indexes.bulk(context("B").index, [neighbour])
        key = "zq7x.anna@example.com"
        assert await indexes.erase(index, key, limit=4) == 4
        assert await indexes.erase(index, key, limit=4) == 3
        assert await indexes.erase(index, key, limit=4) == 0
        await indexes.scrub(index)
        assert await indexes.count(index, filter=Filter(recipient_key=key)) == 0
        assert await indexes.count(index, filter=Filter(phrases=("zq7x anna example com",))) == 0
        assert ids(await everything(indexes, index)) == ids(others) or set(
            ids(await everything(indexes, index))
        ) == {"o1", "o2", "o3"}
        assert await indexes.count(context("B").index, filter=Filter()) == 1
        await indexes.bulk(index, mine)
        assert await indexes.count(index, filter=Filter(phrases=("hello",))) == 7

    async def test_where_there_is_no_index_there_is_nothing_to_erase(self, indexes, index):
        assert await indexes.erase(index, "anna@example.com", limit=4) == 0
        await indexes.scrub(index)


class TestSurvey:
    async def test_a_dropped_index_leaves_nothing(self, indexes, index):
        assert await indexes.survey(index) == IndexSurvey()
        await indexes.bulk(index, [event("1"), event("2")])
        first = await indexes.search(index, filter=Filter(), limit=1)
        seen = await indexes.survey(index)
        assert seen.indexes > 0
        assert seen.events == 2
        await indexes.bulk(context("B").index, [replace(event("n"), tenant_id="B")])
        await indexes.drop(index)
        assert await indexes.survey(index) == IndexSurvey()
        position = Position(snapshot=first.snapshot, timestamp_ms=ms(2024, 3, 1, 12), event_id="2")
        try:
            page = await indexes.search(index, filter=Filter(), limit=1, position=position)
        except InvalidArgument:
            pass  # the cursor is no more
        else:
            assert page.documents == ()
        assert (await indexes.survey(context("B").index)).events == 1

    async def test_the_guard_lets_the_platforms_own_work_alone_through(self, indexes, index):
        guarded = GuardedPurgeableIndexes(indexes)
        await indexes.bulk(index, [event("1")])
        for current in (context("A"), make_lifecycle_context("B", audience="search")):
            with serving(current):
                for call in (
                    lambda: guarded.drop(index),
                    lambda: guarded.survey(index),
                    lambda: guarded.erase(index, "anna@example.com", limit=1),
                    lambda: guarded.scrub(index),
                ):
                    with pytest.raises(GuardViolation):
                        await call()
        assert await indexes.count(index, filter=Filter()) == 1
        with serving(make_lifecycle_context("A", audience="search")):
            await guarded.drop(index)
        assert await indexes.count(index, filter=Filter()) == 0
