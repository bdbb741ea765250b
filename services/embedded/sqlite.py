"""A SQLite database that an event loop can use.

SQLite blocks, so its work runs on threads of its own: one that writes, and a few that read. The writer takes
what has queued up into one transaction (group commit), each piece of work inside its own savepoint, so that a
piece that fails takes nothing else with it. WAL mode with `synchronous=FULL` keeps what was acknowledged
through a crash of the process or of the machine (sqlite.org/pragma.html#pragma_synchronous).

What is deleted or replaced stays in the file's unused parts and in its log until `scrub` is called.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from boundary.errors import ResourceExhausted, Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_GROUP = 256
_BUSY_SECONDS = 5.0
_QUEUE = 4096
_SCRUB_ATTEMPTS = 50
_SCRUB_BUSY_MS = 200
_SCRUB_PAUSE_SECONDS = 0.1


class Database:
    """One SQLite file. Open it with `open`, end it with `close`.

    Several processes may have the same file open: SQLite's locks order their writes.
    """

    def __init__(self, path: Path, *, readers: int = 4, cache_kib: int = 8192) -> None:
        """Takes the file, how many threads read it, and the page cache of each connection in KiB."""
        self._path = path
        self._cache_kib = cache_kib
        self._pending: queue.Queue[tuple[Work[Any] | _Outside, Future[Any]] | None]
        self._pending = queue.Queue(_QUEUE)
        self._writer: threading.Thread | None = None
        self._closing = threading.Lock()
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix=f"sqlite-reader-{path.stem}")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False

    def open(self, schema: str) -> None:
        """Creates the file and what schema (idempotent DDL) names, and starts the writer.

        Blocks; call it before serving or from a thread.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = self._connect()
        try:
            connection.executescript(schema)
        except BaseException:
            connection.close()
            raise
        self._writer = threading.Thread(
            target=self._write_loop,
            args=(connection,),
            name=f"sqlite-writer-{self._path.stem}",
            daemon=True,
        )
        self._writer.start()

    async def read(self, work: Work[T]) -> T:
        """What work returns, given a read-only connection, on a reader thread.

        Raises:
            Unavailable, ResourceExhausted: the engine could not serve it.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._run_read, work)

    async def write(self, work: Work[T]) -> T:
        """What work returns, given a connection inside a transaction, once that is durable.

        What work raises rolls back its own changes and is raised here. A caller that is cancelled while it
        waits does not undo the write.

        Raises:
            Unavailable, ResourceExhausted: the engine could not serve it; nothing was written.
        """
        return await asyncio.wrap_future(self._enqueue(work))

    async def scrub(self) -> None:
        """Returns when nothing that was deleted before this call stands in the file or its log any more.

        The file is written anew from what it holds, in one transaction that writers wait for, and then the log is
        brought in and cut to nothing, once no reader, of another process either, looks at an earlier state.
        Overwriting what is deleted (`secure_delete`) is not enough: a row that was moved to another page leaves a
        copy behind (sqlite.org/lang_vacuum.html). Takes as much room on the disk again as the file has.

        Raises:
            Unavailable: readers look at an earlier state for too long (`ENGINE_BUSY`), or there is no answer.
            ResourceExhausted: there is no room.
        """
        await asyncio.wrap_future(self._enqueue(_Outside(_rewrite)))
        for _ in range(_SCRUB_ATTEMPTS):
            if await asyncio.wrap_future(self._enqueue(_Outside(_cut_log))):
                return
            await asyncio.sleep(_SCRUB_PAUSE_SECONDS)
        raise Unavailable("ENGINE_BUSY", "readers keep the log of the engine from being cut")

    def _enqueue(self, work: Work[Any] | _Outside) -> Future[Any]:
        """Hands work to the writer."""
        future: Future[Any] = Future()
        with self._closing:  # nothing may queue up behind the mark that ends the writer
            if self._closed:
                raise Unavailable("ENGINE_CLOSED", "the engine is shutting down")
            try:
                self._pending.put_nowait((work, future))
            except queue.Full as error:
                raise Unavailable("ENGINE_BUSY", "too many writes are waiting") from error
        return future

    def close(self) -> None:
        """Finishes the writes that were asked for and closes every connection. Blocks."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        if self._writer is not None:
            self._pending.put(None)
            self._writer.join()
        self._readers.shutdown(wait=True)
        for connection in self._connections:
            connection.close()

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA cache_size=-{self._cache_kib}")
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        return connection

    def _run_read(self, work: Work[T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._connect(read_only=True)
                self._local.connection = connection
                self._connections.append(connection)
            return work(connection)
        except sqlite3.Error as error:
            raise engine_error(error) from error

    def _write_loop(self, connection: sqlite3.Connection) -> None:
        stopping = False
        while not stopping:
            group = [self._pending.get()]
            while len(group) < _GROUP:
                try:
                    group.append(self._pending.get_nowait())
                except queue.Empty:
                    break
            stopping = group[-1] is None  # it is the last there will ever be
            work: list[tuple[Work[Any], Future[Any]]] = []
            outside: list[tuple[_Outside, Future[Any]]] = []
            for entry in group:
                if entry is None:
                    continue
                if isinstance(entry[0], _Outside):
                    outside.append((entry[0], entry[1]))
                else:
                    work.append((entry[0], entry[1]))
            if work:
                self._write_group(connection, work)
            for each, future in outside:
                each.run(connection, future)()
        connection.close()

    def _write_group(
        self, connection: sqlite3.Connection, group: list[tuple[Work[Any], Future[Any]]]
    ) -> None:
        outcomes: list[Callable[[], None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work, future in group:
                outcomes.append(self._write_one(connection, work, future))
            connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - the writer must outlive any failure
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            failure = engine_error(error) if isinstance(error, sqlite3.Error) else error
            outcomes = [_raising(future, failure) for _, future in group]
        for settle in outcomes:
            settle()

    @staticmethod
    def _write_one(
        connection: sqlite3.Connection, work: Work[Any], future: Future[Any]
    ) -> Callable[[], None]:
        connection.execute("SAVEPOINT work")
        try:
            result = work(connection)
        except Exception as error:
            if not connection.in_transaction:
                raise  # the engine has given up the whole group
            connection.execute("ROLLBACK TO work")
            connection.execute("RELEASE work")
            failure = engine_error(error) if isinstance(error, sqlite3.Error) else error
            return _raising(future, failure)
        connection.execute("RELEASE work")
        return _returning(future, result)


class _Outside:
    """Work that the writer does between two transactions."""

    __slots__ = ("_work",)

    def __init__(self, work: Work[Any]) -> None:
        self._work = work

    def run(self, connection: sqlite3.Connection, future: Future[Any]) -> Callable[[], None]:
        """Does the work; what tells the caller."""
        try:
            return _returning(future, self._work(connection))
        except sqlite3.Error as error:
            return _raising(future, engine_error(error))


def _rewrite(connection: sqlite3.Connection) -> None:
    connection.execute("VACUUM")


def _cut_log(connection: sqlite3.Connection) -> bool:
    """Brings the log into the file and cuts it (sqlite.org/wal.html, checkpointing); whether readers let it."""
    connection.execute(f"PRAGMA busy_timeout={_SCRUB_BUSY_MS}")
    try:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(_BUSY_SECONDS * 1000)}")
    return not busy


def engine_error(error: sqlite3.Error) -> Unavailable | ResourceExhausted:
    """What a caller is told about an engine's failure; the driver's text stays in the log."""
    if getattr(error, "sqlite_errorcode", None) in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR_WRITE,
    ):
        return ResourceExhausted("STORAGE_FULL", "the engine has no space left", retry_after=30.0)
    return Unavailable("ENGINE_UNAVAILABLE", "the engine does not answer")


def _returning(future: Future[Any], result: object) -> Callable[[], None]:
    def settle() -> None:
        with contextlib.suppress(
            InvalidStateError
        ):  # the caller was cancelled while it waited; the write stands
            future.set_result(result)

    return settle


def _raising(future: Future[Any], error: BaseException) -> Callable[[], None]:
    def settle() -> None:
        with contextlib.suppress(InvalidStateError):  # the caller was cancelled while it waited
            future.set_exception(error)

    return settle
