"""The embedded search engine: one SQLite file with FTS5 for each tenant's index (ADR 0007).

Dropping an index is removing its file, and no statement can reach another tenant's events, because they are not
in the file.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from boundary.errors import InvalidArgument
from boundary.guard import GuardViolation
from boundary.ids import TenantId
from boundary.scope import SearchIndex
from services.embedded.sqlite import Database
from services.search import (
    sqlite_aggregates,
    sqlite_erasure,
    sqlite_retention,
    sqlite_statements,
)
from services.search.open_databases import OpenDatabases, files_of
from services.search.ports import (
    Aggregation,
    AggregationResult,
    Document,
    EventType,
    Filter,
    IndexSurvey,
    Page,
    Position,
)
from services.search.retention import Change

T = TypeVar("T")

_PATH_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_INTERRUPT_STEPS = 50_000
"""How many steps of SQLite's machine (about a millisecond) lie between two looks at whether to go on."""


class SqliteIndexes:
    """Index files under a folder, by cluster and index name: `{root}/{cluster}/{name}.db`."""

    def __init__(self, root: Path, *, open_limit: int = 32, readers: int = 2) -> None:
        """Takes the folder and how many files may be open at once, with how many reader threads each."""
        self._root = root
        self._files = OpenDatabases(
            schema=sqlite_statements.SCHEMA, limit=open_limit, readers=readers
        )

    @property
    def open_count(self) -> int:
        """How many files are open, or being opened or closed."""
        return self._files.open_count

    def close(self) -> None:
        """Finishes the writes that were asked for and closes every file. Blocks."""
        self._files.close()

    async def create(self, index: SearchIndex) -> None:
        """See Indexes.create."""
        await self.bulk(index, ())

    async def drop(self, index: SearchIndex) -> None:
        """See Indexes.drop."""
        await self._files.remove(self._path(index))

    async def bulk(self, index: SearchIndex, documents: Sequence[Document]) -> Sequence[bool]:
        """See Indexes.bulk."""
        return await self._make_and_write(index, lambda connection: _insert(connection, documents))

    async def search(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002 - the field's own name
        limit: int,
        position: Position | None = None,
        ascending: bool = False,
    ) -> Page:
        """See Indexes.search."""

        def read(connection: sqlite3.Connection) -> Page:
            snapshot = _snapshot(connection, position)
            statement = sqlite_statements.page(
                filter,
                snapshot=snapshot,
                position=position,
                ascending=ascending,
                limit=limit + 1,  # one more tells whether there is another page
            )
            rows = connection.execute(statement.sql, statement.parameters).fetchall()
            return Page(
                documents=[_document(row, index.tenant_id) for row in rows[:limit]],
                more=len(rows) > limit,
                snapshot=str(snapshot),
            )

        return await self._read(index, read, Page(documents=(), more=False, snapshot="0"))

    async def count(self, index: SearchIndex, *, filter: Filter) -> int:  # noqa: A002
        """See Indexes.count."""
        condition = sqlite_statements.where(filter)

        def read(connection: sqlite3.Connection) -> int:
            statement = sqlite_statements.count(condition)
            return int(connection.execute(statement, condition.parameters).fetchone()[0])

        return await self._read(index, read, 0)

    async def aggregate(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002
        aggregations: Sequence[Aggregation],
        max_buckets: int,
    ) -> Sequence[AggregationResult]:
        """See Indexes.aggregate."""

        def read(connection: sqlite3.Connection) -> list[AggregationResult]:
            return sqlite_aggregates.aggregate(connection, filter, aggregations, max_buckets)

        empty = [sqlite_aggregates.empty(aggregation) for aggregation in aggregations]
        return await self._read(index, read, empty)

    async def survey(self, index: SearchIndex) -> IndexSurvey:
        """See PurgeableIndexes.survey."""
        path = self._path(index)
        files = await asyncio.to_thread(lambda: sum(each.exists() for each in files_of(path)))
        return IndexSurvey(indexes=files, events=await self.count(index, filter=Filter()))

    async def erase(self, index: SearchIndex, recipient_key: str, *, limit: int) -> int:
        """See PurgeableIndexes.erase."""
        return await self._write(
            index,
            lambda connection: sqlite_erasure.erase(connection, recipient_key, limit),
            otherwise=0,
        )

    async def scrub(self, index: SearchIndex) -> None:
        """See PurgeableIndexes.scrub. Merging the words takes about a second for 300,000 events."""

        def merge(connection: sqlite3.Connection) -> None:
            connection.execute(sqlite_statements.MERGE_WORDS)

        async with self._files.lend(self._path(index), create=False) as database:
            if database is not None:
                await database.write(merge)
                await database.scrub()

    async def read_retention(self, index: SearchIndex) -> int:
        """See EventRetentions.read_retention."""
        return await self._read(index, sqlite_retention.read, 0)

    async def change_retention(self, index: SearchIndex, change: Change) -> int:
        """See EventRetentions.change_retention."""
        return await self._make_and_write(
            index, lambda connection: sqlite_retention.change(connection, change)
        )

    async def expire(self, index: SearchIndex, *, now_ms: int, limit: int) -> int:
        """See EventRetentions.expire."""
        return await self._write(
            index,
            lambda connection: sqlite_retention.expire(connection, now_ms=now_ms, limit=limit),
            otherwise=0,
        )

    async def _make_and_write(
        self, index: SearchIndex, work: Callable[[sqlite3.Connection], T]
    ) -> T:
        """What work returns, once it is durable, in the index, which is made where it is not there."""
        async with self._files.lend(self._path(index), create=True) as database:
            assert database is not None  # noqa: S101 - it is made where it is not there

            def write(connection: sqlite3.Connection) -> T:
                connection.execute(sqlite_statements.CLAIM, (index.tenant_id,))
                _require_owner(connection, index.tenant_id)
                return work(connection)

            return await database.write(write)

    async def _write(
        self, index: SearchIndex, work: Callable[[sqlite3.Connection], T], *, otherwise: T
    ) -> T:
        """What work returns, once it is durable, or otherwise where there is no index."""

        def write(connection: sqlite3.Connection) -> T:
            if connection.execute(sqlite_statements.OWNER).fetchone() is None:
                return otherwise
            _require_owner(connection, index.tenant_id)
            return work(connection)

        async with self._files.lend(self._path(index), create=False) as database:
            return otherwise if database is None else await database.write(write)

    async def _read(
        self, index: SearchIndex, work: Callable[[sqlite3.Connection], T], otherwise: T
    ) -> T:
        """What work returns over one state of the index, or otherwise where there is no index.

        SQLite stops within about a millisecond when the caller no longer waits.
        """
        async with self._files.lend(self._path(index), create=False) as database:
            if database is None:
                return otherwise
            return await _interruptible(database, _in_one_state(work, index.tenant_id, otherwise))

    def _path(self, index: SearchIndex) -> Path:
        """The index's file.

        Raises:
            GuardViolation: a name would lead out of the folder.
        """
        for part in (index.cluster, index.name):
            if _PATH_PART.fullmatch(part) is None or ".." in part:
                raise GuardViolation("a search index whose name is no file name")
        return self._root / index.cluster / f"{index.name}.db"


