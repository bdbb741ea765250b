"""Events out of an index and into another, on every adapter of the search port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from boundary.context import TenantContext, serving
from boundary.errors import InvalidArgument
from services.search.guard import GuardedIndexes
from services.search.ports import Filter, Indexes
from services.search.transport import EventTransport
from tests.contract.test_index import context, event, indexes, ms  # noqa: F401 - the adapters

COUNT = 450


@pytest.fixture
async def filled(indexes: Indexes) -> Indexes:  # noqa: F811
    """An index with events, many of one millisecond, and a neighbour's with a secret."""
    guarded = GuardedIndexes(indexes)
    documents = [
        event(
            f"e-{number:04}",
            timestamp_ms=ms(2024, 3, 1) + (number if number % 3 else 0),
            campaign_id="" if number % 5 else "spring",
            subject="ä \u2028 subject",
            metadata=json.dumps({"n": 1.5, "b": None, "a": ["deep", {"x": True}]})
            if number % 2
            else "",
        )
        for number in range(COUNT)
    ]
    with serving(context("A")):
        await guarded.bulk(context("A").index, documents)
    secret = replace(documents[0], tenant_id=context("A-2").tenant_id, subject="NEIGHBOUR")
    with serving(context("A-2")):
        await guarded.bulk(context("A-2").index, [secret])
    return guarded


async def _read(filled: Indexes, tenant: TenantContext, *, max_bytes: int = 0) -> list[bytes]:
    lines: list[bytes] = []
    position = b""
    with serving(tenant):
        while True:
            async for message in EventTransport(filled).read(
                tenant.index, position=position, max_bytes=max_bytes
            ):
                position = message.position
                read = message.lines.split(b"\n")[:-1]
                assert len(read) == message.count
                lines += read
            if not position:
                return lines


async def _write(filled: Indexes, tenant: TenantContext, lines: Sequence[bytes]) -> tuple[int, int]:
    async def chunks() -> AsyncIterator[bytes]:
        raw = b"".join(line + b"\n" for line in lines)
        for start in range(0, len(raw), 1000):
            yield raw[start : start + 1000]

    with serving(tenant):
        written = await EventTransport(filled).write(tenant.index, chunks())
    return written.lines, written.events


async def _sum(filled: Indexes, tenant: TenantContext) -> tuple[int, bytes]:
    with serving(tenant):
        total = await EventTransport(filled).summarize(tenant.index)
    return total.count, total.digest


async def test_every_event_is_read_once_in_order_and_no_neighbours(filled):
    lines = await _read(filled, context("A"))
    events = [json.loads(line) for line in lines]
    assert len(events) == COUNT
    assert events == sorted(events, key=lambda e: (e["timestamp"].rstrip("Z"), e["event_id"]))
    assert b"NEIGHBOUR" not in b"".join(lines)


@pytest.mark.parametrize("max_bytes", [3_000, 40_000])
async def test_any_resumption_reads_every_line_once(filled, max_bytes):
    whole = await _read(filled, context("A"))
    assert await _read(filled, context("A"), max_bytes=max_bytes) == whole


async def test_another_tenant_gets_the_same_events_and_again_changes_nothing(filled):
    lines = await _read(filled, context("A"))
    assert await _write(filled, context("B"), lines) == (COUNT, COUNT)
    assert await _read(filled, context("B")) == lines
    assert await _sum(filled, context("B")) == await _sum(filled, context("A"))
    assert await _write(filled, context("B"), lines) == (COUNT, 0)
    with serving(context("B")):
        phrase = Filter(phrases=("deep",))
        assert await filled.count(context("B").index, filter=phrase) == COUNT // 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"{}",
        b'{"event_id": "e", "tenant_id": "B"}',
        b'{"event_id": "e", "event_type": "NONE", "recipient": "a@b.example"}',
    ],
)
async def test_a_line_that_is_no_event_is_refused_by_number(filled, line):
    good = (await _read(filled, context("A"), max_bytes=0))[0]
    with pytest.raises(InvalidArgument) as refused:
        await _write(filled, context("B"), [good, line])
    assert refused.value.field == "lines[2]"


async def test_an_index_that_is_not_there_reads_as_empty(filled):
    assert await _read(filled, context("C")) == []
    assert (await _sum(filled, context("C")))[0] == 0


async def test_a_position_that_is_none_is_refused(filled):
    with serving(context("A")), pytest.raises(InvalidArgument):
        EventTransport(filled).read(context("A").index, position=b"x", max_bytes=0)
