"""Content on its way between the event loop and the disk, a piece at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

from services.storage.content import Draft, Reader, disk_error
from services.storage.ports import CHUNK_BYTES, StoredObject

P = ParamSpec("P")
T = TypeVar("T")

_log = logging.getLogger(__name__)

_DIRECT_BYTES = CHUNK_BYTES // 4
"""A chunk of this size is written as it came; smaller ones are gathered first."""


class Disk:
    """A bounded number of threads for what blocks on the disk."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="objects")

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Starts work on a thread. It runs to its end even where nobody waits for it."""
        return self._executor.submit(work, *args, **kwargs)

    async def result(self, started: Future[T]) -> T:
        """What started work returns.

        Raises:
            FileNotFoundError: as the work did.
            Unavailable, ResourceExhausted: in the place of any other OSError.
        """
        try:
            return await asyncio.wrap_future(started)
        except FileNotFoundError:
            raise
        except OSError as error:
            _log.warning("the disk failed: %s", error)
            raise disk_error(error) from error

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Starts work and waits for it; see `result`."""
        return await self.result(self.start(work, *args, **kwargs))

    def close(self) -> None:
        """Ends the threads, after what was started. Blocks."""
        self._executor.shutdown(wait=True)


class Intake:
    """Brings an upload's content into a draft: the next batch is received while the last is written."""

    def __init__(self, draft: Draft, disk: Disk) -> None:
        self._draft = draft
        self._disk = disk
        self._batch = bytearray()
        self._writing: Future[None] | None = None

    async def take(self, content: AsyncIterator[bytes], sha256: str) -> None:
        """Takes all of the content and makes the draft durable.

        Raises:
            InvalidArgument: the content's SHA-256 is not the expected one.
        """
        async for chunk in content:
            if len(chunk) >= _DIRECT_BYTES and not self._batch:
                await self._write(chunk)
                continue
            self._batch += chunk
            if len(self._batch) >= CHUNK_BYTES:
                batch, self._batch = self._batch, bytearray()
                await self._write(batch)
        await self._written()
        await self._disk.run(self._draft.finish, self._batch, sha256)

    async def _write(self, batch: bytes | bytearray) -> None:
        await self._written()
        self._writing = self._disk.start(self._draft.write, batch)

    async def _written(self) -> None:
        if self._writing is not None:
            await self._disk.result(self._writing)


class FileContent:
    """See Content."""

    def __init__(
        self, stored: StoredObject, start: int, length: int, reader: Reader, disk: Disk
    ) -> None:
        self.object = stored
        self.start = start
        self.length = length
        self._reader = reader
        self._disk = disk

    async def chunks(self) -> AsyncIterator[bytes]:
        """See Content.chunks. The next chunk is read while the caller works on this one."""
        at, end = self.start, self.start + self.length
        ahead: Future[bytes] | None = None
        while at < end:
            count = min(CHUNK_BYTES, end - at)
            reading = ahead or self._disk.start(self._reader.read, at, count)
            at += count
            chunk = await self._disk.result(reading)
            ahead = None
            if at < end:
                ahead = self._disk.start(self._reader.read, at, min(CHUNK_BYTES, end - at))
            yield chunk

    def close(self) -> None:
        """Lets go of the file, without waiting for a read that is under way."""
        self._disk.start(self._reader.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
