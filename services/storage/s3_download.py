"""Content on its way from S3: ranges that are fetched side by side and handed on in their order.

All ranges are of one version of the object: each is asked for under the ETag, and the version where there is one,
that the first was found with. Memory: the range that is handed on and those ahead of it, RANGES together.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
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

_RESUMPTIONS = 3
"""How often streams of one download that break are taken up again where they broke, before the caller is told."""


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
            body: the content from start on, for the first range_bytes or more of it.
            range_bytes: what is asked of S3 at once.
        """
        self.object = stored
        self.start = start
        self.length = length
        self._body = body
        self._source = source
        self._calls = calls
        self._range_bytes = range_bytes
        self._fetching: deque[_Fetch] = deque()
        self._left = _RESUMPTIONS
        self._digest = hashlib.sha256() if length == stored.size and stored.sha256 else None
        self._hashing: Future[None] | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """See Content.chunks. What comes next is fetched while the caller works on a chunk."""
        at, end = self.start, self.start + self.length
        ranges = self._ranges()
        while at < end:
            self._ahead(ranges)
            fetch = self._fetching[0]
            while at < fetch.end:
                chunks = await fetch.next()
                at += sum(map(len, chunks))
                await self._hash(chunks)
                if at == end:
                    await self._check()
                chunks.reverse()
                while chunks:
                    yield chunks.pop()
            self._fetching.popleft()

    def resume(self) -> None:
        """Notes that a stream broke and is to be taken up again.

        Raises:
            Unavailable: too many have.
        """
        if self._left == 0:
            raise Unavailable("ENGINE_UNAVAILABLE", "the object store does not answer")
        self._left -= 1

    def _ranges(self) -> Iterator[tuple[int, int]]:
        end = self.start + self.length
        for begin in range(self.start, end, self._range_bytes):
            yield begin, min(begin + self._range_bytes, end)

    def _ahead(self, ranges: Iterator[tuple[int, int]]) -> None:
        while len(self._fetching) < RANGES and (span := next(ranges, None)) is not None:
            body, self._body = self._body, None
            self._fetching.append(
                _Fetch(*span, body=body, source=self._source, calls=self._calls, content=self)
            )

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
    """Fetches one range, which it holds until it is taken."""

    def __init__(
        self,
        start: int,
        end: int,
        *,
        body: StreamingBody | None,
        source: Source,
        calls: Calls,
        content: S3Content,
    ) -> None:
        self.end = end
        self._at = start
        self._body = body
        self._reading: Future[list[bytes]] | None = None
        self._source = source
        self._calls = calls
        self._content = content
        self._fetched: asyncio.Queue[list[bytes] | Exception] = asyncio.Queue()
        self._task = asyncio.create_task(self._run(first=body is not None))
        # Not by the task itself: cancelled before its first step, it never runs.
        self._task.add_done_callback(lambda _: self._let_go())

    async def next(self) -> list[bytes]:
        """The next chunks, at least one. Raises what the fetching has failed with."""
        chunks = await self._fetched.get()
        if isinstance(chunks, Exception):
            raise chunks
        return chunks

    def close(self) -> None:
        """Lets go of the range, and of its connection when what is under way on it has ended."""
        self._task.cancel()

    async def _run(self, *, first: bool) -> None:
        try:
            while self._at < self.end:
                # The first chunk by itself, so that the caller has it soon.
                count = min(CHUNK_BYTES, self.end - self._at) if first else self.end - self._at
                first = False
                self._fetched.put_nowait(await self._next(count))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            self._fetched.put_nowait(error)

    async def _next(self, count: int) -> list[bytes]:
        while True:
            if self._body is None:
                self._body = await self._source.open(self._at, self.end)
            self._reading = self._calls.start(_read, self._body, count)
            try:
                chunks = await asyncio.wrap_future(self._reading)
            except ENGINE_ERRORS as error:
                _log.warning("a download broke off: %s", type(error).__name__)
                self._let_go()
                self._content.resume()
            else:
                self._at += sum(map(len, chunks))
                return chunks

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
