"""What people see: tables and records on a console, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import json_format, timestamp_pb2
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH = 240


def console(*, stderr: bool = False) -> Console:
    """A console that does not fold tables to 80 columns where no terminal limits them."""
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _PIPED_WIDTH
    return made


def document(message: Message) -> dict[str, Any]:
    """A message as JSON, with every field that has a default and the names of the protos."""
    rendered: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return rendered


def print_json(value: Any) -> None:
    """Prints one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_record(message: Message) -> None:
    """Prints the populated fields of a message, a line each."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in _rows(message):
        grid.add_row(name, Text(value))
    console().print(grid)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Prints rows under headings, or what is said where there are none."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in columns:
        numeric = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if numeric else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        console(stderr=True).print(empty, style="dim")


def cell(message: Message, name: str) -> str:
    """One field of a message, for people."""
    field = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not message.HasField(name):
        return ""
    return _shown(field, getattr(message, name))


def moment(stamp: timestamp_pb2.Timestamp) -> str:
    """A time to the second, in UTC."""
    return stamp.ToDatetime().strftime("%Y-%m-%d %H:%M:%SZ")


def enum_word(enum: EnumDescriptor, number: int) -> str:
    """An enum's value in a word: `CAMPAIGN_STATUS_SENT` is `sent`."""
    value = enum.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix(enum_prefix(enum)).lower()


def enum_prefix(enum: EnumDescriptor) -> str:
    """What the names of an enum's values begin with (buf's ENUM_VALUE_PREFIX)."""
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")


def size(count: int) -> str:
    """A number of bytes, for people."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return str(count)


def _rows(message: Message, prefix: str = "") -> Iterable[tuple[str, str]]:
    for field, value in message.ListFields():
        kind = field.message_type
        nested = kind is not None and not field.is_repeated
        if kind is not None and nested and not kind.full_name.startswith("google."):
            yield from _rows(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", _shown(field, value)


def _shown(field: Any, value: Any) -> str:
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return ", ".join(f"{key}={value[key]}" for key in sorted(value))
    if field.is_repeated:
        return ", ".join(_one(field, item) for item in value)
    return _one(field, value)


def _one(field: Any, value: Any) -> str:
    if field.enum_type is not None:
        return enum_word(field.enum_type, value) if value else ""
    if isinstance(value, timestamp_pb2.Timestamp):
        return moment(value)
    if isinstance(value, Message):
        return json.dumps(
            json_format.MessageToDict(value, preserving_proto_field_name=True), ensure_ascii=False
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
