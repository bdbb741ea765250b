"""How large an item is by DynamoDB's rule, so that every engine refuses the same items.

Source: DynamoDB developer guide, "DynamoDB item sizes and formats".
"""

from __future__ import annotations

from services.table.ports import Item, Value

_CONTAINER = 3
_ELEMENT = 1
_KEY_NAMES = len("PK") + len("SK")


def item_size(partition_key: str, sort_key: str, item: Item) -> int:
    """The size in bytes of an item with its keys."""
    keys = _KEY_NAMES + _text(partition_key) + _text(sort_key)
    return keys + sum(_text(name) + value_size(value) for name, value in item.items())


def value_size(value: Value) -> int:
    """The size in bytes of an attribute's value."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int):
        return _number(value)
    if isinstance(value, list):
        return _CONTAINER + sum(_ELEMENT + value_size(each) for each in value)
    return _CONTAINER + sum(
        _ELEMENT + _text(name) + value_size(each) for name, each in value.items()
    )


def _text(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _number(number: int) -> int:
    """A byte for each two significant digits, one more, and one for a sign."""
    digits = str(abs(number)).rstrip("0")
    return (len(digits) + 1) // 2 + 1 + (number < 0)
