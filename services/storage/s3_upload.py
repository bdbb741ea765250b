"""Content on its way to S3: small content in one request, larger content in parts that travel side by side.

Memory: the parts that are under way and the one that is being received, PARALLEL_BYTES together.
Parts have PART_BYTES up to 8 GB and double with every further 1,000, since S3 takes 10,000 at the most and up
to 5 TB.

A failure, a cancellation or a digest that is not the expected one aborts the upload, after the parts under way
have ended: S3 keeps a part that comes in after an abort. What the end of the process leaves, `S3Objects.sweep`
and the bucket's lifecycle rule remove.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from boundary.errors import Aborted, AlreadyExists, InvalidArgument, SiloError, etag_mismatch
from boundary.scope import ObjectPrefix
from services.storage.ports import Upload
from services.storage.s3_description import Label, Present, Record
from services.storage.s3_entries import Entries
from services.storage.s3_errors import Kind, Refused

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef

_log = logging.getLogger(__name__)

PART_BYTES = 8 * 1024 * 1024
"""Content up to this size is one request; S3 wants 5 MiB at least in every part but the last."""

PARALLEL_BYTES = 24 * 1024 * 1024
"""How much of one upload is in memory at once; at least one part."""

_PARTS_PER_SIZE = 1000
_LARGEST_PART = 2 * 1024**3

_CONDITIONS_FAILED = frozenset({Kind.PRECONDITION, Kind.CONFLICT, Kind.MISSING})
"""If-Match over an object that is not there is answered with 404."""


def part_sizes(first: int = PART_BYTES) -> Iterator[int]:
    """The sizes of the parts of an upload, whose end is not known."""
    number = 0
    while True:
        yield min(first << (number // _PARTS_PER_SIZE), _LARGEST_PART)
        number += 1


async def parts(content: AsyncIterator[bytes], sizes: Iterator[int]) -> AsyncIterator[bytes]:
    """The content cut into parts, the last of which may be smaller; one empty part for no content."""
    size, part, first = next(sizes), BytesIO(), True
    async for chunk in content:
        view = memoryview(chunk)
        while view:
            if part.tell() == size:
                yield _filled(part)
                size, first = next(sizes), False
                part = _room_for(size)
            view = view[part.write(view[: size - part.tell()]) :]
    if first or part.tell():
        yield _filled(part)


def _room_for(size: int) -> BytesIO:
    """A file with the memory for size bytes. To join a part's pieces when it is whole would take twice that."""
    part = BytesIO()
    part.seek(size - 1)
    part.write(b"\0")
    part.seek(0)
    return part


def _filled(part: BytesIO) -> bytes:
    """What was written to a part; its own memory, not a copy."""
    part.truncate()
    return part.getvalue()


class Writer:
    """Writes one object under its conditions. Used once."""

    def __init__(
        self,
        entries: Entries,
        prefix: ObjectPrefix,
        path: str,
        *,
        label: Label,
        upload: Upload,
        replaced: Present | None,
    ) -> None:
        self._entries = entries
        self._client = entries.client
        self._calls = entries.calls
        self._prefix = prefix
        self._path = path
        self._label = label
        self._upload = upload
        self._named = entries.at(prefix, path)
        self._conditions: dict[str, Any] = {}
        if upload.create_only:
            self._conditions["IfNoneMatch"] = "*"
        if upload.if_match and replaced is not None:
            self._conditions["IfMatch"] = replaced.s3_etag

    @property
    def described(self) -> dict[str, Any]:
        """The arguments that describe the object."""
        return {
            **self._named,
            **self._entries.encryption(self._prefix),
            "ContentType": self._upload.content_type,
            "Metadata": self._label.metadata(self._upload.metadata),
        }

    async def whole(self, content: bytes, digest: bytes) -> None:
        """Writes content in one request. The same write twice is one: it has the same label.

        Raises:
            AlreadyExists, Aborted: a condition does not hold.
        """
        await self._recorded(digest.hex())
        work = partial(
            self._client.put_object,
            **self.described,
            **self._conditions,
            Body=content,
            ChecksumSHA256=base64.b64encode(digest).decode(),
        )
        await self._decided(work)

    async def copied(self, source: Mapping[str, Any], sha256: str) -> None:
        """Copies what the arguments name as the source.

        Raises:
            AlreadyExists, Aborted: a condition does not hold, here or of the source.
        """
        await self._recorded(sha256)
        work = partial(
            self._client.copy_object,
            **self.described,
            **self._conditions,
            **source,
            MetadataDirective="REPLACE",
            TaggingDirective="REPLACE",
            ChecksumAlgorithm="SHA256",
        )
        await self._decided(work)

    async def complete(
        self, upload_id: str, numbered: Mapping[int, CompletedPartTypeDef], digest: bytes
    ) -> None:
        """Makes the parts the object.

        Raises:
            AlreadyExists, Aborted: a condition does not hold.
        """
        await self._recorded(digest.hex())
        work = partial(
            self._client.complete_multipart_upload,
            **self._named,
            **self._conditions,
            UploadId=upload_id,
            MultipartUpload={"Parts": [numbered[number] for number in sorted(numbered)]},
        )
        await self._decided(work)

    async def _recorded(self, sha256: str) -> None:
        if self._label.recorded:
            record = Record(path=self._path, sha256=sha256, metadata=self._upload.metadata)
            await self._entries.write_record(self._prefix, self._label, record)

    async def _decided(self, work: Any) -> None:
        """Makes the object appear. An answer that was lost is found in the object: it has our label, or not."""
        try:
            await self._calls.call(work, provides={*_CONDITIONS_FAILED, Kind.NO_UPLOAD})
        except Refused as refused:
            if await self._is_ours():
                return
            await self._entries.remove_record(self._prefix, self._label)
            raise self._refusal(refused.kind) from None
        except SiloError:
            if await self._is_ours(quietly=True):
                return
            raise

    async def _is_ours(self, *, quietly: bool = False) -> bool:
        try:
            return await self._entries.is_ours(self._prefix, self._path, self._label)
        except SiloError:
            if quietly:
                return False
            raise

    def _refusal(self, kind: Kind) -> SiloError:
        if self._upload.if_match:
            return etag_mismatch(self._path, field="if_match")
        if self._upload.create_only and kind is Kind.PRECONDITION:
            return AlreadyExists(self._path)
        return Aborted("CONFLICT", f"{self._path} is being written by somebody else; try again")


