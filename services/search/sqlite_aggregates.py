"""Adding up events in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from services.search import sqlite_statements
from services.search.calendars import Buckets, TooLong, buckets_between
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


def aggregate(
    connection: sqlite3.Connection,
    filter_: Filter,
    aggregations: Sequence[Aggregation],
    max_buckets: int,
) -> list[AggregationResult]:
    """What the events add up to, in the order asked. The caller holds a transaction open.

    Raises:
        TooManyBuckets: the histograms would have more than max_buckets together.
    """
    condition = sqlite_statements.where(filter_)
    results: list[AggregationResult] = []
    left = max_buckets
    for index, aggregation in enumerate(aggregations):
        match aggregation:
            case Terms():
                results.append(_terms(connection, condition, aggregation))
            case Histogram():
                try:
                    histogram = _histogram(connection, condition, aggregation, left)
                except TooLong as error:
                    raise TooManyBuckets(index) from error
                left -= len(histogram.buckets)
                results.append(histogram)
            case UniqueRecipients():
                results.append(_unique_recipients(connection, condition, aggregation))
            case Rates():
                results.append(_rates(connection, condition))
    return results


def empty(aggregation: Aggregation) -> AggregationResult:
    """What no events at all add up to."""
    match aggregation:
        case Terms():
            return TermsResult(terms=(), other_count=0)
        case Histogram():
            return HistogramResult(buckets=())
        case UniqueRecipients():
            return UniqueRecipientsResult(count=0)
        case Rates():
            return RatesResult()


def _terms(
    connection: sqlite3.Connection, condition: sqlite_statements.Where, terms: Terms
) -> TermsResult:
    total = _number(connection, sqlite_statements.count(condition), condition)
    if terms.field is TermsField.EVENT_TYPE:
        rows = connection.execute(sqlite_statements.count_by_type(condition), condition.parameters)
        found = [Term(value=EventType(number).name, count=count) for number, count in rows]
        found.sort(key=lambda term: (-term.count, term.value))
        found = found[: terms.size]
    else:
        parameters = (*condition.parameters, terms.size)
        rows = connection.execute(sqlite_statements.count_by_campaign(condition), parameters)
        found = [Term(value=campaign, count=count) for campaign, count in rows]
    return TermsResult(terms=found, other_count=total - sum(term.count for term in found))


def _histogram(
    connection: sqlite3.Connection,
    condition: sqlite_statements.Where,
    histogram: Histogram,
    limit: int,
) -> HistogramResult:
    """Counts by grain in SQLite, then rolls the grains up into calendar buckets.

    Raises:
        TooLong: there are more than limit buckets.
    """
    extent = connection.execute(sqlite_statements.extent(condition), condition.parameters)
    first_ms, last_ms = extent.fetchone()
    if first_ms is None:
        return HistogramResult(buckets=())
    buckets = buckets_between(
        first_ms,
        last_ms,
        interval=histogram.interval,
        time_zone=histogram.time_zone,
        limit=limit,
    )
    statement = sqlite_statements.count_by_grain(
        condition, grain=buckets.grain, by_type=histogram.by_event_type
    )
    rows = connection.execute(statement, condition.parameters)
    return HistogramResult(buckets=_rolled_up(rows, buckets, by_type=histogram.by_event_type))


def _rolled_up(rows: sqlite3.Cursor, buckets: Buckets, *, by_type: bool) -> list[Bucket]:
    counts = [0] * len(buckets.starts)
    types: list[dict[EventType, int]] = [{} for _ in buckets.starts]
    for grain, number, count in rows:
        place = buckets.place_of(grain * buckets.grain)
        counts[place] += count
        if by_type:
            event_type = EventType(number)
            types[place][event_type] = types[place].get(event_type, 0) + count
    filled = [place for place, count in enumerate(counts) if count]
    return [
        Bucket(start_ms=buckets.starts[place], count=counts[place], event_types=types[place])
        for place in range(filled[0], filled[-1] + 1)
    ]


def _unique_recipients(
    connection: sqlite3.Connection,
    condition: sqlite_statements.Where,
    unique: UniqueRecipients,
) -> UniqueRecipientsResult:
    count = _number(connection, sqlite_statements.count_recipients(condition), condition)
    if not unique.by_event_type:
        return UniqueRecipientsResult(count=count)
    statement = sqlite_statements.count_recipients_by_type(condition)
    rows = connection.execute(statement, condition.parameters)
    return UniqueRecipientsResult(
        count=count, event_types={EventType(number): recipients for number, recipients in rows}
    )


def _rates(connection: sqlite3.Connection, condition: sqlite_statements.Where) -> RatesResult:
    statement = sqlite_statements.message_outcomes(condition)
    sent, bounced, delivered, opened, clicked, complained = connection.execute(
        statement, condition.parameters
    ).fetchone()
    return RatesResult(
        sent=sent,
        bounced=bounced,
        delivered=delivered,
        opened=opened,
        clicked=clicked,
        complained=complained,
    )


def _number(
    connection: sqlite3.Connection, statement: str, condition: sqlite_statements.Where
) -> int:
    return int(connection.execute(statement, condition.parameters).fetchone()[0])
