"""Which index files are open, and never too many of them.

An open file costs a writer thread, its readers and their page caches, so a process that serves a thousand
tenants keeps the ones in use open and closes the one that was used longest ago when it needs the place.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from boundary.errors import SiloError, Unavailable
from services.embedded.sqlite import Database, engine_error

_log = logging.getLogger(__name__)


class _Entry:
    """A file that is being opened, is open, or is being closed. It takes a place all that time."""

    def __init__(self) -> None:
        self.database: Database | None = None
        self.leases = 0
        self.closing = False
        self.failure: SiloError | None = None


class OpenDatabases:
    """Opens index files on demand, at most `limit` at once, and lends them out.

    A file that is lent is never closed: whoever needs a place when all files are lent waits for one. A caller
    holds one file at a time, so waiting ends. Belongs to one event loop.
    """

    def __init__(self, *, schema: str, limit: int, readers: int) -> None:
        self._schema = schema
        self._limit = limit
        self._readers = readers
        self._entries: OrderedDict[Path, _Entry] = OrderedDict()
        self._waiting: list[asyncio.Future[None]] = []
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="search-files")
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False

    @property
    def open_count(self) -> int:
        """How many places are taken."""
        return len(self._entries)

    @asynccontextmanager
    async def lend(self, path: Path, *, create: bool) -> AsyncIterator[Database | None]:
        """The file's database within the block; None where there is no file and none is to be made.

        Raises:
            Unavailable, ResourceExhausted: the file cannot be opened.
        """
        entry = await self._borrow(path, create=create)
        if entry is None:
            yield None
            return
        try:
            yield entry.database
        finally:
            entry.leases -= 1
            self._announce()

    async def remove(self, path: Path) -> None:
        """Waits until nobody has the file, closes it and takes it off the disk.

        Raises:
            Unavailable: the file cannot be removed.
        """
        while (entry := self._entries.get(path)) is not None and not _is_open(entry):
            await self._change()
        if entry is None:
            entry = self._entries[path] = _Entry()
        entry.closing = True  # keeps new borrowers out while the old ones finish
        # A caller that goes away must not leave the file half removed.
        await asyncio.shield(self._start(self._remove(path, entry)))

    def close(self) -> None:
        """Closes every file. Blocks; for the end of the process, when no call is under way."""
        self._ended = True
        for entry in self._entries.values():
            if entry.database is not None:
                entry.database.close()
        self._entries.clear()
        self._threads.shutdown(wait=True)

    async def _borrow(self, path: Path, *, create: bool) -> _Entry | None:
        awaited: _Entry | None = None
        while True:
            if self._ended:
                raise Unavailable("ENGINE_CLOSED", "the engine is shutting down")
            if awaited is not None and awaited.failure is not None:
                raise awaited.failure
            entry = self._entries.get(path)
            if entry is not None and _is_open(entry):
                entry.leases += 1
                self._entries.move_to_end(path)
                return entry
            if entry is None:
                if not create and not path.exists():  # noqa: ASYNC240 - one stat, microseconds
                    return None
                entry = self._begin_to_open(path)
            awaited = entry
            await self._change()

    def _begin_to_open(self, path: Path) -> _Entry | None:
        """The entry of a file that is being opened from now on; None where there is no place for it yet."""
        if len(self._entries) >= self._limit:
            self._make_room()
            return None
        entry = self._entries[path] = _Entry()
        self._start(self._open(path, entry))
        return entry

    def _make_room(self) -> None:
        """Begins to close the open file that was used longest ago and that nobody has now, if there is one.

        Nothing is begun while another is being closed: that place will be free soon.
        """
        if any(entry.closing for entry in self._entries.values()):
            return
        for path, entry in self._entries.items():
            if _is_open(entry) and not entry.leases:
                entry.closing = True
                self._start(self._close_one(path, entry))
                return

    async def _open(self, path: Path, entry: _Entry) -> None:
        database = Database(path, readers=self._readers, cache_kib=2048)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, database.open, self._schema)
        except (sqlite3.Error, OSError) as error:
            _log.error("the index file %s cannot be opened: %s", path, error)
            entry.failure = _failure(error)
            del self._entries[path]
        else:
            entry.database = database
        self._announce()

    async def _close_one(self, path: Path, entry: _Entry) -> None:
        assert entry.database is not None  # noqa: S101 - only open files are chosen
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, entry.database.close)
        del self._entries[path]
        self._announce()

    async def _remove(self, path: Path, entry: _Entry) -> None:
        while entry.leases:
            await self._change()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, _remove_files, path, entry.database)
        except OSError as error:
            _log.error("the index file %s cannot be removed: %s", path, error)
            raise Unavailable("ENGINE_UNAVAILABLE", "the engine does not answer") from error
        finally:
            del self._entries[path]
            self._announce()

    async def _change(self) -> None:
        """Returns when an entry has changed."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def _announce(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_open(entry: _Entry) -> bool:
    return entry.database is not None and not entry.closing


def _failure(error: sqlite3.Error | OSError) -> SiloError:
    if isinstance(error, sqlite3.Error):
        return engine_error(error)
    return Unavailable("ENGINE_UNAVAILABLE", "the engine does not answer")


def _remove_files(path: Path, database: Database | None) -> None:
    """Closes the database and unlinks its files, the log first: a log without its database holds nothing."""
    if database is not None:
        database.close()
    for file in files_of(path):
        file.unlink(missing_ok=True)


def files_of(path: Path) -> tuple[Path, ...]:
    """What there may be of a database: its log, the log's index, the file itself."""
    return tuple(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", ""))