class _Over(Exception):
    """The upload is being aborted; no request of it begins any more."""


class PartsUpload:
    """An upload in parts, from its begin to its completion or abort."""

    def __init__(self, entries: Entries, writer: Writer, named: dict[str, Any]) -> None:
        self._client = entries.client
        self._calls = entries.calls
        self._writer = writer
        self._named = named
        self._digest = hashlib.sha256()
        self._count = 0
        self._over = False
        self._hashing: Future[None] | None = None
        self._sending: dict[asyncio.Task[None], int] = {}
        self._sent: dict[int, CompletedPartTypeDef] = {}
        self._id = ""
        self.size = 0

    async def begin(self) -> None:
        """Begins the upload. Not repeated where its outcome is unknown: it would leave another behind."""
        answer = await self._calls.call(
            partial(
                self._client.create_multipart_upload,
                **self._writer.described,
                ChecksumAlgorithm="CRC32",
            ),
            repeatable=False,
            discard=lambda late: self._calls.start(self._abort, late["UploadId"]),
        )
        self._id = answer["UploadId"]

    async def send(self, part: bytes) -> None:
        """Takes the next part; returns when there is room for another of its size."""
        self._count += 1
        self.size += len(part)
        await self._hashed()
        self._hashing = self._calls.start(self._digest.update, part)
        sending = asyncio.create_task(self._send(self._count, part))
        self._sending[sending] = len(part)
        await self._room(PARALLEL_BYTES - len(part))

    async def end(self) -> bytes:
        """Waits until all parts are there; the digest of all content."""
        await self._room(0)
        await self._hashed()
        return self._digest.digest()

    async def complete(self, digest: bytes) -> None:
        """See Writer.complete."""
        await self._writer.complete(self._id, self._sent, digest)

    async def abort(self) -> None:
        """Leaves nothing of the upload, if S3 lets us; else it is left to a sweep."""
        self._over = True
        if self._sending:
            await asyncio.wait(self._sending)
            for ended in self._sending:
                ended.exception()  # has been looked at: the upload has failed already
        try:
            await self._calls.call(
                partial(self._abort, self._id), provides={Kind.NO_UPLOAD, Kind.MISSING}
            )
        except Refused:
            return
        except SiloError:
            _log.warning("an upload in parts was not aborted and is left to a sweep")

    def _abort(self, upload_id: str) -> None:
        self._client.abort_multipart_upload(**self._named, UploadId=upload_id)

    async def _room(self, limit: int) -> None:
        """Waits until no more than limit bytes are under way, and raises what has gone wrong."""
        while sum(self._sending.values()) > max(0, limit):
            ended, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                del self._sending[task]
                task.result()

    async def _hashed(self) -> None:
        """Returns when the parts so far are in the digest, which takes them in their order."""
        if self._hashing is not None:
            await asyncio.wrap_future(self._hashing)

    async def _send(self, number: int, part: bytes) -> None:
        def send() -> CompletedPartTypeDef:
            if self._over:
                raise _Over
            checksum = base64.b64encode(zlib.crc32(part).to_bytes(4)).decode()
            answer = self._client.upload_part(
                **self._named,
                UploadId=self._id,
                PartNumber=number,
                Body=part,
                ChecksumCRC32=checksum,
            )
            return {"ETag": answer["ETag"], "PartNumber": number, "ChecksumCRC32": checksum}

        self._sent[number] = await self._calls.call(send)


def check_digest(digest: bytes, upload: Upload) -> None:
    """Returns where content has the digest that was announced, or none was.

    Raises:
        InvalidArgument: it has another.
    """
    if upload.sha256 and digest.hex() != upload.sha256:
        raise InvalidArgument(
            "sha256", "is not the SHA-256 of the content", reason="CHECKSUM_MISMATCH"
        )
