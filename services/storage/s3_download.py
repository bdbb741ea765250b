"""Content on its way from S3: one stream for as long as it is fast, else ranges side by side, handed on in order.

One stream costs the least on both sides. Where one connection is slow by itself, as Amazon S3's are (some 90 MB/s
each; performance guidelines, byte-range fetches), ranges are fetched side by side instead. All of it is of one
version of the object: whatever is asked for later is asked for under the ETag, and the version where there is one,
that the first was found with.

Memory: three batches of a stream; or the range that is handed on and those ahead of it, RANGES together.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from boundary.errors import Unavailable
from services.storage.ports import CHUNK_BYTES, StoredObject
from services.storage.s3_client import ENGINE_ERRORS, Calls
from services.storage.s3_description import Present
from services.storage.s3_errors import Kind, Refused

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

RANGES = 3
"""How many ranges of one download are in memory at once."""

FAST = 128 * 1024 * 1024
"""How many bytes of one stream come in a second, at the least, while it is read; a slower one is given up."""

_BATCH_BYTES = 2 * CHUNK_BYTES
"""How much of a stream is read on a thread at once: it stays in a core's cache until it is hashed and sent."""

_RESUMPTIONS = 3
"""How often in a row a stream that breaks is taken up again where it broke, before the caller is told."""


class Source:
    """One version of one object, from which content is opened at any offset."""

    def __init__(
        self, client: S3Client, calls: Calls, named: dict[str, Any], present: Present
    ) -> None:
        self._client = client
        self._calls = calls
        self._named = named
        if present.version:
            self._named = {**named, "VersionId": present.version}
        self._s3_etag = present.s3_etag

    async def open(self, start: int, end: int) -> StreamingBody:
        """The content from start up to, not with, end.

        Raises:
            Unavailable: this version has gone.
        """
        work = partial(
            self._client.get_object,
            **self._named,
            IfMatch=self._s3_etag,
            Range=f"bytes={start}-{end - 1}",
        )
        try:
            answer = await self._calls.call(
                work,
                provides={Kind.MISSING, Kind.PRECONDITION, Kind.RANGE},
                discard=lambda late: late["Body"].close(),
            )
        except Refused:
            raise Unavailable("CONTENT_GONE", "the object changed while it was read") from None
        return answer["Body"]


class S3Content:
    """See Content. All of the content is checked against its SHA-256 on the way."""

    def __init__(
        self,
        stored: StoredObject,
        start: int,
        length: int,
        *,
        body: StreamingBody | None,
        source: Source,
        calls: Calls,
        range_bytes: int,
    ) -> None:
        """Takes the parts.

        Args:
            body: the content from start on, all length bytes of it.
            range_bytes: the size of ranges that are fetched side by side.
        """
        self.object = stored
        self.start = start
        self.length = length
        self._body = body
        self._source = source
        self._calls = calls
        self._range_bytes = range_bytes
        self._fetching: deque[_Fetch] = deque()
        self._side_by_side_from: int | None = None
        self._digest = hashlib.sha256() if length == stored.size and stored.sha256 else None
        self._hashing: Future[None] | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """See Content.chunks. What comes next is fetched while the caller works on a chunk."""
        at, end = self.start, self.start + self.length
        while at < end:
            self._ahead(at)
            fetch = self._fetching[0]
            chunks = await fetch.next()
            at += sum(map(len, chunks))
            await self._hash(chunks)
            if at == end:
                await self._check()
            if at == fetch.end:
                self._fetching.popleft()
            elif self._is_slow(fetch, at):
                self._fetching.popleft().close()
                self._side_by_side_from = at
            chunks.reverse()
            while chunks:
                yield chunks.pop()

    def _ahead(self, at: int) -> None:
        """Sees to it that what comes next is being fetched."""
        end = self.start + self.length
        if self._side_by_side_from is None:
            if not self._fetching:
                body, self._body = self._body, None
                self._fetching.append(self._fetch(at, end, body=body, at_once=_BATCH_BYTES))
            return
        while len(self._fetching) < RANGES and self._side_by_side_from < end:
            start = self._side_by_side_from
            stop = min(start + self._range_bytes, end)
            self._fetching.append(self._fetch(start, stop, body=None, at_once=self._range_bytes))
            self._side_by_side_from = stop

    def _fetch(self, start: int, end: int, *, body: StreamingBody | None, at_once: int) -> _Fetch:
        return _Fetch(
            start, end, body=body, at_once=at_once, source=self._source, calls=self._calls
        )

    def _is_slow(self, fetch: _Fetch, at: int) -> bool:
        """Whether the one stream is better given up: it is slow, and more is left than one range."""
        if self._side_by_side_from is not None or fetch.end - at <= self._range_bytes:
            return False
        return fetch.read_bytes >= self._range_bytes and fetch.speed < FAST

    async def _hash(self, chunks: list[bytes]) -> None:
        """Takes chunks into the digest, in their order, while the caller goes on."""
        if self._digest is not None:
            await self._hashed()
            self._hashing = self._calls.start(_update, self._digest, tuple(chunks))

    async def _hashed(self) -> None:
        if self._hashing is not None:
            await asyncio.wrap_future(self._hashing)

    async def _check(self) -> None:
        await self._hashed()
        if self._digest is not None and self._digest.hexdigest() != self.object.sha256:
            _log.critical("an object's content does not have its digest")
            raise Unavailable("CONTENT_DAMAGED", "the object's content is damaged")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._body is not None:
            self._body.close()
        while self._fetching:
            self._fetching.pop().close()


