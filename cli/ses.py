"""Amazon SES event-publishing records as events.

The records are JSON lines, bare or each in an SNS notification. Their fields are those of the SES developer
guide, "Contents of event data that Amazon SES publishes to Amazon SNS". Whatever is wrong with one line is
reported for that line and never stops the file.

One record makes one event for each recipient that it is about: those that it names as bounced, complained,
delivered to or delayed, else every destination of the mail. SES does not say which of several destinations
opened a mail or followed a link, so such an Open or Click makes an event for each, as SES itself lists every
address that may have complained; its metadata then has `possibleRecipients`. Send one mail to one recipient, as
SES advises, and this does not arise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parseaddr
from typing import Any, BinaryIO

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from boundary.errors import InvalidArgument
from boundary.ids import parse_entity_id
from cli.ses_types import AMBIGUOUS, KINDS, OF_RECIPIENT, Kind
from silo.search.v1 import event_pb2

DEFAULT_CAMPAIGN_TAG = "campaign"
MAX_LINE_BYTES = 1024 * 1024
"""The longest line that is read. An SNS notification has at most 256 KB."""

MAX_METADATA_BYTES = 16 * 1024
MAX_SUBJECT = 998
_MAX_VALUE = 2_048
"""The longest string that is kept of a record's details, in characters."""

_MAX_DEPTH = 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A line, from 1, and the events that it makes."""

    line: int
    events: tuple[event_pb2.Event, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A line, from 1, that makes no events, and why, for people."""

    line: int
    reason: str


class UnusableRecord(ValueError):
    """A record makes no events; the text says why."""


def parse_file(
    stream: BinaryIO, *, campaign_tag: str = DEFAULT_CAMPAIGN_TAG
) -> Iterator[Taken | Problem]:
    """What each line of a file gives, in order; blank lines are passed over.

    Args:
        campaign_tag: the message tag whose value is the campaign's id.
    """
    for number, raw in _lines(stream):
        try:
            if raw is None:
                raise UnusableRecord(f"is longer than {MAX_LINE_BYTES} bytes")
            if raw.strip():
                yield Taken(line=number, events=parse_line(raw, campaign_tag=campaign_tag))
        except UnusableRecord as error:
            yield Problem(line=number, reason=str(error))


