"""Events as they are sent and as they are indexed.

What an event may hold stands in silo/search/v1/event.proto; this is where it is checked.
"""

from __future__ import annotations

import math
import re
import time
from typing import cast

import orjson
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from boundary.errors import InvalidArgument
from boundary.ids import TenantId, parse_entity_id
from services.search.ports import Document, EventType
from silo.search.v1 import event_pb2

MAX_RECIPIENT = 320
MAX_MESSAGE_ID = 256
MAX_SUBJECT = 998
MAX_METADATA_BYTES = 16 * 1024

_EVENT_ID = re.compile(r"[\x20-\x7e]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_EARLIEST = 946_684_800
"""2000-01-01T00:00:00Z in seconds since the epoch."""

_LATEST = 253_402_300_799
"""9999-12-31T23:59:59Z, the end of google.protobuf.Timestamp's range."""

_BEGINNING = -62_135_596_800
"""0001-01-01T00:00:00Z, its beginning."""

_DAY = 24 * 3_600
_TYPES = {int(event_type): event_type for event_type in EventType}

Plain = str | float | bool | None | list["Plain"] | dict[str, "Plain"]


def document_of(event: event_pb2.Event, tenant_id: TenantId) -> Document:
    """The event as it is indexed.

    Raises:
        InvalidArgument: a field is out of grammar or range; the error names it.
    """
    strings: list[str] = []
    return Document(
        tenant_id=tenant_id,
        event_id=_event_id(event.event_id),
        event_type=event_type_of(event.event_type, field="event_type"),
        campaign_id=parse_entity_id(event.campaign_id, field="campaign_id")
        if event.campaign_id
        else "",
        timestamp_ms=_event_time(event),
        recipient=_address(event.recipient),
        message_id=_line(event.message_id, MAX_MESSAGE_ID, field="message_id"),
        subject=_bounded(event.subject, MAX_SUBJECT, field="subject"),
        metadata=_metadata(event.metadata, strings) if event.HasField("metadata") else "",
        strings=tuple(strings),
    )


def event_of(document: Document) -> event_pb2.Event:
    """The event as it was sent."""
    event = event_pb2.Event(
        event_id=document.event_id,
        event_type=cast("event_pb2.EventType.ValueType", int(document.event_type)),
        campaign_id=document.campaign_id,
        timestamp=timestamp_of(document.timestamp_ms),
        recipient=document.recipient,
        message_id=document.message_id,
        subject=document.subject,
    )
    if document.metadata:
        event.metadata.SetInParent()
        event.metadata.update(orjson.loads(document.metadata))
    return event


def event_type_of(number: int, *, field: str) -> EventType:
    """The event type of a number.

    Raises:
        InvalidArgument: there is none.
    """
    event_type = _TYPES.get(number)
    if event_type is None:
        raise InvalidArgument(field, "must be one of the event types")
    return event_type


def milliseconds_of(timestamp: Timestamp, *, field: str, round_up: bool = False) -> int:
    """Milliseconds since the epoch, rounded down or up.

    Raises:
        InvalidArgument: the timestamp is none (google/protobuf/timestamp.proto).
    """
    in_range = _BEGINNING <= timestamp.seconds <= _LATEST and 0 <= timestamp.nanos < 1_000_000_000
    if not in_range:
        raise InvalidArgument(field, "must be a time in the years 1 to 9999")
    nanos = timestamp.nanos + 999_999 if round_up else timestamp.nanos
    return timestamp.seconds * 1_000 + nanos // 1_000_000


def timestamp_of(instant_ms: int) -> Timestamp:
    """The instant as a Timestamp."""
    return Timestamp(seconds=instant_ms // 1_000, nanos=instant_ms % 1_000 * 1_000_000)


def _event_id(raw: str) -> str:
    if _EVENT_ID.fullmatch(raw) is None:
        raise InvalidArgument("event_id", "must be 1 to 128 printable ASCII characters")
    return raw


def _event_time(event: event_pb2.Event) -> int:
    if not event.HasField("timestamp"):
        raise InvalidArgument("timestamp", "is required")
    instant_ms = milliseconds_of(event.timestamp, field="timestamp")
    if not _EARLIEST * 1_000 <= instant_ms <= (time.time() + _DAY) * 1_000:
        raise InvalidArgument("timestamp", "must be from 2000-01-01 to a day from now")
    return instant_ms


def _address(raw: str) -> str:
    if not raw.strip():
        raise InvalidArgument("recipient", "is required")
    return _line(raw, MAX_RECIPIENT, field="recipient")


def _line(raw: str, length: int, *, field: str) -> str:
    if _CONTROL.search(raw):
        raise InvalidArgument(field, "must hold no control characters")
    return _bounded(raw, length, field=field)


def _bounded(raw: str, length: int, *, field: str) -> str:
    if len(raw) > length:
        raise InvalidArgument(field, f"must have at most {length} characters")
    return raw


def strings_in(metadata: str) -> tuple[str, ...]:
    """The strings within metadata as it is kept: those that text search covers."""
    found: list[str] = []
    waiting: list[object] = [orjson.loads(metadata)] if metadata else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return tuple(found)


def _metadata(metadata: Struct, strings: list[str]) -> str:
    """The metadata as JSON text; the strings in it are appended to strings."""
    text = orjson.dumps(_object(metadata, strings))
    if len(text) > MAX_METADATA_BYTES:
        raise InvalidArgument("metadata", f"must have at most {MAX_METADATA_BYTES} bytes as JSON")
    return text.decode()


def _object(struct: Struct, strings: list[str]) -> dict[str, Plain]:
    return {name: _plain(value, strings) for name, value in struct.fields.items()}


def _plain(value: Value, strings: list[str]) -> Plain:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        strings.append(value.string_value)
        return value.string_value
    if kind == "number_value":
        if not math.isfinite(value.number_value):
            raise InvalidArgument("metadata", "must hold finite numbers only")
        return value.number_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return _object(value.struct_value, strings)
    if kind == "list_value":
        return [_plain(element, strings) for element in value.list_value.values]
    return None
