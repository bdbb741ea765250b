"""The search service over a real loopback server."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from boundary.pages import PageSealer
from services.search.guard import GuardedIndexes
from services.search.operations import EventOperations
from services.search.servicer import SERVICE, EventServicer
from services.search.sqlite import SqliteIndexes
from silo.search.v1 import event_pb2, event_pb2_grpc
from tests.serving import Serving, reason_of, serving

START = int(time.time()) // 3_600 * 3_600 - 86_400


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Serving]:
    indexes = SqliteIndexes(tmp_path / "search")
    servicer = EventServicer(EventOperations(GuardedIndexes(indexes)), PageSealer(os.urandom(32)))
    async with serving("search", {SERVICE: servicer}, tmp_path / "audit") as running:
        yield running
    await asyncio.to_thread(indexes.close)


@pytest.fixture
def events(server: Serving) -> Any:
    return event_pb2_grpc.EventServiceStub(server.channel)  # type: ignore[no-untyped-call]


def event(number: int, kind: str = "OPEN", **fields: Any) -> event_pb2.Event:
    values = {
        "campaign_id": "spring",
        "timestamp": Timestamp(seconds=START + number),
        "recipient": f"user{number % 7}@example.com",
        "message_id": f"m-{number % 7}",
        **fields,
    }
    return event_pb2.Event(event_id=f"e-{number}", event_type=f"EVENT_TYPE_{kind}", **values)


async def ingest(events: Any, metadata: Any, *batches: list[event_pb2.Event]) -> list[Any]:
    requests = [event_pb2.IngestEventsRequest(events=batch) for batch in batches]
    return [response async for response in events.IngestEvents(iter(requests), metadata=metadata)]


async def test_batches_are_answered_in_order_and_bad_events_are_named(server, events):
    mine = server.metadata("A")
    responses = await ingest(
        events,
        mine,
        [event(1), event(2, campaign_id="not ok"), event(1)],
        [event(1), event(3, recipient=""), event(4)],
    )
    assert [r.batch_index for r in responses] == [0, 1]
    assert [(r.accepted_count, r.duplicate_count) for r in responses] == [(1, 1), (1, 1)]
    (first,), (second,) = (r.rejected_events for r in responses)
    assert (first.index, first.event_id, first.field) == (1, "e-2", "campaign_id")
    assert (second.index, second.event_id, second.field) == (1, "e-3", "recipient")
    assert (await events.CountEvents(event_pb2.CountEventsRequest(), metadata=mine)).count == 2
    assert (
        await events.CountEvents(event_pb2.CountEventsRequest(), metadata=server.metadata("B"))
    ).count == 0


async def test_a_batch_is_durable_before_the_stream_goes_on(server, events):
    mine = server.metadata("A")
    stream = events.IngestEvents(metadata=mine)
    for number in range(3):
        await stream.write(event_pb2.IngestEventsRequest(events=[event(number)]))
        assert (await stream.read()).accepted_count == 1
        count = await events.CountEvents(event_pb2.CountEventsRequest(), metadata=mine)
        assert count.count == number + 1
    await stream.done_writing()
    assert await stream.read() == grpc.aio.EOF


@pytest.mark.parametrize("size", [0, 1_001])
async def test_a_batch_of_a_wrong_size_ends_the_stream(server, events, size):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ingest(events, server.metadata("A"), [event(n) for n in range(size)])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "INVALID_BATCH_SIZE"


async def test_pages_hold_every_event_once_and_tokens_fit_their_query_alone(server, events):
    mine = server.metadata("A")
    sent = [event(number) for number in range(120)]
    await ingest(events, mine, sent)
    request = event_pb2.SearchEventsRequest(page_size=50, filter={"campaign_ids": ["spring"]})
    found: list[event_pb2.Event] = []
    while True:
        page = await events.SearchEvents(request, metadata=mine)
        found += page.events
        await ingest(events, mine, [event(1_000 + len(found))])
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == sent[::-1]
    other = event_pb2.SearchEventsRequest(page_size=50, page_token=request.page_token)
    for asked, metadata in ((other, mine), (request, server.metadata("B"))):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await events.SearchEvents(asked, metadata=metadata)
        assert reason_of(refused.value) == "INVALID_PAGE_TOKEN"


async def test_pages_of_large_events_stay_below_the_message_limit(server, events):
    mine = server.metadata("A")
    metadata = Struct()
    metadata.update({"n": [1] * 4_000})  # 16 KB as JSON are many times that as a message
    sent = [event(number, metadata=metadata) for number in range(120)]
    for start in range(0, 120, 20):
        await ingest(events, mine, sent[start : start + 20])
    request = event_pb2.SearchEventsRequest(page_size=500, ascending=True)
    ids: list[str] = []
    while True:
        page = await events.SearchEvents(request, metadata=mine)
        assert page.ByteSize() < 4 * 1024 * 1024
        ids += [found.event_id for found in page.events]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert ids == [sent_event.event_id for sent_event in sent]


async def test_every_way_of_adding_up(server, events):
    mine = server.metadata("A")
    kinds = ["SEND"] * 4 + ["DELIVERY"] * 3 + ["OPEN"] * 2 + ["BOUNCE"]
    recipients = ["a@x", "b@x", "c@x", "d@x", "a@x", "b@x", "c@x", "a@x", "A@X", "d@x"]
    await ingest(
        events,
        mine,
        [
            event(number, kind, recipient=recipient, message_id="m")
            for number, (kind, recipient) in enumerate(zip(kinds, recipients, strict=True))
        ],
    )
    response = await events.AggregateEvents(
        event_pb2.AggregateEventsRequest(
            aggregations=[
                {"terms": {"field": "TERMS_FIELD_EVENT_TYPE", "size": 2}},
                {
                    "histogram": {
                        "interval": "CALENDAR_INTERVAL_HOUR",
                        "time_zone": "Asia/Kathmandu",
                        "by_event_type": True,
                    }
                },
                {"unique_recipients": {"by_event_type": True}},
                {"rates": {}},
            ]
        ),
        metadata=mine,
    )
    terms, histogram, unique, rates = response.results
    assert [(b.value, b.count) for b in terms.terms.buckets] == [
        ("EVENT_TYPE_SEND", 4),
        ("EVENT_TYPE_DELIVERY", 3),
    ]
    assert terms.terms.other_count == 3
    (bucket,) = histogram.histogram.buckets
    assert bucket.count == 10
    assert bucket.start_time.seconds == START - 45 * 60  # hours there begin at a quarter past ours
    assert bucket.local_start_time.endswith("+05:45")
    assert [b.value for b in bucket.event_types][:2] == ["EVENT_TYPE_SEND", "EVENT_TYPE_DELIVERY"]
    assert unique.unique_recipients.count == 4
    assert [(b.value, b.count) for b in unique.unique_recipients.event_types][-1] == (
        "EVENT_TYPE_OPEN",
        1,
    )
    rates = rates.rates
    assert (rates.sent_count, rates.delivered_count) == (4, 3)
    assert rates.open_rate == pytest.approx(1 / 3)
    assert (rates.click_rate, rates.bounce_rate, rates.complaint_rate) == (0, 0.25, 0)


async def test_too_many_buckets_name_the_aggregation(server, events):
    mine = server.metadata("A")
    old = event(1, timestamp=Timestamp(seconds=946_684_800))
    await ingest(events, mine, [old, event(2)])
    request = event_pb2.AggregateEventsRequest(
        aggregations=[{"rates": {}}, {"histogram": {"interval": "CALENDAR_INTERVAL_HOUR"}}]
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await events.AggregateEvents(request, metadata=mine)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(refused.value) == "TOO_MANY_BUCKETS"
    assert "aggregations[1].histogram.interval" in (refused.value.details() or "")


async def test_reading_takes_a_permission_and_writing_another(server, events):
    reader = server.metadata("A", permissions=("events.read",))
    writer = server.metadata("A", permissions=("events.write",))
    await ingest(events, writer, [event(1)])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ingest(events, reader, [event(2)])
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await events.CountEvents(event_pb2.CountEventsRequest(), metadata=writer)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
