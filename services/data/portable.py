"""Items as a tenant sees them, a line of JSON each: how they leave in an archive and come in from one.

A resource is `{"campaign": {...}}`, its message in protobuf's JSON with etag and times; a counter is its total
over all shards, `{"counter": {"date": ..., "metric": ..., "value": ...}}`; the settings are
`{"tenant_config": {...}}`. What comes in is checked like what callers send: an archive may come from anywhere. See
docs/adr/0017-archives.md.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from boundary.errors import InvalidArgument
from boundary.ids import parse_entity_id
from boundary.json_lines import Line
from boundary.scope import Partition
from services.data import analytics, config
from services.data.codec import NANOS
from services.data.intents import without_intent
from services.data.ports import content_path
from services.data.resources import BY_SINGULAR, KINDS, TEMPLATES, Kind, is_visible
from services.table.guard import SETTINGS_ATTRIBUTES
from services.table.ports import ABSENT, Condition, Item, Put, Stored, Update, Write
from silo.data.v1.tenant_config_pb2 import TenantConfig

COUNTER = "counter"
CONFIG = "tenant_config"

_BY_ENTITY = {kind.entity: kind for kind in KINDS}
_ETAG = re.compile(r"[\x21-\x7e]{1,128}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"-?[0-9]{1,38}")


async def portable_lines(stored: AsyncIterator[Stored]) -> AsyncIterator[Line]:
    """The lines of items that come in the order of their keys; what callers never see is left out.

    The shards of a counter follow each other in that order, and make one line.
    """
    total: tuple[str, str, int, bytes] | None = None
    async for each in stored:
        place = each.sort_key.encode()
        counter = analytics.counter_at(each)
        if total is not None and counter is not None and total[:2] == counter[:2]:
            total = (*counter[:2], total[2] + counter[2], place)
            continue
        if total is not None:
            yield _counter_line(*total)
            total = None
        if counter is not None:
            total = (*counter, place)
            continue
        shown = _shown(each)
        if shown is not None:
            yield Line(text=orjson.dumps(shown), position=place)
    if total is not None:
        yield _counter_line(*total)


def portable_write(partition: Partition, line: bytes) -> Write:
    """The write that brings a line in; it does nothing where what the line names is there already.

    Raises:
        InvalidArgument: the line is none, or what it holds breaks a rule; the error names the field.
    """
    ((singular, value),) = _parsed(line).items()
    if singular == COUNTER:
        return _counter_write(partition, value)
    if singular == CONFIG:
        return _config_write(value)
    kind = BY_SINGULAR.get(singular)
    if kind is None:
        raise InvalidArgument("line", "is of no kind that there is", reason="ARCHIVE_LINE_INVALID")
    return _resource_write(partition, kind, value)


def _shown(stored: Stored) -> dict[str, Any] | None:
    entity, _, entity_id = stored.sort_key.partition("#")
    if stored.sort_key == config.SORT_KEY:
        if not SETTINGS_ATTRIBUTES & stored.item.keys():
            return None
        return {CONFIG: _json_of(config.config_of(stored.item))}
    kind = _BY_ENTITY.get(entity)
    if kind is None or not is_visible(stored.item):
        return None
    item = without_intent(stored.item) if kind is TEMPLATES else stored.item
    return {kind.singular: _json_of(kind.codec.decode(kind.name(entity_id), item))}


def _json_of(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def _counter_line(date: str, metric: str, value: int, place: bytes) -> Line:
    # As text, like 64-bit integers in protobuf's JSON: many readers of JSON know floats only.
    shown = {COUNTER: {"date": date, "metric": metric, "value": str(value)}}
    return Line(text=orjson.dumps(shown), position=place)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument("line", "is no JSON", reason="ARCHIVE_LINE_INVALID") from error
    if not isinstance(value, dict) or len(value) != 1:
        raise InvalidArgument("line", "must hold one resource", reason="ARCHIVE_LINE_INVALID")
    return value


def _message(message_type: type[Any], value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise InvalidArgument(path, "must be an object", reason="ARCHIVE_LINE_INVALID")
    try:
        return json_format.ParseDict(value, message_type())
    except json_format.ParseError as error:
        raise InvalidArgument(
            path, "is not the JSON of its message", reason="ARCHIVE_LINE_INVALID"
        ) from error


def _resource_write(partition: Partition, kind: Kind[Any], value: Any) -> Write:
    path = kind.singular
    message = _message(kind.codec.message_type, value, path)
    entity_id = kind.parse_name(message.name, path=f"{path}.name")
    parse_entity_id(entity_id, field=f"{path}.name")
    for name, rule in kind.rules.items():
        rule(getattr(message, name), f"{path}.{name}")
    item: Item = {
        **kind.defaults,
        **kind.codec.encode(message, path=path),
        "create_time": _nanos(message.create_time, f"{path}.create_time"),
        "update_time": _nanos(message.update_time, f"{path}.update_time"),
        "etag": _etag(message.etag, f"{path}.etag"),
    }
    if kind is TEMPLATES:
        if _SHA256.fullmatch(message.content_sha256) is None or message.content_size < 1:
            raise InvalidArgument(f"{path}.content_sha256", "must describe the content")
        item |= {
            "content_path": content_path(entity_id),
            "content_size": message.content_size,
            "content_sha256": message.content_sha256,
        }
    item |= kind.derived(item)
    item |= kind.index_entries(partition, entity_id, item)
    return Put(sort_key=kind.sort_key(entity_id), item=item, condition=ABSENT)


def _config_write(value: Any) -> Write:
    message = _message(TenantConfig, value, CONFIG)
    settings = config.settings_item(message, path=CONFIG)
    if message.HasField("update_time"):
        settings["update_time"] = _nanos(message.update_time, f"{CONFIG}.update_time")
    return Update(
        sort_key=config.SORT_KEY,
        set={"settings": settings, "settings_etag": _etag(message.etag, f"{CONFIG}.etag")},
        condition=Condition(exists=True, equals={"settings_etag": None}),
    )


def _counter_write(partition: Partition, value: Any) -> Write:
    if not isinstance(value, dict) or set(value) != {"date", "metric", "value"}:
        raise InvalidArgument(COUNTER, "must hold date, metric and value")
    date, metric, number = (str(value[name]) for name in ("date", "metric", "value"))
    if _NUMBER.fullmatch(number) is None:
        raise InvalidArgument(f"{COUNTER}.value", "must be an integer of up to 38 digits")
    return Put(
        sort_key=analytics.sort_key_of(date, metric, path=COUNTER),
        item={"value": int(number), **analytics.index_entry(partition, date, metric)},
        condition=ABSENT,
    )


def _nanos(timestamp: Timestamp, path: str) -> int:
    if timestamp.seconds <= 0:
        raise InvalidArgument(path, "must be set")
    return timestamp.seconds * NANOS + timestamp.nanos


def _etag(raw: str, path: str) -> str:
    if _ETAG.fullmatch(raw) is None:
        raise InvalidArgument(path, "must be an etag")
    return raw
