"""Fields of a message on the command line, made from its descriptor.

A new field in a proto is an option of `create` and `update` without anyone remembering it here.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from google.api import field_behavior_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from cli.command import option
from cli.failures import Failure
from cli.render import enum_prefix

_PANEL = "Fields"
_TIMESTAMP = "google.protobuf.Timestamp"
_WHOLE = frozenset({FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64})


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOption:
    """An option that sets one field.

    Attributes:
        path: the field's place, for example `("limits", "max_object_bytes")`.
        descriptor: the field.
    """

    path: tuple[str, ...]
    descriptor: FieldDescriptor

    @property
    def name(self) -> str:
        """The option's name in a signature; what is switched on by `enabled` is called by its own name."""
        return self.path[-2] if self.path[-1] == "enabled" and self.path[1:] else self.path[-1]

    @property
    def flag(self) -> str:
        """The option's name on the command line."""
        return "--" + self.name.replace("_", "-")

    def parameter(self) -> inspect.Parameter:
        """The option, for a command's signature."""
        declared = (f"{self.flag}/--no-{self.flag[2:]}",) if self._is_bool else (self.flag,)
        info = typer.Option(
            *declared,
            metavar=self._metavar,
            help=self._help,
            rich_help_panel=_PANEL,
            show_default=False,
        )
        if self.descriptor.is_repeated:
            return option(self.name, Annotated[list[str] | None, info], None)
        if self._is_bool:
            return option(self.name, Annotated[bool | None, info], None)
        if self.descriptor.type in _WHOLE:
            return option(self.name, Annotated[int | None, info], None)
        return option(self.name, Annotated[str | None, info], None)

    def value(self, raw: Any) -> Any:
        """The field's value in JSON."""
        if is_map(self.descriptor):
            return dict(pair(item, self.flag) for item in raw)
        if self.descriptor.is_repeated:
            return list(raw)
        return json_value(self.descriptor, raw)

    @property
    def _is_bool(self) -> bool:
        return bool(self.descriptor.type == FieldDescriptor.TYPE_BOOL)

    @property
    def _metavar(self) -> str | None:
        if self._is_bool:
            return None
        if is_map(self.descriptor):
            return "KEY=VALUE"
        enum = self.descriptor.enum_type
        if enum is not None:
            prefix = enum_prefix(enum)
            return "|".join(v.name.removeprefix(prefix).lower() for v in enum.values if v.number)
        kind = self.descriptor.message_type
        if kind is not None and kind.full_name == _TIMESTAMP:
            return "RFC3339"
        return None

    @property
    def _help(self) -> str:
        words = " ".join(self.path).replace("_", " ")
        return (
            f"Sets one of the {words}; may be repeated."
            if self.descriptor.is_repeated
            else f"The {words}."
        )


def settable(message: Descriptor, *, skip: Iterable[str] = ()) -> Iterator[FieldOption]:
    """Options for the fields that a caller may set, those of small messages within included."""
    skipped = {"name", "etag", *skip}
    for field in message.fields:
        if field.name in skipped or _behaves(field, field_behavior_pb2.OUTPUT_ONLY):
            continue
        kind = field.message_type
        if kind is None or kind.full_name == _TIMESTAMP or _is_string_map(field):
            if not field.is_repeated or is_map(field) or field.type == field.TYPE_STRING:
                yield FieldOption(path=(field.name,), descriptor=field)
        elif not field.is_repeated:
            for inner in kind.fields:
                settable_scalar = inner.message_type is None and not inner.is_repeated
                if settable_scalar and not _behaves(inner, field_behavior_pb2.OUTPUT_ONLY):
                    yield FieldOption(path=(field.name, inner.name), descriptor=inner)


def given(fields: Iterable[FieldOption], options: Mapping[str, Any]) -> dict[FieldOption, Any]:
    """The options that were given, by field."""
    return {field: options[field.name] for field in fields if options[field.name] not in (None, [])}


