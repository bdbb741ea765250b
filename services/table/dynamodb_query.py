"""Queries of the DynamoDB table: what is asked, where a page goes on, and the page in the answer."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boundary.scope import Partition
from services.table.dynamodb_attributes import (
    PARTITION_KEY,
    SORT_KEY,
    Attributes,
    decode_item,
    expiry_of,
    is_live,
)
from services.table.dynamodb_expressions import Expressions
from services.table.ports import INDEXES, KeyPage, Page, Range, Stored

_LENGTH = struct.Struct(">H")
_MARK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A query.

    Attributes:
        partition: whose items.
        keys: which sort keys.
        index: a name in INDEXES, or None for the table itself.
        index_key: the index's partition key.
        descending: whether to read from the last key to the first.
    """

    partition: Partition
    keys: Range
    index: str | None
    index_key: str
    descending: bool

    def __post_init__(self) -> None:
        if self.index is not None and self.index not in INDEXES:
            raise ValueError("there is no such index")

    def payload(self, *, limit: int, position: bytes | None, now: float) -> dict[str, Any] | None:
        """The parameters of the engine's query, or None where no key can be in the range.

        One item more than asked for is read: whether there is one says whether the page is the last.

        Raises:
            ValueError: the position is not one of this query.
        """
        expressions = Expressions(now)
        if self.index is None:
            owner, sort_key = (PARTITION_KEY, self.partition.key), SORT_KEY
        else:
            partition_name, sort_key = INDEXES[self.index]
            owner = (partition_name, self.index_key)
        payload: dict[str, Any] = {
            "TableName": self.partition.table,
            "Limit": limit + 1,
            "ScanIndexForward": not self.descending,
            "ReturnConsumedCapacity": "TOTAL",
        }
        if position is not None:
            payload["ExclusiveStartKey"] = self._start(position)
        condition = expressions.key_condition(owner, sort_key, self.keys)
        if condition is None:
            return None
        if self.index is None:
            payload["ConsistentRead"] = True
        else:
            payload["IndexName"] = self.index
        return payload | {"KeyConditionExpression": condition, **expressions.placeholders()}

    def page(self, answer: Mapping[str, Any], *, limit: int, now: float) -> Page:
        """The page in the engine's answer."""
        found: Sequence[Attributes] = answer["Items"]
        last = found[limit - 1] if len(found) > limit else answer.get("LastEvaluatedKey")
        return Page(
            items=[
                Stored(
                    sort_key=each[SORT_KEY]["S"],
                    item=decode_item(each),
                    expires_at=expiry_of(each),
                )
                for each in found[:limit]
                if is_live(each, now)
            ],
            position=self._position(last) if last else None,
        )

    def key_page(self, answer: Mapping[str, Any], *, limit: int) -> KeyPage:
        """The sort keys in the engine's answer, those of expired items too."""
        found: Sequence[Attributes] = answer["Items"]
        last = found[limit - 1] if len(found) > limit else answer.get("LastEvaluatedKey")
        return KeyPage(
            sort_keys=[each[SORT_KEY]["S"] for each in found[:limit]],
            position=self._position(last) if last else None,
        )

    def _key_names(self) -> tuple[str, ...]:
        """The attributes that a position consists of; the partition key that is known is not among them."""
        if self.index is None:
            return (SORT_KEY,)
        return (INDEXES[self.index][1], PARTITION_KEY, SORT_KEY)

    def _position(self, last: Attributes) -> bytes:
        raw = [last[name]["S"].encode() for name in self._key_names()]
        return self._mark() + b"".join(_LENGTH.pack(len(part)) + part for part in raw)

    def _start(self, position: bytes) -> Attributes:
        """The engine's key that a position stands for."""
        names = self._key_names()
        parts: list[str] = []
        rest = position[_MARK:] if position.startswith(self._mark()) else b"\0"
        while len(rest) > _LENGTH.size:
            (length,) = _LENGTH.unpack_from(rest)
            part = rest[_LENGTH.size : _LENGTH.size + length]
            if len(part) < length:
                break
            parts.append(part.decode())
            rest = rest[_LENGTH.size + length :]
        if rest or len(parts) != len(names):
            raise ValueError("the position is not one of this query")
        start = {name: {"S": part} for name, part in zip(names, parts, strict=True)}
        if self.index is None:
            return start | {PARTITION_KEY: {"S": self.partition.key}}
        return start | {INDEXES[self.index][0]: {"S": self.index_key}}

    def _mark(self) -> bytes:
        """What tells the positions of this query from those of others."""
        keys = self.keys
        parts = (
            self.partition.table,
            self.partition.key,
            self.index or "",
            self.index_key,
            keys.prefix,
            "" if keys.low is None else "=" + keys.low,
            "" if keys.high is None else "=" + keys.high,
            "desc" if self.descending else "",
        )
        digest = hashlib.blake2b(digest_size=_MARK)
        for part in parts:
            raw = part.encode()
            digest.update(len(raw).to_bytes(4) + raw)
        return digest.digest()
