"""Queries of the SQLite table: the SELECT, and the page that its rows make."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Sequence

from boundary.scope import Partition
from services.table import item_json
from services.table.ports import INDEXES, MAX_PAGE_BYTES, Page, Range, Stored

LIVE = "(expires_at IS NULL OR expires_at > ?)"
"""Whether a row is not expired; takes the time."""

_LENGTH = struct.Struct(">H")


def select(
    partition: Partition,
    *,
    keys: Range,
    position: bytes | None,
    index: str | None,
    index_key: str,
    descending: bool,
) -> tuple[str, list[object]]:
    """The SELECT of a query, and its parameters but for the time and the limit.

    Raises:
        ValueError: the index or the position is none.
    """
    if index is None:
        order, owner = ["sk"], ("pk", partition.key)
    elif index in INDEXES:
        pk, sk = (name.lower() for name in INDEXES[index])
        order, owner = [sk, "pk", "sk"], (pk, index_key)
    else:
        raise ValueError("there is no such index")
    clauses = ["tbl = ?", f"{owner[0]} = ?"]
    parameters: list[object] = [partition.table, owner[1]]
    for operator, bound in _bounds(keys):
        clauses.append(f"{order[0]} {operator} ?")
        parameters.append(bound)
    if position is not None:
        operator = "<" if descending else ">"
        clauses.append(f"({', '.join(order)}) {operator} ({', '.join('?' * len(order))})")
        parameters += _parse_position(position, len(order))
    direction = "DESC" if descending else "ASC"
    columns = ", ".join(["sk", "item", "expires_at", *order])
    ordering = ", ".join(f"{name} {direction}" for name in order)
    return (
        f"SELECT {columns} FROM items WHERE {' AND '.join(clauses)} AND {LIVE} "  # noqa: S608
        f"ORDER BY {ordering} LIMIT ?"
    ), parameters


def _bounds(keys: Range) -> list[tuple[str, bytes]]:
    bounds: list[tuple[str, bytes]] = []
    if keys.prefix:
        prefix = keys.prefix.encode()
        # UTF-8 holds no 0xFF, so that the last byte always has a successor.
        bounds += [(">=", prefix), ("<", prefix[:-1] + bytes([prefix[-1] + 1]))]
    if keys.low is not None:
        bounds.append((">=", keys.low.encode()))
    if keys.high is not None:
        bounds.append(("<=", keys.high.encode()))
    return bounds


def read_page(rows: sqlite3.Cursor, limit: int) -> Page:
    """The page in the rows of a SELECT whose LIMIT was one more than limit."""
    items: list[Stored] = []
    size = 0
    last: tuple[bytes | str, ...] = ()
    more = False
    for sort_key, item, expires_at, *place in rows:
        if len(items) == limit or size >= MAX_PAGE_BYTES:
            more = True
            break
        decoded = item_json.decode(item)
        items.append(Stored(sort_key=sort_key.decode(), item=decoded, expires_at=expires_at))
        size += len(item)
        last = tuple(place)
    rows.close()
    return Page(items=items, position=_position(last) if more else None)


def _position(place: Sequence[bytes | str]) -> bytes:
    raw = [part.encode() if isinstance(part, str) else part for part in place]
    return b"".join(_LENGTH.pack(len(part)) + part for part in raw)


def _parse_position(position: bytes, parts: int) -> list[bytes | str]:
    place: list[bytes | str] = []
    rest = position
    while len(rest) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(rest)
        part = rest[_LENGTH.size : _LENGTH.size + length]
        if len(part) < length:
            break
        # The middle one of three is the partition key, whose column holds text.
        place.append(part.decode() if len(place) == 1 else part)
        rest = rest[_LENGTH.size + length :]
    if rest or len(place) != parts:
        raise ValueError("the position is not one of this query")
    return place