def _in_one_state(
    work: Callable[[sqlite3.Connection], T], tenant_id: TenantId, otherwise: T
) -> Callable[[sqlite3.Connection], T]:
    def read(connection: sqlite3.Connection) -> T:
        connection.execute(
            "BEGIN"
        )  # from the first read on, other connections' commits are not seen
        try:
            if connection.execute(sqlite_statements.OWNER).fetchone() is None:
                return otherwise
            _require_owner(connection, tenant_id)
            return work(connection)
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    return read


async def _interruptible(database: Database, work: Callable[[sqlite3.Connection], T]) -> T:
    stop = threading.Event()

    def run(connection: sqlite3.Connection) -> T:
        connection.set_progress_handler(stop.is_set, _INTERRUPT_STEPS)
        try:
            return work(connection)
        finally:
            connection.set_progress_handler(None, 0)

    try:
        return await database.read(run)
    except asyncio.CancelledError:
        stop.set()
        raise


def _require_owner(connection: sqlite3.Connection, tenant_id: TenantId) -> None:
    """Returns where the file is the tenant's.

    Ids that differ only in case share a file name; the directory keeps them apart, and so does the file.

    Raises:
        GuardViolation: the file is another tenant's.
    """
    if connection.execute(sqlite_statements.OWNER).fetchone() != (tenant_id,):
        raise GuardViolation("an index file of another tenant")


def _insert(connection: sqlite3.Connection, documents: Sequence[Document]) -> list[bool]:
    """Inserts the documents whose ids are not there yet; for each whether it was inserted."""
    ids = json.dumps([document.event_id for document in documents])
    known = {row[0] for row in connection.execute(sqlite_statements.KNOWN_IDS, (ids,))}
    new: list[bool] = []
    fresh: list[Document] = []
    for document in documents:
        new.append(document.event_id not in known)
        if new[-1]:
            known.add(document.event_id)
            fresh.append(document)
    (highest,) = connection.execute(sqlite_statements.HIGHEST_SEQ).fetchone()
    numbered = list(enumerate(fresh, highest + 1))
    connection.executemany(sqlite_statements.INSERT_EVENT, map(_event_row, numbered))
    connection.executemany(sqlite_statements.INSERT_PAYLOAD, map(_payload_row, numbered))
    connection.executemany(sqlite_statements.INSERT_WORDS, map(_words_row, numbered))
    return new


def _event_row(numbered: tuple[int, Document]) -> tuple[int, str, int, str, int, str, str]:
    seq, document = numbered
    return (
        seq,
        document.event_id,
        int(document.event_type),
        document.campaign_id,
        document.timestamp_ms,
        document.recipient_key,
        document.message_id,
    )


def _payload_row(numbered: tuple[int, Document]) -> tuple[int, str, str, str]:
    seq, document = numbered
    return seq, document.recipient, document.subject, document.metadata


def _words_row(numbered: tuple[int, Document]) -> tuple[int, str]:
    seq, document = numbered
    texts = (document.recipient, document.subject, document.message_id, *document.strings)
    return seq, sqlite_statements.FIELD_BREAK.join(texts)


def _snapshot(connection: sqlite3.Connection, position: Position | None) -> int:
    """The highest number that the search sees.

    Raises:
        InvalidArgument: the position's is no number; it was another engine's.
    """
    if position is None:
        (highest,) = connection.execute(sqlite_statements.HIGHEST_SEQ).fetchone()
        return int(highest)
    try:
        return int(position.snapshot)
    except ValueError as error:
        raise InvalidArgument(
            "page_token", "is not a token for this request", reason="INVALID_PAGE_TOKEN"
        ) from error


def _document(row: tuple[str, int, str, int, str, str, str, str], tenant_id: TenantId) -> Document:
    event_id, event_type, campaign_id, timestamp_ms, message_id, recipient, subject, metadata = row
    return Document(
        tenant_id=tenant_id,
        event_id=event_id,
        event_type=EventType(event_type),
        campaign_id=campaign_id,
        timestamp_ms=timestamp_ms,
        recipient=recipient,
        message_id=message_id,
        subject=subject,
        metadata=metadata,
    )
