"""The search port, shaped by what OpenSearch does at scale.

That is bulk by id, typed filters, `search_after` pages over a snapshot, and aggregations. No query language
crosses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Protocol

from boundary.ids import TenantId
from boundary.scope import SearchIndex


class EventType(IntEnum):
    """What happened to a message. Numbers and names are those of silo.search.v1.EventType."""

    SEND = 1
    DELIVERY = 2
    OPEN = 3
    CLICK = 4
    BOUNCE = 5
    COMPLAINT = 6
    REJECT = 7
    RENDERING_FAILURE = 8
    DELIVERY_DELAY = 9
    SUBSCRIPTION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """An event as it is indexed.

    Attributes:
        tenant_id: whose it is; always the index's own tenant.
        event_id: names the event within the index.
        event_type: what happened.
        campaign_id: the campaign, or empty.
        timestamp_ms: when, in milliseconds since the epoch.
        recipient: the address as it came.
        message_id: the message, or empty.
        subject: the message's subject, or empty.
        metadata: a JSON object as text, or empty for none.
        strings: the strings within metadata, for text search; a search does not give them back.
    """

    tenant_id: TenantId
    event_id: str
    event_type: EventType
    campaign_id: str
    timestamp_ms: int
    recipient: str
    message_id: str
    subject: str
    metadata: str
    strings: tuple[str, ...] = ()

    @property
    def recipient_key(self) -> str:
        """The address for comparing and counting, whatever the case."""
        return self.recipient.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events are meant. All set parts must hold.

    Attributes:
        event_types: one of these; any where empty.
        campaign_ids: one of these; any where empty.
        recipient_key: the lower-cased address, or None for any.
        start_ms: at this time or later, or None.
        end_ms: before this time, or None.
        phrases: each must occur in the recipient, the subject, the message id or a string of the metadata. A
            phrase is one or more runs of letters and digits between single spaces, which must follow each
            other; case and accents do not matter.
    """

    event_types: frozenset[EventType] = frozenset()
    campaign_ids: frozenset[str] = frozenset()
    recipient_key: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a search goes on: behind this event, in the index as it was when the first page was read.

    Attributes:
        snapshot: the engine's name for the index's state at the first page.
        timestamp_ms: the last event's time.
        event_id: the last event's id.
    """

    snapshot: str
    timestamp_ms: int
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a search, by time and then by id.

    Attributes:
        documents: the events.
        more: whether there are events behind the last one.
        snapshot: what a position within this search carries.
    """

    documents: Sequence[Document]
    more: bool
    snapshot: str


class TermsField(Enum):
    """A field by whose values events are counted."""

    EVENT_TYPE = "event_type"
    CAMPAIGN_ID = "campaign_id"


class CalendarInterval(Enum):
    """The length of a histogram's buckets. A week begins on Monday (ISO 8601)."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Counts by the values of a field, the size most frequent ones."""

    field: TermsField
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts by calendar interval in an IANA time zone, on request by event type as well."""

    interval: CalendarInterval
    time_zone: str
    by_event_type: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueRecipients:
    """Counts distinct recipients exactly, on request by event type as well."""

    by_event_type: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Counts messages (distinct pairs of message and recipient) by what became of them.

    Where the message id is empty, the campaign stands in its place.
    """


Aggregation = Terms | Histogram | UniqueRecipients | Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A value and how many events have it. An event type's value is its name in EventType."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsResult:
    """The most frequent values first, then by value; and how many events have other values."""

    terms: Sequence[Term]
    other_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A span of a histogram: its first instant in milliseconds since the epoch, and its counts."""

    start_ms: int
    count: int
    event_types: Mapping[EventType, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramResult:
    """The buckets in order, empty ones between the first and the last included."""

    buckets: Sequence[Bucket]


@dataclass(frozen=True, slots=True, kw_only=True)
class UniqueRecipientsResult:
    """The exact count, and on request that of each event type."""

    count: int
    event_types: Mapping[EventType, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesResult:
    """How many messages were sent, bounced of these; were delivered, and opened, clicked, complained of these."""

    sent: int = 0
    bounced: int = 0
    delivered: int = 0
    opened: int = 0
    clicked: int = 0
    complained: int = 0


AggregationResult = TermsResult | HistogramResult | UniqueRecipientsResult | RatesResult


class TooManyBuckets(Exception):
    """The histograms of one call would have more buckets than it allows.

    Attributes:
        index: the place of the aggregation that went over the limit.
    """

    def __init__(self, index: int) -> None:
        super().__init__(f"aggregation {index} would have too many buckets")
        self.index = index


class Indexes(Protocol):
    """The tenants' indexes. One that is not there reads as empty.

    Every call is bounded by the asyncio deadline of the caller and may raise boundary.errors.Unavailable or
    ResourceExhausted where the engine cannot serve it.
    """

    async def create(self, index: SearchIndex) -> None:
        """Makes the index; one that is there stays as it is."""

    async def drop(self, index: SearchIndex) -> None:
        """Takes the index away with all that is in it; one that is not there is no error."""

    async def bulk(self, index: SearchIndex, documents: Sequence[Document]) -> Sequence[bool]:
        """Indexes documents durably, and makes the index where it is not there.

        Returns:
            For each document whether it is new. One whose id is taken, in the index or earlier in the batch,
            changes nothing.
        """

    async def search(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002 - the field's own name
        limit: int,
        position: Position | None = None,
        ascending: bool = False,
    ) -> Page:
        """At most limit events, newest first unless ascending, ties by id in the same direction.

        Args:
            position: where an earlier page of the same search ended; None for the first page. Events that were
                indexed after the first page do not appear.
        """

    async def count(self, index: SearchIndex, *, filter: Filter) -> int:  # noqa: A002
        """How many events match, exactly."""

    async def aggregate(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002
        aggregations: Sequence[Aggregation],
        max_buckets: int,
    ) -> Sequence[AggregationResult]:
        """What the matching events add up to, in the order asked, all over one state of the index.

        Args:
            max_buckets: how many buckets the histograms may have together.

        Raises:
            TooManyBuckets: they would have more.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexSurvey:
    """What there is of a tenant's index.

    Attributes:
        indexes: 1 where it is there; of the embedded engine, how many of its files.
        aliases: 1 where its alias is there.
        events: how many it holds.
        cursors: how many snapshots of it are held open.
        roles: how many roles, users and mappings the cluster has for the tenant.
    """

    indexes: int = 0
    aliases: int = 0
    events: int = 0
    cursors: int = 0
    roles: int = 0


class PurgeableIndexes(Indexes, Protocol):
    """Indexes, and what the platform's own work on them needs. `drop` takes all away that belongs to one."""

    async def survey(self, index: SearchIndex) -> IndexSurvey:
        """What there is of the index."""

    async def erase(self, index: SearchIndex, recipient_key: str, *, limit: int) -> int:
        """Deletes at most limit events of one recipient; how many. 0 where none is left."""

    async def scrub(self, index: SearchIndex) -> None:
        """Returns when nothing that was deleted stands in a file of an engine of our own.

        An engine that is a service is asked to let go of it; when it does so is its own affair.
        """
