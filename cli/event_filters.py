"""Which events are meant: the options that search, count and report share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from cli.command import option
from cli.failures import Failure
from cli.fields import json_value
from cli.render import enum_prefix
from silo.search.v1 import event_pb2

_PANEL = "Which events"
_TYPES = event_pb2.EventType.DESCRIPTOR
_TYPE_FIELD = event_pb2.Event.DESCRIPTOR.fields_by_name["event_type"]
_TYPE_WORDS = ", ".join(
    value.name.removeprefix(enum_prefix(_TYPES)).lower() for value in _TYPES.values if value.number
)

FILTER_OPTIONS = (
    option(
        "types",
        Annotated[
            list[str] | None,
            typer.Option("--type", help=f"May be repeated: {_TYPE_WORDS}.", rich_help_panel=_PANEL),
        ],
        None,
    ),
    option(
        "campaigns",
        Annotated[
            list[str] | None,
            typer.Option(
                "--campaign", help="A campaign's id; may be repeated.", rich_help_panel=_PANEL
            ),
        ],
        None,
    ),
    option(
        "recipient",
        Annotated[str, typer.Option("--recipient", help="An address.", rich_help_panel=_PANEL)],
        "",
    ),
    option(
        "start",
        Annotated[
            str,
            typer.Option(
                "--start",
                metavar="TIME",
                help="At this time or later (ISO 8601; UTC unless said).",
                rich_help_panel=_PANEL,
            ),
        ],
        "",
    ),
    option(
        "end",
        Annotated[
            str,
            typer.Option("--end", metavar="TIME", help="Before this time.", rich_help_panel=_PANEL),
        ],
        "",
    ),
    option(
        "text",
        Annotated[
            str,
            typer.Option(
                "--text",
                help="Words in recipient, subject, message id or metadata.",
                rich_help_panel=_PANEL,
            ),
        ],
        "",
    ),
)


def filter_of(options: Mapping[str, Any]) -> event_pb2.EventFilter:
    """The filter that the options say.

    Raises:
        Failure: a type or a time is malformed.
    """
    chosen = event_pb2.EventFilter(
        event_types=[
            event_pb2.EventType.Value(json_value(_TYPE_FIELD, word))
            for word in options["types"] or ()
        ],
        campaign_ids=options["campaigns"] or (),
        recipient=options["recipient"],
        text=options["text"],
    )
    for name, stamp in (("start", chosen.start_time), ("end", chosen.end_time)):
        if options[name]:
            stamp.FromDatetime(_time(options[name], f"--{name}"))
    return chosen


def type_word(number: int) -> str:
    """An event type in a word."""
    value = _TYPES.values_by_number.get(number)
    return str(number) if value is None else type_of_name(value.name)


def type_of_name(name: str) -> str:
    """An event type's name as a word: `EVENT_TYPE_OPEN` is `open`."""
    return name.removeprefix(enum_prefix(_TYPES)).lower()


def _time(text: str, flag: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise Failure(
            f"{flag} takes a time such as 2024-01-15 or 2024-01-15T08:00:00Z, not {text!r}"
        ) from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
