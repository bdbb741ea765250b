"""Resources as messages and as items, by the message's descriptor.

What a descriptor says is worked out once for each message type; a conversion then only walks a tuple.
In an item an unset field is absent, an enum stands by its name without the type's prefix, and a
timestamp is an integer: nanoseconds since the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.api import field_behavior_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from boundary.errors import InvalidArgument
from services.table.ports import Item, Value
from silo.policy.v1 import policy_pb2

M = TypeVar("M", bound=Message)
ToValue = Callable[[Any, str], Value]
FromValue = Callable[[Any], Any]

NANOS = 1_000_000_000
_MIN_SECONDS = -62_135_596_800
_MAX_SECONDS = 253_402_300_799
_TIMESTAMP = "google.protobuf.Timestamp"
_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_UNSETTABLE = {
    field_behavior_pb2.OUTPUT_ONLY,
    field_behavior_pb2.IMMUTABLE,
    field_behavior_pb2.IDENTIFIER,
}
_ETAG = "etag"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """One field: how to tell that it is set, and how it goes into an item."""

    name: str
    populated: Callable[[Any], bool]
    to_value: ToValue


class Codec(Generic[M]):
    """Turns messages of one type into items and back.

    Attributes:
        settable: the fields that a caller may set, in the order of the descriptor.
        fixed: the other fields: output only, immutable, the name, the etag.
        sensitive: the fields that are stored encrypted where the tenant has encryption.
    """

    def __init__(self, message_type: type[M]) -> None:
        """Reads the descriptor.

        Raises:
            TypeError: a field is of a type that items do not hold.
        """
        self.message_type = message_type
        fields: list[Any] = list(message_type.DESCRIPTOR.fields)
        self.settable = tuple(field.name for field in fields if _is_settable(field))
        self.fixed = frozenset(field.name for field in fields) - frozenset(self.settable)
        self.sensitive = frozenset(field.name for field in fields if _is_sensitive(field))
        self._settable_fields = {
            field.name: _field(field) for field in fields if field.name in self.settable
        }
        decoders = [(field.name, _from_value(field)) for field in fields if field.name != "name"]
        self._plain = tuple(name for name, decode in decoders if decode is None)
        self._converted = tuple((name, decode) for name, decode in decoders if decode is not None)

    def decode(self, name: str, item: Mapping[str, Value]) -> M:
        """The message in an item; what else the item holds is passed over.

        Args:
            name: the resource name.
            item: the stored attributes.
        """
        fields: dict[str, Any] = {"name": name}
        for field in self._plain:
            if field in item:
                fields[field] = item[field]
        for field, convert in self._converted:
            if field in item:
                fields[field] = convert(item[field])
        return self.message_type(**fields)

    def populated(self, message: M) -> tuple[str, ...]:
        """The settable fields that hold something."""
        return tuple(
            name for name, field in self._settable_fields.items() if field.populated(message)
        )

    def encode(self, message: M, *, path: str, fields: Collection[str] | None = None) -> Item:
        """The attributes of the settable fields that hold something.

        Args:
            message: the resource.
            path: the request field that holds it, for errors.
            fields: only these, of the settable ones; all where None.

        Raises:
            InvalidArgument: an enum or a timestamp is out of range.
        """
        return {
            name: field.to_value(getattr(message, name), f"{path}.{name}")
            for name, field in self._settable_fields.items()
            if (fields is None or name in fields) and field.populated(message)
        }

    def attribute(self, name: str, value: object, *, path: str) -> Value:
        """What a settable field with this value stands as in an item.

        Raises:
            InvalidArgument: an enum or a timestamp is out of range.
        """
        return self._settable_fields[name].to_value(value, path)


def _is_settable(field: FieldDescriptor) -> bool:
    behaviors = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field.name != _ETAG and _UNSETTABLE.isdisjoint(behaviors)


def _is_sensitive(field: FieldDescriptor) -> bool:
    return bool(field.GetOptions().Extensions[policy_pb2.sensitive])


def _is_map(field: FieldDescriptor) -> bool:
    kind = field.message_type
    return kind is not None and kind.GetOptions().map_entry


def _field(field: FieldDescriptor) -> _Field:
    if field.message_type is not None and not field.is_repeated:
        name = field.name
        populated: Callable[[Any], bool] = lambda message: message.HasField(name)  # noqa: E731
    else:
        populated = _holds_something(field.name)
    return _Field(name=field.name, populated=populated, to_value=_to_value(field))


def _holds_something(name: str) -> Callable[[Any], bool]:
    return lambda message: bool(getattr(message, name))


def _to_value(field: FieldDescriptor) -> ToValue:
    if _is_map(field):
        return lambda entries, _path: dict(entries)
    if field.is_repeated:
        return _list_to_value(field)
    if field.message_type is not None:
        return _message_to_value(field.message_type)
    if field.enum_type is not None:
        return _enum_to_value(field.enum_type)
    _require_scalar(field)
    return lambda value, _path: value


def _list_to_value(field: FieldDescriptor) -> ToValue:
    if field.message_type is None:
        _require_scalar(field)
        return lambda values, _path: list(values)
    each = _message_to_value(field.message_type)
    return lambda values, path: [
        each(value, f"{path}[{index}]") for index, value in enumerate(values)
    ]


def _message_to_value(descriptor: Descriptor) -> ToValue:
    if descriptor.full_name == _TIMESTAMP:
        return _timestamp_to_value
    nested: Codec[Any] = Codec(message_factory.GetMessageClass(descriptor))
    return lambda value, path: nested.encode(value, path=path)


def _timestamp_to_value(timestamp: Any, path: str) -> int:
    if not _MIN_SECONDS <= timestamp.seconds <= _MAX_SECONDS or not 0 <= timestamp.nanos < NANOS:
        raise InvalidArgument(path, "must lie in the years 1 to 9999, with 0 to 999999999 nanos")
    return int(timestamp.seconds * NANOS + timestamp.nanos)


def _enum_prefix(descriptor: EnumDescriptor) -> str:
    return _WORD_START.sub("_", descriptor.name).upper() + "_"


def _enum_to_value(descriptor: EnumDescriptor) -> ToValue:
    prefix = _enum_prefix(descriptor)
    names = {value.number: value.name.removeprefix(prefix) for value in descriptor.values}

    def convert(number: int, path: str) -> str:
        name = names.get(number)
        if name is None:
            raise InvalidArgument(path, f"{number} is no value of {descriptor.name}")
        return name

    return convert


def _from_value(field: FieldDescriptor) -> FromValue | None:
    """How an attribute becomes what the message's constructor takes; None where it already is."""
    if field.enum_type is not None:
        prefix = _enum_prefix(field.enum_type)
        numbers = {
            value.name.removeprefix(prefix): value.number for value in field.enum_type.values
        }
        return numbers.__getitem__
    if field.message_type is not None and field.message_type.full_name == _TIMESTAMP:
        return _timestamp_of
    # Maps, and messages of plain fields, are built from dictionaries by the constructor itself.
    return None


def _timestamp_of(nanoseconds: int) -> dict[str, int]:
    seconds, nanos = divmod(nanoseconds, NANOS)
    return {"seconds": seconds, "nanos": nanos}


def _require_scalar(field: FieldDescriptor) -> None:
    refused = (
        FieldDescriptor.TYPE_BYTES,
        FieldDescriptor.TYPE_DOUBLE,
        FieldDescriptor.TYPE_FLOAT,
        FieldDescriptor.TYPE_GROUP,
    )
    if field.type in refused:
        raise TypeError(f"{field.full_name} is of a type that items do not hold")
