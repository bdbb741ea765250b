"""The table on SQLite: the embedded engine.

All tenants' items stand in one physical table, told apart by table name and partition key. Sort
keys are stored as UTF-8 bytes, so that SQLite orders and ranges them as DynamoDB does.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from boundary.scope import Partition
from services.embedded.sqlite import Database
from services.table import item_json
from services.table.point_reads import PointReader
from services.table.ports import (
    INDEXES,
    MAX_ITEM_BYTES,
    MAX_TRANSACTION,
    MAX_TRANSACTION_BYTES,
    Check,
    Condition,
    ConditionFailed,
    Delete,
    Item,
    ItemTooLarge,
    Page,
    Put,
    Range,
    TransactionTooLarge,
    Update,
    Value,
    Write,
)
from services.table.sizes import item_size
from services.table.sqlite_query import LIVE, read_page, select

_PURGE_SECONDS = 1.0
_PURGE_ITEMS = 32

_KEY_COLUMNS = [name.lower() for attributes in INDEXES.values() for name in attributes]
_KEY_ATTRIBUTES = [name for attributes in INDEXES.values() for name in attributes]


def _schema() -> str:
    columns = "".join(f"  {pk.lower()} TEXT, {sk.lower()} BLOB,\n" for pk, sk in INDEXES.values())
    indexes = "".join(
        f"CREATE INDEX IF NOT EXISTS items_{name.lower()} "
        f"ON items (tbl, {pk.lower()}, {sk.lower()}, pk, sk) WHERE {pk.lower()} IS NOT NULL;\n"
        for name, (pk, sk) in INDEXES.items()
    )
    return (
        "CREATE TABLE IF NOT EXISTS items (\n"
        "  id INTEGER PRIMARY KEY, tbl TEXT NOT NULL, pk TEXT NOT NULL, sk BLOB NOT NULL,\n"
        f"{columns}"
        "  expires_at INTEGER, item BLOB NOT NULL, UNIQUE (tbl, pk, sk)\n"
        ");\n"
        f"{indexes}"
        "CREATE INDEX IF NOT EXISTS items_expiry "
        "ON items (expires_at) WHERE expires_at IS NOT NULL;\n"
    )


SCHEMA = _schema()
"""Idempotent DDL."""

_GET = f"SELECT item FROM items WHERE tbl = ? AND pk = ? AND sk = ? AND {LIVE}"  # noqa: S608
_LOAD = f"SELECT item, expires_at FROM items WHERE tbl = ? AND pk = ? AND sk = ? AND {LIVE}"  # noqa: S608
_DELETE = "DELETE FROM items WHERE tbl = ? AND pk = ? AND sk = ?"
_STORED_COLUMNS = [*_KEY_COLUMNS, "expires_at", "item"]
_STORE = (
    f"INSERT INTO items (tbl, pk, sk, {', '.join(_STORED_COLUMNS)}) "  # noqa: S608
    f"VALUES (?, ?, ?, {', '.join('?' * len(_STORED_COLUMNS))}) "
    "ON CONFLICT (tbl, pk, sk) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _STORED_COLUMNS)
)
_PURGE = (
    "DELETE FROM items WHERE id IN "  # noqa: S608
    f"(SELECT id FROM items WHERE expires_at <= ? LIMIT {_PURGE_ITEMS})"
)


class SqliteTable:
    """The table port on a SQLite database. Several processes may share the file."""

    def __init__(
        self,
        database: Database,
        *,
        points: PointReader | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the parts.

        Args:
            database: an open database with SCHEMA in it.
            points: reads single items on the event loop's thread; reader threads do so where None.
            clock: what expiry goes by, in seconds since the epoch.
        """
        self._database = database
        self._points = points
        self._clock = clock
        self._purged_at = 0.0

    async def get(self, partition: Partition, sort_key: str) -> Item | None:
        """As the port says."""
        key = (partition.table, partition.key, sort_key.encode(), self._clock())
        if self._points is not None and self._points.ready:
            with contextlib.suppress(sqlite3.Error):
                row = self._points.row(_GET, key)
                return None if row is None else item_json.decode(row[0])
        row = await self._database.read(lambda connection: _first_row(connection, key))
        return None if row is None else item_json.decode(row[0])

    async def batch_get(self, partition: Partition, sort_keys: Sequence[str]) -> Mapping[str, Item]:
        """As the port says."""
        if len(sort_keys) > MAX_TRANSACTION:
            raise ValueError(f"a batch read takes at most {MAX_TRANSACTION} keys")
        now = self._clock()
        return await self._database.read(
            lambda connection: {
                sort_key: item
                for sort_key in sort_keys
                if (item := _load(connection, partition, sort_key, now)[0]) is not None
            }
        )

    async def query(
        self,
        partition: Partition,
        *,
        keys: Range,
        limit: int,
        position: bytes | None = None,
        index: str | None = None,
        index_key: str = "",
        descending: bool = False,
    ) -> Page:
        """As the port says."""
        if limit < 1:
            raise ValueError("a page holds at least one item")
        sql, parameters = select(
            partition,
            keys=keys,
            position=position,
            index=index,
            index_key=index_key,
            descending=descending,
        )
        parameters += [self._clock(), limit + 1]
        return await self._database.read(
            lambda connection: read_page(connection.execute(sql, parameters), limit)
        )

    async def write(self, partition: Partition, write: Write) -> Item | None:
        """As the port says."""

        def work(connection: sqlite3.Connection) -> Item | None:
            now = self._clock()
            self._purge(connection, now)
            change = _change(connection, partition, write, index=0, now=now)
            _store(connection, change)
            return change.item

        return await self._database.write(work)

    async def transact(self, writes: Sequence[tuple[Partition, Write]]) -> None:
        """As the port says."""
        keys = {(partition.table, partition.key, write.sort_key) for partition, write in writes}
        if len(writes) > MAX_TRANSACTION:
            raise ValueError(f"a transaction takes at most {MAX_TRANSACTION} writes")
        if len(keys) != len(writes):
            raise ValueError("a transaction writes each item once")

        def work(connection: sqlite3.Connection) -> None:
            now = self._clock()
            self._purge(connection, now)
            # Every condition is of the state before the transaction, so all are read first.
            changes = [
                _change(connection, partition, write, index=index, now=now)
                for index, (partition, write) in enumerate(writes)
            ]
            _require_transaction_size(changes)
            for change in changes:
                _store(connection, change)

        await self._database.write(work)

    def close(self) -> None:
        """Finishes what was asked for and closes the database. Blocks."""
        if self._points is not None:
            self._points.close()
        self._database.close()

    def _purge(self, connection: sqlite3.Connection, now: float) -> None:
        """Drops a few expired items now and then, and with every write while there are more.

        It runs on the one writer thread.
        """
        if abs(now - self._purged_at) >= _PURGE_SECONDS:
            dropped = connection.execute(_PURGE, (int(now),)).rowcount
            self._purged_at = now if dropped < _PURGE_ITEMS else 0.0


