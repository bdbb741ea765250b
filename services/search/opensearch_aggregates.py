"""Adding up events in OpenSearch: bodies and what their answers mean.

All of a call's aggregations are one request, so that they are over one state of the index. Histograms are counted
in ranges that `calendars` made, and not by the engine's own calendar: buckets are then the same on every engine,
whatever time zone database it carries. The ranges must reach from the first event to the last; where an answer
shows that they did not, its extent is what the next try is made from.

Distinct values are counted by HyperLogLog++ at the highest precision that there is (`precision_threshold`): exact
but for a rare collision up to some thousands, within about 0.2 % in the tens of thousands and above. Terms are
exact with one shard; with more, as long as a tenant has no more than TERMS_EXACT values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boundary.ids import TenantId
from services.search.calendars import Buckets, TooLong, buckets_between
from services.search.opensearch_queries import query_of
from services.search.ports import (
    Aggregation,
    AggregationResult,
    Bucket,
    EventType,
    Filter,
    Histogram,
    HistogramResult,
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

PRECISION = 40_000
"""The most that OpenSearch takes as a cardinality's `precision_threshold`."""

TERMS_EXACT = 10_000
_MAX_ENGINE_BUCKETS = 60_000
"""Below the 65,535 buckets that a request may have by default (`search.max_buckets`)."""

_FIELDS = {TermsField.EVENT_TYPE: "eventType", TermsField.CAMPAIGN_ID: "campaignId"}
_BY_TYPE = {"field": "eventType", "size": len(EventType)}
_OUTCOMES = {
    "sent": (EventType.SEND,),
    "bounced": (EventType.BOUNCE,),
    "sent_or_bounced": (EventType.SEND, EventType.BOUNCE),
    "delivered": (EventType.DELIVERY,),
    "opened": (EventType.OPEN,),
    "delivered_or_opened": (EventType.DELIVERY, EventType.OPEN),
    "clicked": (EventType.CLICK,),
    "delivered_or_clicked": (EventType.DELIVERY, EventType.CLICK),
    "complained": (EventType.COMPLAINT,),
    "delivered_or_complained": (EventType.DELIVERY, EventType.COMPLAINT),
}

UNREAD = ",".join(
    f"-aggregations.*.buckets.{name}" for name in ("from", "to", "from_as_string", "to_as_string")
)
"""The part of an answer that is not read and therefore not sent (`filter_path`)."""

Extent = tuple[int, int]
"""The first and the last timestamp of the matching events."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A call's aggregations, and the buckets of each histogram among them (None for the others)."""

    aggregations: tuple[Aggregation, ...]
    buckets: tuple[Buckets | None, ...]

    def body(self, filter_: Filter, tenant_id: TenantId) -> dict[str, Any]:
        """The body of the request."""
        return {
            "query": query_of(filter_, tenant_id),
            "size": 0,
            "track_total_hits": True,
            "aggs": _extent_aggregations() | self._parts(),
        }

    def _parts(self) -> dict[str, Any]:
        parts = zip(self.aggregations, self.buckets, strict=True)
        return {
            f"a{place}": _part(aggregation, buckets, crowded=self._is_crowded())
            for place, (aggregation, buckets) in enumerate(parts)
        }

    def _is_crowded(self) -> bool:
        ranges = sum(len(buckets.segment_starts) for buckets in self.buckets if buckets is not None)
        return ranges * (1 + len(EventType)) > _MAX_ENGINE_BUCKETS

    def results(self, answer: Mapping[str, Any]) -> list[AggregationResult]:
        """What an answer to the body says, in the order asked."""
        total = int(answer["hits"]["total"]["value"])
        parts = zip(self.aggregations, self.buckets, strict=True)
        return [
            _result(aggregation, buckets, answer["aggregations"].get(f"a{place}", {}), total)
            for place, (aggregation, buckets) in enumerate(parts)
        ]


def needs_extent(aggregations: Sequence[Aggregation]) -> bool:
    """Whether the events' extent must be known before they can be added up."""
    return any(isinstance(aggregation, Histogram) for aggregation in aggregations)


def extent_body(filter_: Filter, tenant_id: TenantId) -> dict[str, Any]:
    """The body that asks for the extent alone."""
    return {
        "query": query_of(filter_, tenant_id),
        "size": 0,
        "track_total_hits": False,
        "aggs": _extent_aggregations(),
    }


def extent_of(answer: Mapping[str, Any]) -> Extent | None:
    """The extent that an answer tells, or None where nothing matched."""
    found = answer["aggregations"]
    first, last = found["first"].get("value"), found["last"].get("value")
    return None if first is None or last is None else (int(first), int(last))


def plan(aggregations: Sequence[Aggregation], extent: Extent | None, max_buckets: int) -> Plan:
    """How the aggregations are asked for where the events reach over extent.

    Raises:
        TooManyBuckets: the histograms would have more than max_buckets together.
    """
    left = max_buckets
    buckets: list[Buckets | None] = []
    for place, aggregation in enumerate(aggregations):
        if not isinstance(aggregation, Histogram) or extent is None:
            buckets.append(None)
            continue
        try:
            own = buckets_between(
                *extent,
                interval=aggregation.interval,
                time_zone=aggregation.time_zone,
                limit=left,
            )
        except TooLong as error:
            raise TooManyBuckets(place) from error
        left -= len(own.starts)
        buckets.append(own)
    return Plan(tuple(aggregations), tuple(buckets))


def _extent_aggregations() -> dict[str, Any]:
    return {"first": {"min": {"field": "timestamp"}}, "last": {"max": {"field": "timestamp"}}}


