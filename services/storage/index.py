"""The metadata of the embedded bucket, in SQLite.

Keys are the full object keys as bytes, so that SQLite orders them as S3 does: by UTF-8 bytes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from boundary.errors import AlreadyExists, NotFound, etag_mismatch
from boundary.scope import ObjectPrefix
from services.embedded.sqlite import Database
from services.storage.ports import Listing, StoredObject

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL,
    key BLOB NOT NULL,
    content TEXT NOT NULL,
    size INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    etag TEXT NOT NULL,
    metadata TEXT NOT NULL,
    updated_us INTEGER NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_content ON objects (content);
"""

_FIND = """
SELECT key, content, size, content_type, sha256, etag, metadata, updated_us FROM objects
WHERE bucket = ? AND key = ?
"""
_PAGE = """
SELECT key, content, size, content_type, sha256, etag, metadata, updated_us FROM objects
WHERE bucket = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?
"""
_OLD = """
SELECT key, content, size, content_type, sha256, etag, metadata, updated_us FROM objects
WHERE bucket = ? AND key >= ? AND key < ? AND updated_us < ? LIMIT ?
"""
_ANY = "SELECT 1 FROM objects WHERE bucket = ? AND key >= ? AND key < ? LIMIT 1"
_PUT = """
INSERT OR REPLACE INTO objects
    (bucket, key, content, size, content_type, sha256, etag, metadata, updated_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_DELETE = "DELETE FROM objects WHERE bucket = ? AND key = ?"
_DELETE_TO = "DELETE FROM objects WHERE bucket = ? AND key >= ? AND key <= ?"
_COUNT = "SELECT count(*) FROM objects WHERE bucket = ? AND key >= ? AND key < ?"
_DESCRIBE = "UPDATE objects SET metadata = ?, etag = ? WHERE bucket = ? AND key = ? AND etag = ?"

_Row = tuple[bytes, str, int, str, str, str, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An object and the name of its content file."""

    object: StoredObject
    content: str


class ObjectIndex:
    """Which objects there are. Its calls raise what Database does, besides what they name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, prefix: ObjectPrefix, path: str) -> Entry | None:
        """The object at a path, or None."""
        return await self._database.read(lambda connection: _find(connection, prefix, path))

    async def page(
        self, prefix: ObjectPrefix, *, under: str, folded: bool, limit: int, position: bytes | None
    ) -> Listing:
        """See Objects.list. A position is the key, below the prefix, from which on the next page reads."""
        return await self._database.read(
            lambda connection: _Pager(connection, prefix, under, folded).page(limit, position)
        )

    async def put(
        self, prefix: ObjectPrefix, entry: Entry, *, create_only: bool, if_match: str
    ) -> Entry | None:
        """Puts an object in the place of another, which is returned, or of none.

        Raises:
            AlreadyExists: create_only, and the path is taken.
            Aborted: if_match, and the object's etag is another or there is no object.
        """

        def work(connection: sqlite3.Connection) -> Entry | None:
            present = _find(connection, prefix, entry.object.path)
            check(entry.object.path, present, create_only=create_only, if_match=if_match)
            connection.execute(_PUT, (prefix.bucket, *_row(prefix, entry)))
            return present

        return await self._database.write(work)

    async def remove(self, prefix: ObjectPrefix, path: str, *, if_match: str) -> Entry:
        """Removes an object and returns what it was.

        Raises:
            NotFound: there is no object.
            Aborted: if_match, and the object's etag is another.
        """

        def work(connection: sqlite3.Connection) -> Entry:
            present = _find(connection, prefix, path)
            if present is None:
                raise NotFound(path)
            check(path, present, create_only=False, if_match=if_match)
            connection.execute(_DELETE, (prefix.bucket, prefix.key(path).encode()))
            return present

        return await self._database.write(work)

    async def remove_many(self, prefix: ObjectPrefix, paths: Sequence[str]) -> list[Entry]:
        """Removes the objects that are there and returns what they were."""

        def work(connection: sqlite3.Connection) -> list[Entry]:
            found = [_find(connection, prefix, path) for path in dict.fromkeys(paths)]
            keys = [(prefix.bucket, prefix.key(path).encode()) for path in paths]
            connection.executemany(_DELETE, keys)
            return [entry for entry in found if entry is not None]

        return await self._database.write(work)

    async def remove_before(
        self, prefix: ObjectPrefix, *, under: str, before_us: int, limit: int
    ) -> list[Entry]:
        """Removes at most limit objects whose paths begin so and that were stored before; what they were."""
        first = prefix.key(under).encode()

        def work(connection: sqlite3.Connection) -> list[Entry]:
            within = (prefix.bucket, first, _after(first), before_us, limit)
            found = [_entry(prefix, row) for row in connection.execute(_OLD, within)]
            keys = [(prefix.bucket, prefix.key(entry.object.path).encode()) for entry in found]
            connection.executemany(_DELETE, keys)
            return found

        return await self._database.write(work)

    async def remove_first(self, prefix: ObjectPrefix, limit: int) -> list[str]:
        """Removes the first objects under the prefix and returns the names of their content files."""

        def work(connection: sqlite3.Connection) -> list[str]:
            first = prefix.prefix.encode()
            rows = connection.execute(
                _PAGE, (prefix.bucket, first, _after(first), limit)
            ).fetchall()
            if rows:
                connection.execute(_DELETE_TO, (prefix.bucket, first, rows[-1][0]))
            return [row[1] for row in rows]

        return await self._database.write(work)

    async def count(self, prefix: ObjectPrefix) -> int:
        """How many objects are under the prefix."""
        first = prefix.prefix.encode()
        bounds = (prefix.bucket, first, _after(first))
        return await self._database.read(
            lambda connection: int(connection.execute(_COUNT, bounds).fetchone()[0])
        )

    async def describe(
        self, prefix: ObjectPrefix, stored: StoredObject, *, metadata: Mapping[str, str], etag: str
    ) -> bool:
        """Gives an object other metadata and a new etag; whether it was still the one that was read."""
        key = prefix.key(stored.path).encode()
        changes = (json.dumps(dict(metadata)), etag, prefix.bucket, key, stored.etag)
        return await self._database.write(
            lambda connection: connection.execute(_DESCRIBE, changes).rowcount == 1
        )

    async def scrub(self) -> None:
        """Returns when nothing that was removed stands in the index's files any more."""
        await self._database.scrub()

    async def known(self, names: Sequence[str]) -> set[str]:
        """Those of the content files that an object has; at most a few hundred at a time."""
        marks = ",".join("?" * len(names))
        query = f"SELECT content FROM objects WHERE content IN ({marks})"  # noqa: S608 - only marks
        rows = await self._database.read(
            lambda connection: connection.execute(query, names).fetchall()
        )
        return {name for (name,) in rows}


