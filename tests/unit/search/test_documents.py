"""Which events are taken, as silo/search/v1/event.proto says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from boundary.errors import InvalidArgument
from boundary.ids import TenantId
from services.search.documents import document_of, event_of, milliseconds_of
from silo.search.v1 import event_pb2

TENANT = TenantId("A")
NOW = int(time.time())


def struct(value: dict[str, Any]) -> Struct:
    made = Struct()
    made.update(value)
    return made


def event(**fields: Any) -> event_pb2.Event:
    values = {
        "event_id": "e-1",
        "event_type": event_pb2.EVENT_TYPE_OPEN,
        "timestamp": Timestamp(seconds=NOW),
        "recipient": "anna@example.com",
        **fields,
    }
    return event_pb2.Event(**{name: value for name, value in values.items() if value is not None})


class TestTaken:
    def test_an_event_comes_back_as_it_was_sent(self):
        sent = event(
            campaign_id="spring-1",
            timestamp=Timestamp(seconds=NOW, nanos=123_000_000),
            message_id="m",
            subject="Grüße\r\n",
            metadata=struct({"a": [1, "b", None, True, {"c": -0.5}], "": ""}),
        )
        assert event_of(document_of(sent, TENANT)) == sent

    def test_empty_metadata_and_none_stay_apart(self):
        assert not event_of(document_of(event(), TENANT)).HasField("metadata")
        assert event_of(document_of(event(metadata=Struct()), TENANT)).HasField("metadata")

    def test_time_is_kept_to_the_millisecond(self):
        document = document_of(event(timestamp=Timestamp(seconds=NOW, nanos=1_999_999)), TENANT)
        assert document.timestamp_ms == NOW * 1_000 + 1

    def test_strings_within_the_metadata_are_searched(self):
        document = document_of(
            event(metadata=struct({"k": "v", "n": {"l": ["x", 1, "y"]}})), TENANT
        )
        assert sorted(document.strings) == ["v", "x", "y"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"event_id": " ~" * 64},
            {"timestamp": Timestamp(seconds=946_684_800)},
            {"timestamp": Timestamp(seconds=NOW + 86_000)},
            {"recipient": "ä" * 320},
            {"message_id": "m" * 256},
            {"subject": "ß" * 998},
            {"metadata": struct({"a": "x" * (16 * 1024 - 8)})},
            {"campaign_id": "c" * 64},
        ],
    )
    def test_the_bounds_are_within(self, fields):
        assert document_of(event(**fields), TENANT).tenant_id == TENANT


class TestRefused:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("event_id", ""),
            ("event_id", "x" * 129),
            ("event_id", "ä"),
            ("event_id", "a\n"),
            ("event_id", "a\0"),
            ("event_type", 0),
            ("event_type", 11),
            ("event_type", -1),
            ("campaign_id", "a b"),
            ("campaign_id", "a#b"),
            ("campaign_id", "c" * 65),
            ("timestamp", None),
            ("timestamp", Timestamp()),
            ("timestamp", Timestamp(seconds=946_684_799, nanos=999_999_999)),
            ("timestamp", Timestamp(seconds=NOW + 172_800)),
            ("timestamp", Timestamp(seconds=2**62)),
            ("timestamp", Timestamp(seconds=-(2**62))),
            ("timestamp", Timestamp(seconds=NOW, nanos=-1)),
            ("timestamp", Timestamp(seconds=NOW, nanos=1_000_000_000)),
            ("recipient", ""),
            ("recipient", "  "),
            ("recipient", "a" * 321),
            ("recipient", "a\0@b"),
            ("recipient", "a\r\nb"),
            ("message_id", "m" * 257),
            ("message_id", "m\t"),
            ("subject", "s" * 999),
            ("metadata", struct({"a": "x" * (16 * 1024)})),
            ("metadata", struct({"a": float("nan")})),
            ("metadata", struct({"a": [float("-inf")]})),
        ],
    )
    def test_the_field_at_fault_is_named(self, field, value):
        with pytest.raises(InvalidArgument) as refused:
            document_of(event(**{field: value}), TENANT)
        assert refused.value.field == field

    @given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**31), 2**31 - 1))
    def test_no_timestamp_overflows_the_engine(self, seconds, nanos):
        try:
            instant = milliseconds_of(
                Timestamp(seconds=seconds, nanos=nanos), field="t", round_up=True
            )
        except InvalidArgument:
            return
        assert -(2**63) < instant < 2**63
