"""Writes of the SQLite table: what each does to the state as it is, and the rows that it makes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial

from boundary.scope import Partition
from services.table import item_json
from services.table.ports import (
    INDEXES,
    MAX_ITEM_BYTES,
    MAX_TRANSACTION_BYTES,
    Check,
    Condition,
    ConditionFailed,
    Delete,
    Item,
    ItemTooLarge,
    Put,
    TransactionTooLarge,
    Update,
    Value,
    Write,
)
from services.table.sizes import item_size
from services.table.sqlite_query import LIVE

_KEY_COLUMNS = [name.lower() for attributes in INDEXES.values() for name in attributes]
_LOAD = f"SELECT item, expires_at FROM items WHERE tbl = ? AND pk = ? AND sk = ? AND {LIVE}"  # noqa: S608
_DELETE = "DELETE FROM items WHERE tbl = ? AND pk = ? AND sk = ?"
_STORED_COLUMNS = [*_KEY_COLUMNS, "expires_at", "item"]
_STORE = (
    f"INSERT INTO items (tbl, pk, sk, {', '.join(_STORED_COLUMNS)}) "  # noqa: S608
    f"VALUES (?, ?, ?, {', '.join('?' * len(_STORED_COLUMNS))}) "
    "ON CONFLICT (tbl, pk, sk) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _STORED_COLUMNS)
)


class Change:
    """A write whose condition holds: the item as it will be, or None where it will be gone."""

    __slots__ = ("encoded", "expires_at", "item", "partition", "sort_key", "stores")

    def __init__(
        self,
        *,
        partition: Partition,
        sort_key: str,
        item: Item | None,
        expires_at: int | None = None,
        stores: bool = True,
    ) -> None:
        self.partition = partition
        self.sort_key = sort_key
        self.item = item
        self.expires_at = expires_at
        self.stores = stores
        self.encoded = b"" if item is None or not stores else item_json.encode(item)

    @property
    def size(self) -> int:
        """The item's size in bytes; 0 where nothing is stored."""
        if self.item is None or not self.stores:
            return 0
        return item_size(self.partition.key, self.sort_key, self.item)

    @property
    def size_bound(self) -> int:
        """No less than the size, without a walk: no value takes twice the room of its JSON."""
        return 2 * len(self.encoded) + 2 * len(self.sort_key) + 4 * len(self.partition.key)


def change_of(
    connection: sqlite3.Connection, partition: Partition, write: Write, *, index: int, now: float
) -> Change:
    """What a write does to the state as it is.

    Raises:
        ConditionFailed, ItemTooLarge: it may not.
    """
    existing, expires_at = load(connection, partition, write.sort_key, now)
    if not _holds(write.condition, existing):
        raise ConditionFailed(index, existing)
    made = partial(Change, partition=partition, sort_key=write.sort_key)
    if isinstance(write, Delete):
        return made(item=None)
    if isinstance(write, Check):
        return made(item=existing, stores=False)
    if isinstance(write, Put):
        change = made(item=write.item, expires_at=write.expires_at)
    else:
        expiry = expires_at if write.expires_at is None else write.expires_at
        change = made(item=_updated(existing or {}, write), expires_at=expiry)
    if change.size_bound > MAX_ITEM_BYTES and change.size > MAX_ITEM_BYTES:
        raise ItemTooLarge(index)
    return change


def require_transaction_size(changes: Sequence[Change]) -> None:
    """Returns where the items of a transaction are not too large together.

    Raises:
        TransactionTooLarge: they are.
    """
    if sum(change.size_bound for change in changes) <= MAX_TRANSACTION_BYTES:
        return
    if sum(change.size for change in changes) > MAX_TRANSACTION_BYTES:
        raise TransactionTooLarge


def _updated(existing: Item, update: Update) -> Item:
    item = {**existing, **update.set}
    for name in update.remove:
        item.pop(name, None)
    for name, amount in update.add.items():
        before = existing.get(name, 0)
        if not isinstance(before, int) or isinstance(before, bool):
            raise TypeError(f"the attribute {name} is not an integer")
        item[name] = before + amount
    return item


def _holds(condition: Condition, existing: Item | None) -> bool:
    if condition.exists is not None and condition.exists != (existing is not None):
        return False
    item = existing or {}
    return all(_equal(item.get(name), value) for name, value in condition.equals.items())


def _equal(stored: Value, wanted: Value) -> bool:
    """Equality that tells True from 1, as DynamoDB does."""
    return type(stored) is type(wanted) and stored == wanted


def store(connection: sqlite3.Connection, change: Change) -> None:
    """Makes a change that was worked out in the same transaction."""
    if not change.stores:
        return
    partition = change.partition
    key = (partition.table, partition.key, change.sort_key.encode())
    if change.item is None:
        connection.execute(_DELETE, key)
        return
    placed = _index_keys(change.item)
    connection.execute(_STORE, (*key, *placed, change.expires_at, change.encoded))


def _index_keys(item: Item) -> list[str | bytes | None]:
    """The index columns of an item.

    Raises:
        ValueError: the item carries a key of the table itself, or an index key that is no text.
    """
    if "PK" in item or "SK" in item:
        raise ValueError("PK and SK are the table's own and no attributes")
    placed: list[str | bytes | None] = []
    for pk, sk in INDEXES.values():
        partition_key, sort_key = item.get(pk), item.get(sk)
        if partition_key is None or sort_key is None:
            placed += [None, None]
        elif isinstance(partition_key, str) and isinstance(sort_key, str):
            placed += [partition_key, sort_key.encode()]
        else:
            raise ValueError("the keys of an index are text")
    return placed


def load(
    connection: sqlite3.Connection, partition: Partition, sort_key: str, now: float
) -> tuple[Item | None, int | None]:
    """The live item and its expiry."""
    row = connection.execute(
        _LOAD, (partition.table, partition.key, sort_key.encode(), now)
    ).fetchone()
    return (None, None) if row is None else (item_json.decode(row[0]), row[1])
