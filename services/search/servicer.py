"""The EventService: messages in, operations, messages out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from boundary.interceptors.call import Call
from boundary.pages import PageSealer, page_size, query_of
from services.search.calendars import local_time
from services.search.documents import timestamp_of
from services.search.operations import (
    DEFAULT_PAGE,
    MAX_PAGE,
    BatchOutcome,
    EventOperations,
    rate,
)
from services.search.ports import (
    Aggregation,
    AggregationResult,
    EventType,
    Histogram,
    HistogramResult,
    RatesResult,
    Terms,
    TermsField,
    TermsResult,
    UniqueRecipientsResult,
)
from services.search.queries import aggregations_of, filter_of
from silo.search.v1 import event_pb2

SERVICE = event_pb2.DESCRIPTOR.services_by_name["EventService"].full_name


class EventServicer:
    """Serves silo.search.v1.EventService."""

    def __init__(self, operations: EventOperations, pages: PageSealer) -> None:
        self._operations = operations
        self._pages = pages

    async def ingest_events(
        self, requests: AsyncIterator[event_pb2.IngestEventsRequest], call: Call
    ) -> AsyncIterator[event_pb2.IngestEventsResponse]:
        """Takes batches, one after the other, and answers each once it is durable."""
        batch_index = 0
        async for request in requests:
            outcome = await self._operations.ingest(call.tenant.index, request.events)
            yield _batch_response(batch_index, outcome)
            batch_index += 1

    async def search_events(
        self, request: event_pb2.SearchEventsRequest, call: Call
    ) -> event_pb2.SearchEventsResponse:
        """A page of events."""
        size = page_size(request.page_size, default=DEFAULT_PAGE, maximum=MAX_PAGE)
        query = query_of(request)
        tenant_id, method = call.tenant.tenant_id, call.method.name
        position = None
        if request.page_token:
            position = self._pages.open(
                request.page_token, tenant_id=tenant_id, method=method, query=query
            )
        page = await self._operations.search(
            call.tenant.index,
            filter_=filter_of(request.filter),
            size=size,
            position=position,
            ascending=request.ascending,
        )
        response = event_pb2.SearchEventsResponse(events=page.events)
        if page.position is not None:
            response.next_page_token = self._pages.seal(
                page.position, tenant_id=tenant_id, method=method, query=query
            )
        return response

    async def count_events(
        self, request: event_pb2.CountEventsRequest, call: Call
    ) -> event_pb2.CountEventsResponse:
        """How many events match."""
        count = await self._operations.count(call.tenant.index, filter_=filter_of(request.filter))
        return event_pb2.CountEventsResponse(count=count)

    async def aggregate_events(
        self, request: event_pb2.AggregateEventsRequest, call: Call
    ) -> event_pb2.AggregateEventsResponse:
        """What the matching events add up to."""
        aggregations = aggregations_of(request.aggregations)
        results = await self._operations.aggregate(
            call.tenant.index, filter_=filter_of(request.filter), aggregations=aggregations
        )
        return event_pb2.AggregateEventsResponse(
            results=[
                _result(aggregation, result)
                for aggregation, result in zip(aggregations, results, strict=True)
            ]
        )


def _batch_response(batch_index: int, outcome: BatchOutcome) -> event_pb2.IngestEventsResponse:
    return event_pb2.IngestEventsResponse(
        batch_index=batch_index,
        accepted_count=outcome.accepted,
        duplicate_count=outcome.duplicates,
        rejected_events=[
            event_pb2.RejectedEvent(
                index=rejected.index,
                event_id=rejected.event_id,
                field=rejected.field,
                description=rejected.description,
            )
            for rejected in outcome.rejected
        ],
    )


def _result(aggregation: Aggregation, result: AggregationResult) -> event_pb2.AggregationResult:
    match aggregation, result:
        case Terms(), TermsResult():
            return event_pb2.AggregationResult(terms=_terms(aggregation, result))
        case Histogram(), HistogramResult():
            return event_pb2.AggregationResult(histogram=_histogram(aggregation, result))
        case _, UniqueRecipientsResult():
            return event_pb2.AggregationResult(
                unique_recipients=event_pb2.UniqueRecipientsResult(
                    count=result.count, event_types=_type_buckets(result.event_types)
                )
            )
        case _, RatesResult():
            return event_pb2.AggregationResult(rates=_rates(result))
    raise TypeError("a result of another kind than its aggregation")


def _terms(terms: Terms, result: TermsResult) -> event_pb2.TermsResult:
    prefix = "EVENT_TYPE_" if terms.field is TermsField.EVENT_TYPE else ""
    return event_pb2.TermsResult(
        buckets=[
            event_pb2.TermBucket(value=prefix + term.value, count=term.count)
            for term in result.terms
        ],
        other_count=result.other_count,
    )


def _histogram(histogram: Histogram, result: HistogramResult) -> event_pb2.HistogramResult:
    return event_pb2.HistogramResult(
        buckets=[
            event_pb2.HistogramBucket(
                start_time=timestamp_of(bucket.start_ms),
                local_start_time=local_time(bucket.start_ms, histogram.time_zone),
                count=bucket.count,
                event_types=_type_buckets(bucket.event_types),
            )
            for bucket in result.buckets
        ]
    )


def _type_buckets(counts: Mapping[EventType, int]) -> list[event_pb2.TermBucket]:
    """The most frequent first, then by name."""
    named = sorted(
        (-count, f"EVENT_TYPE_{event_type.name}") for event_type, count in counts.items()
    )
    return [event_pb2.TermBucket(value=name, count=-count) for count, name in named]


def _rates(result: RatesResult) -> event_pb2.RatesResult:
    return event_pb2.RatesResult(
        sent_count=result.sent,
        delivered_count=result.delivered,
        open_rate=rate(result.opened, result.delivered),
        click_rate=rate(result.clicked, result.delivered),
        bounce_rate=rate(result.bounced, result.sent),
        complaint_rate=rate(result.complained, result.delivered),
    )
