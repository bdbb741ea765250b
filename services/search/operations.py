"""What the search service decides: which events are taken, what a page holds, how rates are formed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from boundary.errors import InvalidArgument
from boundary.scope import SearchIndex
from services.search.documents import document_of, event_of
from services.search.ports import (
    Aggregation,
    AggregationResult,
    Document,
    Filter,
    Indexes,
    Position,
    TooManyBuckets,
)
from silo.search.v1 import event_pb2

MAX_BATCH = 1_000
DEFAULT_PAGE = 50
MAX_PAGE = 500
MAX_BUCKETS = 10_000
"""The most histogram buckets of one answer. Counted by every type they make about 3.5 MB, and clients take 4 MiB
unless told otherwise."""

MAX_PAGE_BYTES = 3 * 1024 * 1024
"""A page ends early when its events have this many bytes, for the same reason."""

_ECHO = 128
"""How much of a rejected event's id is sent back: a valid id in full, and a bound on what a bad one costs."""

_SLICE = 100
"""How many events are checked before other calls get their turn on the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An event that was not taken: its place in the batch, its id as sent, the field at fault and why."""

    index: int
    event_id: str
    field: str
    description: str


@dataclass(slots=True, kw_only=True)
class BatchOutcome:
    """How a batch ended: how many events were new, how many were already there, and those not taken."""

    accepted: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """A page of events and where the next one goes on; None on the last."""

    events: Sequence[event_pb2.Event]
    position: bytes | None


class EventOperations:
    """Takes, finds and adds up the events of one tenant's index at a time."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    async def ingest(self, index: SearchIndex, events: Sequence[event_pb2.Event]) -> BatchOutcome:
        """Takes the events that are well formed, durably, and says what became of each.

        Raises:
            InvalidArgument: the batch has no events or too many; nothing is taken.
        """
        if not 1 <= len(events) <= MAX_BATCH:
            raise InvalidArgument(
                "events", f"must be 1 to {MAX_BATCH}", reason="INVALID_BATCH_SIZE"
            )
        outcome = BatchOutcome()
        documents: list[Document] = []
        for start in range(0, len(events), _SLICE):
            _check(index, events[start : start + _SLICE], start, documents, outcome)
            await asyncio.sleep(0)
        if documents:
            new = await self._indexes.bulk(index, documents)
            outcome.accepted = sum(new)
            outcome.duplicates = len(new) - outcome.accepted
        return outcome

    async def search(
        self,
        index: SearchIndex,
        *,
        filter_: Filter,
        size: int,
        position: bytes | None,
        ascending: bool,
    ) -> EventPage:
        """A page of at most size events and about MAX_PAGE_BYTES.

        Args:
            position: what the page before gave, or None for the first.
        """
        page = await self._indexes.search(
            index,
            filter=filter_,
            limit=size,
            position=None if position is None else _unpacked(position),
            ascending=ascending,
        )
        events: list[event_pb2.Event] = []
        held = 0
        for document in page.documents:
            event = event_of(document)
            held += event.ByteSize()
            if events and held > MAX_PAGE_BYTES:
                break
            events.append(event)
        if not page.more and len(events) == len(page.documents):
            return EventPage(events=events, position=None)
        last = page.documents[len(events) - 1]
        behind = Position(
            snapshot=page.snapshot, timestamp_ms=last.timestamp_ms, event_id=last.event_id
        )
        return EventPage(events=events, position=_packed(behind))

    async def count(self, index: SearchIndex, *, filter_: Filter) -> int:
        """How many events match."""
        return await self._indexes.count(index, filter=filter_)

    async def aggregate(
        self, index: SearchIndex, *, filter_: Filter, aggregations: Sequence[Aggregation]
    ) -> Sequence[AggregationResult]:
        """What the matching events add up to, in the order asked.

        Raises:
            InvalidArgument: the histograms would have more than MAX_BUCKETS buckets together.
        """
        try:
            return await self._indexes.aggregate(
                index, filter=filter_, aggregations=aggregations, max_buckets=MAX_BUCKETS
            )
        except TooManyBuckets as error:
            raise InvalidArgument(
                f"aggregations[{error.index}].histogram.interval",
                f"makes more than {MAX_BUCKETS} buckets; ask for longer ones or less time",
                reason="TOO_MANY_BUCKETS",
            ) from error


def rate(part: int, whole: int) -> float:
    """A part of a whole, between 0 and 1; 0 of nothing."""
    return part / whole if whole else 0.0


def _check(
    index: SearchIndex,
    events: Sequence[event_pb2.Event],
    start: int,
    documents: list[Document],
    outcome: BatchOutcome,
) -> None:
    for place, event in enumerate(events, start):
        try:
            documents.append(document_of(event, index.tenant_id))
        except InvalidArgument as error:
            outcome.rejected.append(
                Rejected(
                    index=place,
                    event_id=event.event_id[:_ECHO],
                    field=error.field,
                    description=error.description,
                )
            )


def _packed(position: Position) -> bytes:
    return json.dumps([position.snapshot, position.timestamp_ms, position.event_id]).encode()


def _unpacked(raw: bytes) -> Position:
    """The position in what _packed gave. Page tokens are sealed, so it is never anything else."""
    snapshot, timestamp_ms, event_id = json.loads(raw)
    return Position(snapshot=snapshot, timestamp_ms=timestamp_ms, event_id=event_id)