class _Fetch:
    """Fetches one range, a batch ahead of whoever takes it.

    Attributes:
        end: where the range ends.
        read_bytes: how much of it has been read.
    """

    def __init__(
        self,
        start: int,
        end: int,
        *,
        body: StreamingBody | None,
        at_once: int,
        source: Source,
        calls: Calls,
    ) -> None:
        """Begins.

        Args:
            body: the range's content, where it has been asked for already.
            at_once: the size of a batch; the first of a body that was asked for is one chunk, to be there soon.
        """
        self.end = end
        self.read_bytes = 0
        self._seconds = 0.0
        self._at = start
        self._body = body
        self._at_once = at_once
        self._reading: Future[list[bytes]] | None = None
        self._source = source
        self._calls = calls
        self._left = _RESUMPTIONS
        self._fetched: asyncio.Queue[list[bytes] | Exception] = asyncio.Queue(maxsize=1)
        self._task = asyncio.create_task(self._run(CHUNK_BYTES if body else at_once))
        # Not by the task itself: cancelled before its first step, it never runs.
        self._task.add_done_callback(lambda _: self._let_go())

    @property
    def speed(self) -> float:
        """How many bytes came in a second of reading, so far."""
        return self.read_bytes / max(self._seconds, 1e-9)

    async def next(self) -> list[bytes]:
        """The next chunks, at least one. Raises what the fetching has failed with."""
        chunks = await self._fetched.get()
        if isinstance(chunks, Exception):
            raise chunks
        return chunks

    def close(self) -> None:
        """Lets go of the range, and of its connection when what is under way on it has ended."""
        self._task.cancel()

    async def _run(self, first: int) -> None:
        count = first
        try:
            while self._at < self.end:
                await self._fetched.put(await self._next(min(count, self.end - self._at)))
                count = self._at_once
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            await self._fetched.put(error)

    async def _next(self, count: int) -> list[bytes]:
        while True:
            if self._body is None:
                self._body = await self._source.open(self._at, self.end)
            self._reading = self._calls.start(self._read, self._body, count)
            try:
                chunks = await asyncio.wrap_future(self._reading)
            except ENGINE_ERRORS as error:
                _log.warning("a download broke off: %s", type(error).__name__)
                self._let_go()
                self._resume()
            else:
                self._left = _RESUMPTIONS
                self._at += sum(map(len, chunks))
                return chunks

    def _read(self, body: StreamingBody, count: int) -> list[bytes]:
        """See `_read`; on a thread, one at a time."""
        began = time.monotonic()
        chunks = _read(body, count)
        self._seconds += time.monotonic() - began
        self.read_bytes += sum(map(len, chunks))
        return chunks

    def _resume(self) -> None:
        """Notes that the stream broke and is to be taken up again.

        Raises:
            Unavailable: it broke too often without giving anything.
        """
        if self._left == 0:
            raise Unavailable("ENGINE_UNAVAILABLE", "the object store does not answer")
        self._left -= 1

    def _let_go(self) -> None:
        body, self._body = self._body, None
        if body is None:
            return
        if self._reading is not None and not self._reading.done():
            self._reading.add_done_callback(lambda _: body.close())
        else:
            body.close()


def _read(body: StreamingBody, count: int) -> list[bytes]:
    """Up to count bytes, at least one; what there is of them where the content breaks off.

    Raises:
        OSError: the content has ended early.
    """
    chunks: list[bytes] = []
    while count:
        try:
            chunk: bytes = body.read(min(count, CHUNK_BYTES))
            if not chunk:
                raise ConnectionError("the content ended early")
        except ENGINE_ERRORS:
            if chunks:
                break  # and is found broken by the next
            raise
        chunks.append(chunk)
        count -= len(chunk)
    return chunks


def _update(digest: Any, chunks: tuple[bytes, ...]) -> None:
    for chunk in chunks:
        digest.update(chunk)
