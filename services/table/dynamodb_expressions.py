"""Conditions, updates and key ranges as DynamoDB expressions.

Names and values stand in an expression as placeholders only: no text of a caller ever becomes part of
one. Source: DynamoDB developer guide, "Using expressions in DynamoDB".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from services.table.dynamodb_attributes import (
    EXPIRES_AT,
    INDEX_KEYS,
    PARTITION_KEY,
    Attribute,
    attribute_name,
    encode_value,
    require_attributes,
)
from services.table.ports import Condition, Item, Range, Update, Value

MAX_SORT_KEY_BYTES = 1024
"""The longest sort key (DynamoDB developer guide, quotas)."""


class Expressions:
    """The expressions of one request, which share their placeholders."""

    def __init__(self, now: float) -> None:
        """Takes the time that expiry goes by."""
        self._now = math.floor(now)
        self._names: dict[str, str] = {}
        self._values: list[Attribute] = []
        self._live = ""

    def name(self, attribute: str) -> str:
        """The placeholder of an attribute's name."""
        placeholder = self._names.get(attribute)
        if placeholder is None:
            placeholder = self._names[attribute] = f"#n{len(self._names)}"
        return placeholder

    def value(self, value: Value) -> str:
        """A placeholder of a value."""
        self._values.append(encode_value(value))
        return f":v{len(self._values) - 1}"

    def placeholders(self) -> dict[str, Any]:
        """What a request names and holds for its expressions."""
        parts: dict[str, Any] = {}
        if self._names:
            parts["ExpressionAttributeNames"] = {
                placeholder: name for name, placeholder in self._names.items()
            }
        if self._values:
            parts["ExpressionAttributeValues"] = {
                f":v{number}": value for number, value in enumerate(self._values)
            }
        return parts

    def condition(self, condition: Condition, *, live: bool = False) -> str:
        """The condition's expression, empty where it always holds. An expired item counts as absent.

        Args:
            condition: what must hold.
            live: whether, besides, what is stored must not be an expired item.
        """
        terms = []
        if condition.exists is True:
            terms.append(f"attribute_exists({self.name(PARTITION_KEY)})")
            live = True
        elif condition.exists is False:
            terms.append(f"(attribute_not_exists({self.name(PARTITION_KEY)}) OR {self._expired()})")
        for attribute, value in condition.equals.items():
            name = self.name(attribute_name(attribute))
            if value is None:
                missing = f"attribute_not_exists({name}) OR {name} = {self.value(None)}"
                terms.append(f"({missing} OR {self._expired()})")
            else:
                terms.append(f"{name} = {self.value(value)}")
                live = True
        if live:
            expiry = self.name(EXPIRES_AT)
            terms.append(f"(attribute_not_exists({expiry}) OR {expiry} > {self._time()})")
        return " AND ".join(terms)

    def update(self, update: Update) -> str:
        """The update's expression, empty where it changes nothing.

        Raises:
            ValueError: an attribute is none, or is changed twice.
        """
        require_attributes(update.set)
        require_attributes(dict.fromkeys([*update.remove, *update.add]))
        changed = [*update.set, *update.remove, *update.add]
        if len(set(changed)) != len(changed):
            raise ValueError("an update changes an attribute once")
        gone = [n for n, value in update.set.items() if value is None and n in INDEX_KEYS]
        assigned = [
            f"{self.name(attribute_name(name))} = {self.value(value)}"
            for name, value in update.set.items()
            if name not in gone
        ]
        if update.expires_at is not None:
            assigned.append(f"{self.name(EXPIRES_AT)} = {self.value(update.expires_at)}")
        removed = [self.name(attribute_name(name)) for name in [*update.remove, *gone]]
        added = [
            f"{self.name(attribute_name(name))} {self.value(amount)}"
            for name, amount in update.add.items()
        ]
        clauses = {"SET": assigned, "REMOVE": removed, "ADD": added}
        return " ".join(f"{verb} {', '.join(parts)}" for verb, parts in clauses.items() if parts)

    def key_condition(self, owner: tuple[str, str], sort_key: str, keys: Range) -> str | None:
        """The key condition of a query, or None where no key can be in the range.

        Args:
            owner: the name and the value of the partition key.
            sort_key: the name of the sort key.
            keys: which sort keys.
        """
        term = f"{self.name(owner[0])} = {self.value(owner[1])}"
        bounds = _bounds(keys)
        if bounds is None:
            return None
        low, high = bounds
        name = self.name(sort_key)
        if keys.prefix and (low, high) == (keys.prefix, last_key(keys.prefix)):
            return f"{term} AND begins_with({name}, {self.value(keys.prefix)})"
        if low and high is not None:
            return f"{term} AND {name} BETWEEN {self.value(low)} AND {self.value(high)}"
        if low:
            return f"{term} AND {name} >= {self.value(low)}"
        if high is not None:
            return f"{term} AND {name} <= {self.value(high)}"
        del self._names[sort_key]  # DynamoDB refuses a placeholder that no expression uses
        return term

    def _expired(self) -> str:
        return f"{self.name(EXPIRES_AT)} <= {self._time()}"

    def _time(self) -> str:
        if not self._live:
            self._live = self.value(self._now)
        return self._live


def _bounds(keys: Range) -> tuple[str, str | None] | None:
    """The least and the greatest key of a range, both included; empty and None where unbounded.

    Text compares by code points as its UTF-8 does by bytes.
    """
    low, high = keys.low or "", keys.high
    if keys.prefix:
        last = last_key(keys.prefix)
        low = max(low, keys.prefix)
        high = last if high is None else min(high, last)
    if high is not None and (not high or low > high):
        return None
    return low, high


def last_key(prefix: str) -> str:
    """The greatest sort key that has a prefix: filled up with the greatest characters that fit."""
    room = max(0, MAX_SORT_KEY_BYTES - len(prefix.encode()))
    whole, rest = divmod(room, 4)
    return prefix + "\U0010ffff" * whole + ["", "\x7f", "\u07ff", "\uffff"][rest]


def holds(condition: Condition, item: Item | None) -> bool:
    """Whether a condition holds of an item that was read, or of none."""
    if condition.exists is not None and condition.exists != (item is not None):
        return False
    stored: Mapping[str, Value] = item or {}
    return all(_equal(stored.get(name), value) for name, value in condition.equals.items())


def _equal(stored: Value, wanted: Value) -> bool:
    """Equality that tells True from 1, as DynamoDB does."""
    return type(stored) is type(wanted) and stored == wanted
