"""Which filters and aggregations are taken, as silo/search/v1/event.proto says."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from boundary.errors import InvalidArgument
from services.search.ports import (
    CalendarInterval,
    EventType,
    Filter,
    Histogram,
    Rates,
    Terms,
    TermsField,
    UniqueRecipients,
)
from services.search.queries import aggregations_of, filter_of
from services.search.sqlite_statements import where
from silo.search.v1 import event_pb2


def asked(**kind: Any) -> list[event_pb2.Aggregation]:
    return [event_pb2.Aggregation(**kind)]


class TestFilters:
    def test_an_empty_filter_means_everything(self):
        assert filter_of(event_pb2.EventFilter()) == Filter()

    def test_a_filter_in_full(self):
        message = event_pb2.EventFilter(
            event_types=[event_pb2.EVENT_TYPE_OPEN, event_pb2.EVENT_TYPE_OPEN],
            campaign_ids=["spring", "autumn"],
            recipient="Anna@Example.COM",
            start_time=Timestamp(seconds=1, nanos=1),
            end_time=Timestamp(seconds=2),
            text=' sale  "x-9" anna@example.com sale ',
        )
        assert filter_of(message) == Filter(
            event_types=frozenset({EventType.OPEN}),
            campaign_ids=frozenset({"spring", "autumn"}),
            recipient_key="anna@example.com",
            start_ms=1_001,
            end_ms=2_000,
            phrases=("sale", "x 9", "anna example com"),
        )

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"event_types": [0]}, "filter.event_types[0]"),
            ({"event_types": [3, 99]}, "filter.event_types[1]"),
            ({"campaign_ids": ["ok", "not ok"]}, "filter.campaign_ids[1]"),
            ({"campaign_ids": [""]}, "filter.campaign_ids[0]"),
            ({"campaign_ids": ["c"] * 101}, "filter.campaign_ids"),
            ({"recipient": "x" * 321}, "filter.recipient"),
            ({"start_time": Timestamp(seconds=2**60)}, "filter.start_time"),
            ({"end_time": Timestamp(nanos=-1)}, "filter.end_time"),
            (
                {"start_time": Timestamp(seconds=2), "end_time": Timestamp(seconds=1)},
                "filter.end_time",
            ),
            ({"text": "x" * 257}, "filter.text"),
            ({"text": '"* - ()'}, "filter.text"),
        ],
    )
    def test_the_field_at_fault_is_named(self, fields, field):
        with pytest.raises(InvalidArgument) as refused:
            filter_of(event_pb2.EventFilter(**fields))
        assert refused.value.field == field

    @given(st.text(max_size=256))
    def test_no_text_becomes_query_syntax(self, text):
        try:
            filter_ = filter_of(event_pb2.EventFilter(text=text))
        except InvalidArgument:
            return
        for phrase in filter_.phrases:
            assert not set(phrase) & set('"*-^:(){}+\0')
        assert where(filter_).sql.count("?") == len(where(filter_).parameters)


class TestAggregations:
    def test_defaults(self):
        terms = event_pb2.TermsAggregation(field=event_pb2.TERMS_FIELD_CAMPAIGN_ID)
        histogram = event_pb2.HistogramAggregation(interval=event_pb2.CALENDAR_INTERVAL_WEEK)
        unique = event_pb2.UniqueRecipientsAggregation()
        assert aggregations_of(
            [
                *asked(terms=terms),
                *asked(histogram=histogram),
                *asked(unique_recipients=unique),
                *asked(rates=event_pb2.RatesAggregation()),
            ]
        ) == [
            Terms(field=TermsField.CAMPAIGN_ID, size=10),
            Histogram(interval=CalendarInterval.WEEK, time_zone="UTC", by_event_type=False),
            UniqueRecipients(by_event_type=False),
            Rates(),
        ]

    def test_terms_are_at_most_a_thousand(self):
        terms = event_pb2.TermsAggregation(field=event_pb2.TERMS_FIELD_EVENT_TYPE, size=5_000)
        assert aggregations_of(asked(terms=terms)) == [
            Terms(field=TermsField.EVENT_TYPE, size=1_000)
        ]

    @pytest.mark.parametrize(
        ("messages", "field"),
        [
            ([], "aggregations"),
            (asked(rates=event_pb2.RatesAggregation()) * 9, "aggregations"),
            (asked(), "aggregations[0]"),
            (asked(terms=event_pb2.TermsAggregation()), "aggregations[0].terms.field"),
            (asked(terms=event_pb2.TermsAggregation(field=9)), "aggregations[0].terms.field"),
            (
                asked(terms=event_pb2.TermsAggregation(field=1, size=-1)),
                "aggregations[0].terms.size",
            ),
            (
                asked(histogram=event_pb2.HistogramAggregation()),
                "aggregations[0].histogram.interval",
            ),
        ],
    )
    def test_the_field_at_fault_is_named(self, messages, field):
        with pytest.raises(InvalidArgument) as refused:
            aggregations_of(messages)
        assert refused.value.field == field

    @pytest.mark.parametrize(
        "zone",
        [
            "Mars/Olympus",
            "europe/berlin",
            "../../etc/passwd",
            "/etc/passwd",
            "Europe",
            "a\0b",
            "é",
            " ",
        ],
    )
    def test_a_time_zone_must_be_in_the_database(self, zone):
        histogram = event_pb2.HistogramAggregation(interval=1, time_zone=zone)
        with pytest.raises(InvalidArgument) as refused:
            aggregations_of(asked(histogram=histogram))
        assert refused.value.field == "aggregations[0].histogram.time_zone"