def check(path: str, present: Entry | None, *, create_only: bool, if_match: str) -> None:
    """Returns where the conditions of a write hold of what is there.

    Raises:
        AlreadyExists: create_only, and the path is taken.
        Aborted: if_match, and the object's etag is another or there is no object.
    """
    if create_only and present is not None:
        raise AlreadyExists(path)
    if if_match and (present is None or present.object.etag != if_match):
        raise etag_mismatch(path, field="if_match")


class _Pager:
    """Reads one page; skips from folder to folder without reading what is in them."""

    def __init__(
        self, connection: sqlite3.Connection, prefix: ObjectPrefix, under: str, folded: bool
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._root = prefix.prefix.encode()
        self._first = prefix.key(under).encode()
        self._end = _after(self._first)
        self._folded = folded
        self._objects: list[StoredObject] = []
        self._folders: list[str] = []

    def page(self, limit: int, position: bytes | None) -> Listing:
        """At most limit entries from the position on."""
        at, skipped = max(self._root + (position or b""), self._first), True
        while skipped and (left := limit - len(self._objects) - len(self._folders)):
            at, skipped = self._read(at, left)
        full = len(self._objects) + len(self._folders) == limit
        return Listing(
            objects=self._objects,
            folders=self._folders,
            position=at[len(self._root) :] if full and self._any(at) else None,
        )

    def _read(self, at: bytes, limit: int) -> tuple[bytes, bool]:
        """Reads objects up to the next folder; where to go on, and whether that is behind a folder."""
        for row in self._connection.execute(_PAGE, (self._prefix.bucket, at, self._end, limit)):
            key: bytes = row[0]
            cut = key.find(b"/", len(self._first)) if self._folded else -1
            if cut >= 0:
                folder = key[: cut + 1]
                self._folders.append(self._prefix.path(folder.decode()))
                return _after(folder), True
            self._objects.append(_entry(self._prefix, row).object)
            at = key + b"\0"
        return at, False

    def _any(self, at: bytes) -> bool:
        return (
            self._connection.execute(_ANY, (self._prefix.bucket, at, self._end)).fetchone()
            is not None
        )


def _after(prefix: bytes) -> bytes:
    """The first key after all that begin with prefix; no byte of UTF-8 is 0xff, so it always exists."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def _find(connection: sqlite3.Connection, prefix: ObjectPrefix, path: str) -> Entry | None:
    row = connection.execute(_FIND, (prefix.bucket, prefix.key(path).encode())).fetchone()
    return None if row is None else _entry(prefix, row)


def _entry(prefix: ObjectPrefix, row: _Row) -> Entry:
    key, content, size, content_type, sha256, etag, metadata, updated_us = row
    return Entry(
        object=StoredObject(
            path=prefix.path(key.decode()),
            size=size,
            content_type=content_type,
            sha256=sha256,
            etag=etag,
            metadata=json.loads(metadata),
            update_time=datetime.fromtimestamp(updated_us / 1e6, UTC),
        ),
        content=content,
    )


def _row(prefix: ObjectPrefix, entry: Entry) -> _Row:
    stored = entry.object
    return (
        prefix.key(stored.path).encode(),
        entry.content,
        stored.size,
        stored.content_type,
        stored.sha256,
        stored.etag,
        json.dumps(dict(stored.metadata)),
        round(stored.update_time.timestamp() * 1e6),
    )