def parse_line(
    raw: bytes, *, campaign_tag: str = DEFAULT_CAMPAIGN_TAG
) -> tuple[event_pb2.Event, ...]:
    """The events of one line: a record, or an SNS notification with a record in it.

    Raises:
        UnusableRecord: there are none.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UnusableRecord(f"is not UTF-8 at byte {error.start}") from error
    return _events(_record(_json(text, "the line")), campaign_tag)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines and their numbers; None in place of one that is too long, which is never held in memory."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        if len(raw) <= MAX_LINE_BYTES or raw.endswith(b"\n"):
            yield number, raw
            continue
        while raw and not raw.endswith(b"\n"):
            raw = stream.readline(MAX_LINE_BYTES)
        yield number, None


def _json(text: str, what: str) -> Json:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UnusableRecord(f"{what} is not JSON at character {error.pos}: {error.msg}") from error
    if not isinstance(value, dict):
        raise UnusableRecord(f"{what} is not a JSON object")
    _require_shallow(value, what)
    return value


def _require_shallow(value: Json, what: str) -> None:
    """Returns where nothing is nested so deeply that walking through it would fail."""
    level: list[Any] = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise UnusableRecord(f"{what} is nested too deeply")


def _record(line: Json) -> Json:
    """The SES record of a line, taken out of its SNS envelope where it has one."""
    envelope = line.get("Type")
    if envelope is None or "eventType" in line:
        return line
    if envelope != "Notification":
        raise UnusableRecord(f"is an SNS {_shown(envelope)}, not a notification of an event")
    message = line.get("Message")
    if not isinstance(message, str):
        raise UnusableRecord("is an SNS notification without a Message")
    return _json(message, "the SNS notification's Message")


def _events(record: Json, campaign_tag: str) -> tuple[event_pb2.Event, ...]:
    name, kind = _kind(record)
    mail = _object(record, "mail")
    detail = (
        {} if kind.optional and record.get(kind.detail) is None else _object(record, kind.detail)
    )
    where = kind.detail if detail.get("timestamp") is not None else "mail"
    instant_ms = _milliseconds(detail if where == kind.detail else mail, where)
    message_id = _text(mail, "messageId", "mail")
    recipients = _recipients(kind, detail, mail)
    several = len(recipients) > 1 and kind.event_type in AMBIGUOUS
    shared = {member: detail[member] for member in kind.kept if detail.get(member) is not None}
    if several:
        shared["possibleRecipients"] = len(recipients)
    campaign_id, subject = _campaign(mail, campaign_tag), _subject(mail)
    return tuple(
        _event(
            event_pb2.Event(
                event_id=_event_id(name, message_id, address, instant_ms, detail),
                event_type=kind.event_type,
                campaign_id=campaign_id,
                timestamp=Timestamp(
                    seconds=instant_ms // 1_000, nanos=instant_ms % 1_000 * 1_000_000
                ),
                recipient=address,
                message_id=message_id,
                subject=subject,
            ),
            {**shared, **own},
        )
        for address, own in recipients.items()
    )


def _event(event: event_pb2.Event, metadata: dict[str, Any]) -> event_pb2.Event:
    kept = _clipped(metadata)
    if len(orjson.dumps(kept)) > MAX_METADATA_BYTES:
        raise UnusableRecord(f"has more than {MAX_METADATA_BYTES} bytes of details")
    if kept:
        event.metadata.update(kept)
    return event


def _event_id(name: str, message_id: str, address: str, instant_ms: int, detail: Json) -> str:
    """The same for the same event however often it is published, and different for any two events.

    Two clicks on two links, or two opens a second apart, differ in their details.
    """
    parts = [name, message_id, address.lower(), instant_ms, detail]
    return (
        "ses-" + hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:40]
    )


def _kind(record: Json) -> tuple[str, Kind]:
    # Feedback notifications, which are older than event publishing, call it notificationType.
    name = record.get("eventType", record.get("notificationType"))
    if name is None:
        raise UnusableRecord("has no eventType; it is no SES event")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UnusableRecord(f"has the unknown eventType {_shown(name)}")
    return str(name), kind


def _recipients(kind: Kind, detail: Json, mail: Json) -> dict[str, dict[str, Any]]:
    """The addresses that the record is about, each once, with what it says about that one."""
    listed = detail.get(kind.recipients) if kind.recipients else None
    where = f"{kind.detail}.{kind.recipients}"
    if isinstance(listed, dict):
        listed = [listed]  # the guide calls delayedRecipients an object
    if not listed:
        listed, where = mail.get("destination"), "mail.destination"
    if not isinstance(listed, list) or not listed:
        raise UnusableRecord(f"{where} is not a list of recipients")
    found: dict[str, dict[str, Any]] = {}
    known: set[str] = set()
    for entry in listed:
        about = entry if isinstance(entry, dict) else {"emailAddress": entry}
        address = _address(_text(about, "emailAddress", where))
        if address.lower() not in known:
            known.add(address.lower())
            found[address] = {
                member: about[member] for member in OF_RECIPIENT if about.get(member) is not None
            }
    return found


def _address(raw: str) -> str:
    """The bare address; a bounce may name its recipient as `Anna <anna@example.com>`."""
    return parseaddr(raw)[1] or raw if "<" in raw else raw.strip()


def _campaign(mail: Json, tag: str) -> str:
    """The campaign's id: the tag's first value, or empty where the mail has no such tag."""
    value = _tags(mail).get(tag)
    if isinstance(value, list):
        value = value[0] if value else None
    if value is None:
        value = _header_tags(mail).get(tag)
    if value is None:
        return ""
    try:
        return parse_entity_id(value if isinstance(value, str) else "", field=tag)
    except InvalidArgument as error:
        raise UnusableRecord(
            f"the tag {tag} has {_shown(value)}, which is no campaign id"
        ) from error


def _tags(mail: Json) -> Json:
    return {} if mail.get("tags") is None else _object(mail, "tags", "mail.")


def _header_tags(mail: Json) -> dict[str, str]:
    """The tags of the X-SES-MESSAGE-TAGS header (`name=value, name=value`), for records without `tags`."""
    headers = mail.get("headers")
    for header in headers if isinstance(headers, list) else ():
        if isinstance(header, dict) and str(header.get("name")).upper() == "X-SES-MESSAGE-TAGS":
            pairs = (pair.partition("=") for pair in str(header.get("value")).split(","))
            return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}
    return {}


def _subject(mail: Json) -> str:
    headers = mail.get("commonHeaders")
    subject = headers.get("subject") if isinstance(headers, dict) else None
    return subject[:MAX_SUBJECT] if isinstance(subject, str) else ""


def _milliseconds(holder: Json, where: str) -> int:
    raw = _text(holder, "timestamp", where)
    try:
        instant = datetime.fromisoformat(raw)
        if instant.tzinfo is None:
            raise UnusableRecord(f"{where}.timestamp has no time zone")
        return (instant - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError) as error:
        if isinstance(error, UnusableRecord):
            raise
        raise UnusableRecord(f"{where}.timestamp is no ISO 8601 time: {_shown(raw)}") from error


def _object(holder: Json, member: str, prefix: str = "") -> Json:
    value = holder.get(member)
    if value is None:
        raise UnusableRecord(f"{prefix}{member} is missing")
    if not isinstance(value, dict):
        raise UnusableRecord(f"{prefix}{member} is not an object")
    return value


def _text(holder: Json, member: str, where: str) -> str:
    value = holder.get(member)
    if value is None:
        raise UnusableRecord(f"{where}.{member} is missing")
    if not isinstance(value, str) or not value.strip():
        raise UnusableRecord(f"{where}.{member} is not a text")
    return value


def _clipped(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MAX_VALUE]
    if isinstance(value, dict):
        return {name: _clipped(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_clipped(element) for element in value]
    return value


def _shown(value: Any) -> str:
    """A value as it can stand in a report: short, on one line."""
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