def document(
    message: Descriptor,
    *,
    options: Mapping[FieldOption, Any],
    assignments: Iterable[str] = (),
    source: str | None = None,
) -> dict[str, Any]:
    """The JSON of a message that options, `--set` and `--from` describe together, the latter beneath the former.

    Raises:
        Failure: an assignment or the source is malformed.
    """
    described = read_json(source) if source else {}
    if not isinstance(described, dict):
        raise Failure(f"{source} holds no JSON object")
    for field, raw in options.items():
        _place(described, field.path, field.value(raw))
    for assignment in assignments:
        key, raw = pair(assignment, "--set")
        path = tuple(key.split("."))
        _place(described, path, _assigned(message, path, raw))
    return described


def fill(message: Message, described: Mapping[str, Any]) -> None:
    """Fills a message from its JSON.

    Raises:
        Failure: the JSON does not fit the message.
    """
    try:
        json_format.ParseDict(dict(described), message)
    except json_format.ParseError as error:
        raise Failure(str(error), code="INVALID_ARGUMENT", reason="INVALID_JSON") from error


def read_json(source: str) -> Any:
    """The JSON in a file, or on standard input where source is `-`.

    Raises:
        Failure: it is not JSON.
        OSError: the file cannot be read.
    """
    text = sys.stdin.read() if source == "-" else Path(source).read_text()
    try:
        return json.loads(text)
    except ValueError as error:
        raise Failure(f"{source} is not JSON: {error}") from error


def json_value(field: FieldDescriptor, raw: Any) -> Any:
    """A scalar's value in JSON; an enum's word becomes its name."""
    enum = field.enum_type
    if enum is None:
        return raw
    word = str(raw).upper().replace("-", "_")
    prefix = enum_prefix(enum)
    for name in (word, prefix + word):
        if name in enum.values_by_name:
            return name
    words = ", ".join(
        value.name.removeprefix(prefix).lower() for value in enum.values if value.number
    )
    raise Failure(
        f"{raw!r} is none of {words}",
        code="INVALID_ARGUMENT",
        reason="INVALID_FIELD",
        field=field.name,
    )


def immutable(message: Descriptor) -> list[str]:
    """The fields that are set when a resource is created, and never after."""
    return [str(f.name) for f in message.fields if _behaves(f, field_behavior_pb2.IMMUTABLE)]


def is_map(field: FieldDescriptor) -> bool:
    """Whether a field is a map."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _is_string_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    if kind is None or not is_map(field):
        return False
    value = kind.fields_by_name["value"]
    return bool(value.type == FieldDescriptor.TYPE_STRING)


def _behaves(field: FieldDescriptor, behaviour: int) -> bool:
    """Whether a field is declared to behave so (AIP-203)."""
    return behaviour in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def pair(text: str, flag: str) -> tuple[str, str]:
    """The two sides of `key=value`.

    Raises:
        Failure: there are not two.
    """
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise Failure(f"{flag} takes key=value, not {text!r}")
    return key, value


def _place(described: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        inner = described.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Failure(f"{'.'.join(path)} lies within {part}, which holds a value already")
        described = inner
    described[path[-1]] = value


def _assigned(message: Descriptor, path: tuple[str, ...], raw: str) -> Any:
    """The value of an assignment: text where the field is text, otherwise JSON."""
    field: FieldDescriptor | None = None
    within: Descriptor | None = message
    for part in path:
        if within is None or part not in within.fields_by_name:
            raise Failure(
                f"there is no field {'.'.join(path)}", code="INVALID_ARGUMENT", field=part
            )
        field = within.fields_by_name[part]
        if is_map(field):
            break
        within = field.message_type
    assert field is not None  # noqa: S101 - a path has a part at least
    if is_map(field) and path[-1] != field.name:
        return raw
    kind = field.message_type
    text = field.type == FieldDescriptor.TYPE_STRING or (
        kind is not None and kind.full_name == _TIMESTAMP
    )
    if text and not field.is_repeated:
        return raw
    if field.enum_type is not None:
        return json_value(field, raw)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Failure(f"{'.'.join(path)} takes JSON, not {raw!r}") from error
