"""Items as DynamoDB's attribute values, and back.

Source: DynamoDB API reference, AttributeValue. Numbers travel as text, so that integers of 38 digits
stay exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from boundary.scope import Partition
from services.table.ports import INDEXES, Item, Value

PARTITION_KEY = "PK"
SORT_KEY = "SK"
EXPIRES_AT = "expires_at"
"""The attribute that DynamoDB's time to live goes by, in seconds since the epoch."""

Attribute = dict[str, Any]
Attributes = dict[str, Attribute]

INDEX_KEYS = frozenset(name for names in INDEXES.values() for name in names)

_OWN = frozenset({PARTITION_KEY, SORT_KEY, EXPIRES_AT})
_TOO_WIDE = 10**38
_NUL = "\0"


def key_of(partition: Partition, sort_key: str) -> Attributes:
    """The primary key of an item."""
    return {PARTITION_KEY: {"S": partition.key}, SORT_KEY: {"S": sort_key}}


def encode_item(item: Mapping[str, Value]) -> Attributes:
    """The attributes of an item, without the table's own.

    A key of an index that is None is left out, as it keeps the item out of the index either way.

    Raises:
        ValueError: a name is the table's own, the key of an index is no text, or an integer has more
            than 38 digits.
    """
    require_attributes(item)
    return {
        attribute_name(name): encode_value(value)
        for name, value in item.items()
        if value is not None or name not in INDEX_KEYS
    }


def require_attributes(item: Mapping[str, Value]) -> None:
    """Returns where every name is an item's to have and every key of an index is text.

    Raises:
        ValueError: one is not.
    """
    if not _OWN.isdisjoint(item):
        raise ValueError("PK, SK and expires_at are the table's own and no attributes")
    for name in INDEX_KEYS.intersection(item):
        value = item[name]
        if value is not None and (not isinstance(value, str) or not value):
            raise ValueError("the keys of an index are text")


def encode_value(value: Value) -> Attribute:
    """The attribute value of a value.

    Raises:
        ValueError: an integer has more than 38 digits.
    """
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, int):
        if not -_TOO_WIDE < value < _TOO_WIDE:
            raise ValueError("an integer has more than 38 digits")
        return {"N": str(value)}
    if value is None:
        return {"NULL": True}
    if isinstance(value, list):
        return {"L": [encode_value(each) for each in value]}
    return {"M": {attribute_name(name): encode_value(each) for name, each in value.items()}}


def attribute_name(name: str) -> str:
    """The name in the table of an attribute or of a key in a map.

    DynamoDB refuses empty names. They are written as one NUL, and names that begin with a NUL with
    one more, so that every name has its own.
    """
    return name if name and name[0] != _NUL else _NUL + name


def decode_item(attributes: Mapping[str, Attribute]) -> Item:
    """The item in what the table holds, without the table's own attributes."""
    return {
        (name if name[0] != _NUL else name[1:]): _decode_value(attribute)
        for name, attribute in attributes.items()
        if name not in _OWN
    }


def _decode_value(attribute: Attribute) -> Value:
    ((kind, raw),) = attribute.items()
    if kind == "S" or kind == "BOOL":  # noqa: PLR1714 - the hot path; a set costs a hash
        value: Value = raw
        return value
    if kind == "N":
        return _integer(raw)
    if kind == "NULL":
        return None
    if kind == "L":
        return [_decode_value(each) for each in raw]
    if kind == "M":
        return {
            (name if name[0] != _NUL else name[1:]): _decode_value(each)
            for name, each in raw.items()
        }
    raise ValueError(f"an attribute of type {kind} is none that this table writes")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        number = Decimal(text)  # an engine may write 1E+37
        if number != number.to_integral_value():
            raise ValueError("a number that is no integer") from None
        return int(number)


def expiry_of(attributes: Mapping[str, Attribute]) -> int | None:
    """When a stored item expires, in seconds since the epoch, or None for never."""
    expiry = attributes.get(EXPIRES_AT)
    return None if expiry is None else _integer(expiry["N"])


def is_live(attributes: Mapping[str, Attribute], now: float) -> bool:
    """Whether a stored item has not expired."""
    expiry = expiry_of(attributes)
    return expiry is None or expiry > now


def live_item(attributes: Mapping[str, Attribute] | None, now: float) -> Item | None:
    """The item in what the table holds, or None where there is none or it has expired."""
    if not attributes or not is_live(attributes, now):
        return None
    return decode_item(attributes)
