"""Filters and aggregations as they are asked for and as the port takes them.

What they may hold stands in silo/search/v1/event.proto; this is where it is checked.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from boundary.errors import InvalidArgument
from boundary.ids import parse_entity_id
from services.search.calendars import time_zones
from services.search.documents import MAX_RECIPIENT, event_type_of, milliseconds_of
from services.search.ports import (
    Aggregation,
    CalendarInterval,
    Filter,
    Histogram,
    Rates,
    Terms,
    TermsField,
    UniqueRecipients,
)
from silo.search.v1 import event_pb2

MAX_AGGREGATIONS = 8
MAX_CAMPAIGNS = 100
MAX_EVENT_TYPES = 10
MAX_TEXT = 256
DEFAULT_TERMS = 10
MAX_TERMS = 1_000

_INTERVALS: dict[int, CalendarInterval] = {
    event_pb2.CALENDAR_INTERVAL_HOUR: CalendarInterval.HOUR,
    event_pb2.CALENDAR_INTERVAL_DAY: CalendarInterval.DAY,
    event_pb2.CALENDAR_INTERVAL_WEEK: CalendarInterval.WEEK,
    event_pb2.CALENDAR_INTERVAL_MONTH: CalendarInterval.MONTH,
}
_FIELDS: dict[int, TermsField] = {
    event_pb2.TERMS_FIELD_EVENT_TYPE: TermsField.EVENT_TYPE,
    event_pb2.TERMS_FIELD_CAMPAIGN_ID: TermsField.CAMPAIGN_ID,
}


def filter_of(message: event_pb2.EventFilter) -> Filter:
    """The filter of a message.

    Raises:
        InvalidArgument: a field is out of grammar or range; the error names it.
    """
    start_ms = end_ms = None
    if message.HasField("start_time"):
        start_ms = milliseconds_of(message.start_time, field="filter.start_time", round_up=True)
    if message.HasField("end_time"):
        end_ms = milliseconds_of(message.end_time, field="filter.end_time", round_up=True)
    if start_ms is not None and end_ms is not None and end_ms < start_ms:
        raise InvalidArgument("filter.end_time", "must not be before start_time")
    if len(message.recipient) > MAX_RECIPIENT:
        raise InvalidArgument("filter.recipient", f"must have at most {MAX_RECIPIENT} characters")
    if len(message.event_types) > MAX_EVENT_TYPES:
        raise InvalidArgument("filter.event_types", f"must name at most {MAX_EVENT_TYPES} types")
    return Filter(
        event_types=frozenset(
            event_type_of(number, field=f"filter.event_types[{place}]")
            for place, number in enumerate(message.event_types)
        ),
        campaign_ids=_campaigns(message.campaign_ids),
        recipient_key=message.recipient.lower() or None,
        start_ms=start_ms,
        end_ms=end_ms,
        phrases=_phrases(message.text),
    )


def aggregations_of(messages: Sequence[event_pb2.Aggregation]) -> list[Aggregation]:
    """The aggregations of messages.

    Raises:
        InvalidArgument: there are none or too many, or a field of one is out of range; the error names it.
    """
    if not 1 <= len(messages) <= MAX_AGGREGATIONS:
        raise InvalidArgument("aggregations", f"must be 1 to {MAX_AGGREGATIONS}")
    return [
        _aggregation(message, f"aggregations[{place}]") for place, message in enumerate(messages)
    ]


def _aggregation(message: event_pb2.Aggregation, field: str) -> Aggregation:
    kind = message.WhichOneof("kind")
    if kind == "terms":
        return _terms(message.terms, f"{field}.terms")
    if kind == "histogram":
        return _histogram(message.histogram, f"{field}.histogram")
    if kind == "unique_recipients":
        return UniqueRecipients(by_event_type=message.unique_recipients.by_event_type)
    if kind == "rates":
        return Rates()
    raise InvalidArgument(field, "must be one of the ways of adding up")


def _terms(message: event_pb2.TermsAggregation, field: str) -> Terms:
    terms_field = _FIELDS.get(message.field)
    if terms_field is None:
        raise InvalidArgument(f"{field}.field", "must be the event type or the campaign")
    if message.size < 0:
        raise InvalidArgument(f"{field}.size", "must not be negative")
    return Terms(field=terms_field, size=min(message.size or DEFAULT_TERMS, MAX_TERMS))


def _histogram(message: event_pb2.HistogramAggregation, field: str) -> Histogram:
    interval = _INTERVALS.get(message.interval)
    if interval is None:
        raise InvalidArgument(f"{field}.interval", "must be an hour, a day, a week or a month")
    time_zone = message.time_zone or "UTC"
    if time_zone not in time_zones():
        raise InvalidArgument(f"{field}.time_zone", "must be a time zone of the IANA database")
    return Histogram(interval=interval, time_zone=time_zone, by_event_type=message.by_event_type)


def _campaigns(raw: Sequence[str]) -> frozenset[str]:
    if len(raw) > MAX_CAMPAIGNS:
        raise InvalidArgument("filter.campaign_ids", f"must be at most {MAX_CAMPAIGNS}")
    return frozenset(
        parse_entity_id(campaign, field=f"filter.campaign_ids[{place}]")
        for place, campaign in enumerate(raw)
    )


def _phrases(text: str) -> tuple[str, ...]:
    """Each word of a text as runs of letters and digits: `anna@example.com` is the phrase `anna example com`.

    Raises:
        InvalidArgument: the text is too long, or not blank and without a letter or digit.
    """
    if len(text) > MAX_TEXT:
        raise InvalidArgument("filter.text", f"must have at most {MAX_TEXT} characters")
    phrases = tuple(dict.fromkeys(filter(None, map(phrase_of, text.split()))))
    if text.strip() and not phrases:
        raise InvalidArgument("filter.text", "must hold a letter or a digit")
    return phrases


def phrase_of(word: str) -> str:
    """A word as runs of letters and digits between single spaces; empty where it has none."""
    return " ".join("".join(map(_letter_or_space, word)).split())


def _letter_or_space(character: str) -> str:
    """The character where it can be part of a word; marks are, because they follow the letter they change."""
    keep = character.isalnum() or unicodedata.category(character).startswith("M")
    return character if keep else " "
