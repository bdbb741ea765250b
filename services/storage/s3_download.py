"""Content on its way from S3, a piece at a time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
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

_RESUMPTIONS = 3
"""How often a stream that breaks is taken up again where it broke, before the caller is told."""


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
    ) -> None:
        self.object = stored
        self.start = start
        self.length = length
        self._at = start
        self._end = start + length
        self._body = body
        self._source = source
        self._calls = calls
        self._reading: Future[bytes] | None = None
        self._resumptions = _RESUMPTIONS
        self._digest = hashlib.sha256() if length == stored.size and stored.sha256 else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """See Content.chunks. The next chunk is read while the caller works on this one."""
        while self._at < self._end:
            if self._reading is None:
                self._ahead(self._at)
            chunk = await self._read()
            self._at += len(chunk)
            if self._at < self._end:
                self._ahead(self._at)
            else:
                self._check()
            yield chunk

    def _ahead(self, at: int) -> None:
        if self._body is not None:
            count = min(CHUNK_BYTES, self._end - at)
            self._reading = self._calls.start(_read, self._body, count, self._digest)

    async def _read(self) -> bytes:
        while True:
            reading, self._reading = self._reading, None
            if reading is not None:
                try:
                    return await asyncio.wrap_future(reading)
                except ENGINE_ERRORS as error:
                    _log.warning("a download broke off: %s", type(error).__name__)
                except asyncio.CancelledError:
                    self._reading = reading  # the body is closed when it ends
                    raise
            await self._resume()

    async def _resume(self) -> None:
        self._let_go()
        if self._resumptions == 0:
            raise Unavailable("ENGINE_UNAVAILABLE", "the object store does not answer")
        self._resumptions -= 1
        self._body = await self._source.open(self._at, self._end)
        self._ahead(self._at)

    def _check(self) -> None:
        if self._digest is not None and self._digest.hexdigest() != self.object.sha256:
            _log.critical("an object's content does not have its digest")
            raise Unavailable("CONTENT_DAMAGED", "the object's content is damaged")

    def _let_go(self) -> None:
        body, self._body = self._body, None
        if body is None:
            return
        if self._reading is not None and not self._reading.done():
            self._reading.add_done_callback(lambda _: body.close())
        else:
            body.close()
        self._reading = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._let_go()


def _read(body: StreamingBody, count: int, digest: Any) -> bytes:
    """Up to count bytes, at least one.

    Raises:
        OSError: the content has ended early.
    """
    chunk: bytes = body.read(count)
    if not chunk:
        raise ConnectionError("the content ended early")
    if digest is not None:
        digest.update(chunk)
    return chunk