def _part(aggregation: Aggregation, buckets: Buckets | None, *, crowded: bool) -> dict[str, Any]:
    match aggregation:
        case Terms():
            return _terms(aggregation)
        case Histogram():
            return _ranges(buckets, by_type=aggregation.by_event_type, crowded=crowded)
        case UniqueRecipients():
            return _unique_recipients(by_type=aggregation.by_event_type)
        case Rates():
            return _outcomes()


def _terms(terms: Terms) -> dict[str, Any]:
    return {
        "terms": {
            "field": _FIELDS[terms.field],
            "size": terms.size,
            "shard_size": max(terms.size, TERMS_EXACT),
            "order": [{"_count": "desc"}, {"_key": "asc"}],
        }
    }


def _ranges(buckets: Buckets | None, *, by_type: bool, crowded: bool) -> dict[str, Any]:
    """One range for each segment, the last without an end.

    Where the ranges are many, types are counted by filters, which do not add to a request's buckets.
    """
    if buckets is None:
        return {"filter": {"match_all": {}}}
    starts = buckets.segment_starts
    ends: list[int | None] = [*starts[1:], None]
    ranges = [
        {"from": start} if end is None else {"from": start, "to": end}
        for start, end in zip(starts, ends, strict=True)
    ]
    part: dict[str, Any] = {"date_range": {"field": "timestamp", "ranges": ranges}}
    if by_type and crowded:
        part["aggs"] = {
            kind.name: {"filter": {"term": {"eventType": kind.name}}} for kind in EventType
        }
    elif by_type:
        part["aggs"] = {"types": {"terms": _BY_TYPE}}
    return part


def _unique_recipients(*, by_type: bool) -> dict[str, Any]:
    # The filter lets one shape hold both: the whole's count, and each type's below it.
    aggs: dict[str, Any] = {"all": _distinct("recipientKey")}
    if by_type:
        for kind in EventType:
            aggs[kind.name] = {
                "filter": {"term": {"eventType": kind.name}},
                "aggs": {"distinct": _distinct("recipientKey")},
            }
    return {"filter": {"match_all": {}}, "aggs": aggs}


def _outcomes() -> dict[str, Any]:
    """Distinct messages by outcome, and by either of two.

    How many had both is then the sum of the single counts less the count of either.
    """
    aggs = {
        name: {
            "filter": {"terms": {"eventType": [kind.name for kind in kinds]}},
            "aggs": {"distinct": _distinct("messageKey")},
        }
        for name, kinds in _OUTCOMES.items()
    }
    return {"filter": {"match_all": {}}, "aggs": aggs}


def _distinct(field: str) -> dict[str, Any]:
    return {"cardinality": {"field": field, "precision_threshold": PRECISION}}


def _result(
    aggregation: Aggregation, buckets: Buckets | None, answer: Mapping[str, Any], total: int
) -> AggregationResult:
    match aggregation:
        case Terms():
            found = [
                Term(value=bucket["key"], count=bucket["doc_count"])
                for bucket in answer.get("buckets", ())
            ]
            return TermsResult(terms=found, other_count=total - sum(term.count for term in found))
        case Histogram():
            return HistogramResult(
                buckets=()
                if buckets is None
                else _rolled_up(answer["buckets"], buckets, by_type=aggregation.by_event_type)
            )
        case UniqueRecipients():
            return _unique_recipients_result(answer, by_type=aggregation.by_event_type)
        case Rates():
            return _rates_result(answer)


def _rolled_up(
    ranges: Sequence[Mapping[str, Any]], buckets: Buckets, *, by_type: bool
) -> list[Bucket]:
    counts = [0] * len(buckets.starts)
    types: list[dict[EventType, int]] = [{} for _ in buckets.starts]
    for counted, place in zip(ranges, buckets.segment_buckets, strict=True):
        counts[place] += counted["doc_count"]
        if by_type and counted["doc_count"]:
            for kind, count in _types_of(counted):
                types[place][kind] = types[place].get(kind, 0) + count
    filled = [place for place, count in enumerate(counts) if count]
    if not filled:
        return []
    return [
        Bucket(start_ms=buckets.starts[place], count=counts[place], event_types=types[place])
        for place in range(filled[0], filled[-1] + 1)
    ]


def _types_of(counted: Mapping[str, Any]) -> list[tuple[EventType, int]]:
    if "types" in counted:
        found = [
            (EventType[each["key"]], each["doc_count"]) for each in counted["types"]["buckets"]
        ]
    else:
        found = [(kind, counted[kind.name]["doc_count"]) for kind in EventType]
    return [(kind, count) for kind, count in found if count]


def _unique_recipients_result(
    answer: Mapping[str, Any], *, by_type: bool
) -> UniqueRecipientsResult:
    count = int(answer["all"]["value"])
    if not by_type:
        return UniqueRecipientsResult(count=count)
    types = {
        kind: int(answer[kind.name]["distinct"]["value"])
        for kind in EventType
        if answer[kind.name]["doc_count"]
    }
    return UniqueRecipientsResult(count=count, event_types=types)


def _rates_result(answer: Mapping[str, Any]) -> RatesResult:
    counts = {name: int(answer[name]["distinct"]["value"]) for name in _OUTCOMES}

    def both(one: str, other: str) -> int:
        shared = counts[one] + counts[other] - counts[f"{one}_or_{other}"]
        return max(0, min(shared, counts[one], counts[other]))

    return RatesResult(
        sent=counts["sent"],
        bounced=both("sent", "bounced"),
        delivered=counts["delivered"],
        opened=both("delivered", "opened"),
        clicked=both("delivered", "clicked"),
        complained=both("delivered", "complained"),
    )
