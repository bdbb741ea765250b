"""Items as JSON.

orjson is several times as fast as the standard library but knows integers of 64 bits only, and
reads wider ones as floats. An item that holds a wider one is written by the standard library and
marked with a leading blank, which JSON allows.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from services.table.ports import Item

_WIDE = b" "
_MAX_DIGITS = 38


def encode(item: Item) -> bytes:
    """The item's bytes.

    Raises:
        ValueError: an integer has more than 38 digits.
    """
    try:
        return orjson.dumps(item)
    except TypeError:
        _require_digits(item)
        return _WIDE + json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode()


def decode(raw: bytes) -> Item:
    """The item in what `encode` returned."""
    item: Item = json.loads(raw) if raw[:1] == _WIDE else orjson.loads(raw)
    return item


def _require_digits(value: Any) -> None:
    if isinstance(value, dict):
        for each in value.values():
            _require_digits(each)
    elif isinstance(value, list):
        for each in value:
            _require_digits(each)
    elif isinstance(value, int) and abs(value) >= 10**_MAX_DIGITS:
        raise ValueError("an integer has more than 38 digits")