def open_table(path: Path, *, readers: int = 4) -> SqliteTable:
    """The table in the SQLite file at path, which is created where there is none. Blocks."""
    database = Database(path, readers=readers)
    database.open(SCHEMA)
    return SqliteTable(database, points=PointReader(path))


class _Change:
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


def _change(
    connection: sqlite3.Connection, partition: Partition, write: Write, *, index: int, now: float
) -> _Change:
    """What a write does to the state as it is.

    Raises:
        ConditionFailed, ItemTooLarge: it may not.
    """
    existing, expires_at = _load(connection, partition, write.sort_key, now)
    if not _holds(write.condition, existing):
        raise ConditionFailed(index, existing)
    made = partial(_Change, partition=partition, sort_key=write.sort_key)
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


def _require_transaction_size(changes: Sequence[_Change]) -> None:
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


def _store(connection: sqlite3.Connection, change: _Change) -> None:
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


def _first_row(
    connection: sqlite3.Connection, key: tuple[str, str, bytes, float]
) -> tuple[bytes] | None:
    row: tuple[bytes] | None = connection.execute(_GET, key).fetchone()
    return row


def _load(
    connection: sqlite3.Connection, partition: Partition, sort_key: str, now: float
) -> tuple[Item | None, int | None]:
    """The live item and its expiry."""
    row = connection.execute(
        _LOAD, (partition.table, partition.key, sort_key.encode(), now)
    ).fetchone()
    return (None, None) if row is None else (item_json.decode(row[0]), row[1])
