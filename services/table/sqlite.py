"""The table on SQLite: the embedded engine.

All tenants' items stand in one physical table, told apart by table name and partition key. Sort
keys are stored as UTF-8 bytes, so that SQLite orders and ranges them as DynamoDB does.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from boundary.scope import Partition
from services.embedded.sqlite import Database
from services.table import item_json
from services.table.point_reads import PointReader
from services.table.ports import INDEXES, MAX_TRANSACTION, Item, KeyPage, Page, Range, Write
from services.table.sqlite_change import change_of, load, require_transaction_size, store
from services.table.sqlite_query import LIVE, read_page, select

_EXPIRE_SECONDS = 1.0
_EXPIRE_ITEMS = 32


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
_KEYS = "SELECT sk FROM items WHERE tbl = ? AND pk = ? AND sk > ? ORDER BY sk LIMIT ?"
_DROP = "DELETE FROM items WHERE tbl = ? AND pk = ? AND sk = ?"
_DROP_AT_ONCE = 500
"""How many items are dropped in one transaction, so that others' writes get their turn."""

_EXPIRE = (
    "DELETE FROM items WHERE id IN "  # noqa: S608
    f"(SELECT id FROM items WHERE expires_at <= ? LIMIT {_EXPIRE_ITEMS})"
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
        self._expired_at = 0.0

    async def get(self, partition: Partition, sort_key: str) -> Item | None:
        """As the port says."""
        key = (partition.table, partition.key, sort_key.encode(), self._clock())
        if self._points is not None and self._points.ready:
            try:
                row = self._points.row(_GET, key)
            except sqlite3.Error:
                pass  # a reader thread may still read it, or say why not
            else:
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
                if (item := load(connection, partition, sort_key, now)[0]) is not None
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
            self._expire(connection, now)
            change = change_of(connection, partition, write, index=0, now=now)
            store(connection, change)
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
            self._expire(connection, now)
            # Every condition is of the state before the transaction, so all are read first.
            changes = [
                change_of(connection, partition, write, index=index, now=now)
                for index, (partition, write) in enumerate(writes)
            ]
            require_transaction_size(changes)
            for change in changes:
                store(connection, change)

        await self._database.write(work)

    async def keys(
        self, partition: Partition, *, limit: int, position: bytes | None = None
    ) -> KeyPage:
        """As the port says. A position is the last key."""
        after = (partition.table, partition.key, position or b"", limit + 1)
        rows = await self._database.read(
            lambda connection: connection.execute(_KEYS, after).fetchall()
        )
        found = [bytes(row[0]) for row in rows]
        return KeyPage(
            sort_keys=[key.decode() for key in found[:limit]],
            position=found[limit - 1] if len(found) > limit else None,
        )

    async def drop(self, partition: Partition, sort_keys: Sequence[str]) -> None:
        """As the port says. The index entries are columns of the row."""
        for start in range(0, len(sort_keys), _DROP_AT_ONCE):
            rows = [
                (partition.table, partition.key, sort_key.encode())
                for sort_key in sort_keys[start : start + _DROP_AT_ONCE]
            ]
            await self._database.write(
                lambda connection, rows=rows: connection.executemany(_DROP, rows).close()  # type: ignore[misc]
            )

    async def scrub(self, partition: Partition) -> None:
        """As the port says: the pages of all partitions together are brought in."""
        await self._database.scrub()

    def close(self) -> None:
        """Finishes what was asked for and closes the database. Blocks."""
        if self._points is not None:
            self._points.close()
        self._database.close()

    def _expire(self, connection: sqlite3.Connection, now: float) -> None:
        """Drops a few expired items now and then, and with every write while there are more.

        It runs on the one writer thread.
        """
        if abs(now - self._expired_at) >= _EXPIRE_SECONDS:
            dropped = connection.execute(_EXPIRE, (int(now),)).rowcount
            self._expired_at = now if dropped < _EXPIRE_ITEMS else 0.0


def open_table(path: Path, *, readers: int = 4) -> SqliteTable:
    """The table in the SQLite file at path, which is created where there is none. Blocks."""
    database = Database(path, readers=readers)
    database.open(SCHEMA)
    return SqliteTable(database, points=PointReader(path))


def _first_row(
    connection: sqlite3.Connection, key: tuple[str, str, bytes, float]
) -> tuple[bytes] | None:
    row: tuple[bytes] | None = connection.execute(_GET, key).fetchone()
    return row
