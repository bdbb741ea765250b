"""A copy within S3, whose content does not pass through here."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from boundary.errors import Aborted, AlreadyExists, SiloError
from boundary.scope import ObjectPrefix
from services.storage.ports import StoredObject, Upload
from services.storage.s3_description import Present, new_label
from services.storage.s3_entries import Entries
from services.storage.s3_errors import Kind, Refused
from services.storage.s3_upload import Writer

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 256 * 1024 * 1024
"""Up to this size one request copies; S3 takes 5 GiB, but is silent for as long as it copies."""

_MOST_PARTS = 10_000
_PARALLEL = 4


class Copy:
    """One copy of one version of an object. The digest is known, so that the copy needs no record for it."""

    def __init__(
        self,
        entries: Entries,
        prefix: ObjectPrefix,
        original: StoredObject,
        present: Present,
        destination: str,
        *,
        create_only: bool,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self._entries = entries
        self._client = entries.client
        self._prefix = prefix
        self._original = original
        self._present = present
        self._destination = destination
        self._create_only = create_only
        self._part_bytes = max(part_bytes, -(-present.size // _MOST_PARTS))
        self._label = new_label(original.sha256, original.metadata)
        self._writer = Writer(
            entries,
            prefix,
            destination,
            label=self._label,
            upload=Upload(
                content_type=original.content_type,
                metadata=original.metadata,
                create_only=create_only,
            ),
            replaced=None,
        )

    async def make(self) -> StoredObject | None:
        """Makes the copy, or says None where the source changed before.

        Raises:
            AlreadyExists: create_only, and the destination is taken.
        """
        try:
            if self._present.size <= self._part_bytes:
                await self._writer.copied(self._source(), self._original.sha256)
            else:
                await self._in_parts()
        except AlreadyExists:
            if await self._entries.find(self._prefix, self._destination) is None:
                return None  # S3 answers alike where the source is another
            raise
        except (Aborted, Refused):
            return None
        return StoredObject(
            path=self._destination,
            size=self._original.size,
            content_type=self._original.content_type,
            sha256=self._original.sha256,
            etag=self._label.id,
            metadata=self._original.metadata,
            update_time=datetime.fromtimestamp(self._label.time_us / 1e6, UTC),
        )

    def _source(self) -> dict[str, Any]:
        source = self._entries.at(self._prefix, self._original.path)
        if self._present.version:
            source["VersionId"] = self._present.version
        return {"CopySource": source, "CopySourceIfMatch": self._present.s3_etag}

    async def _in_parts(self) -> None:
        named = self._entries.at(self._prefix, self._destination)
        begun = await self._entries.calls.call(
            partial(
                self._client.create_multipart_upload,
                **self._writer.described,
                ChecksumAlgorithm="SHA256",
            ),
            repeatable=False,
        )
        upload_id = begun["UploadId"]
        try:
            parts = await self._copied_parts(named, upload_id)
            await self._writer.complete(upload_id, parts, bytes.fromhex(self._original.sha256))
        except BaseException:
            await self._abort(named, upload_id)
            raise

    async def _copied_parts(
        self, named: dict[str, Any], upload_id: str
    ) -> dict[int, CompletedPartTypeDef]:
        done: dict[int, CompletedPartTypeDef] = {}
        few_at_a_time = asyncio.Semaphore(_PARALLEL)

        async def copy(number: int, start: int) -> None:
            end = min(start + self._part_bytes, self._present.size)
            async with few_at_a_time:
                answer = await self._entries.calls.call(
                    partial(
                        self._client.upload_part_copy,
                        **named,
                        **self._source(),
                        UploadId=upload_id,
                        PartNumber=number,
                        CopySourceRange=f"bytes={start}-{end - 1}",
                    ),
                    provides={Kind.PRECONDITION, Kind.MISSING},
                )
            result = answer["CopyPartResult"]
            part: CompletedPartTypeDef = {"ETag": result["ETag"], "PartNumber": number}
            if "ChecksumSHA256" in result:
                part["ChecksumSHA256"] = result["ChecksumSHA256"]
            done[number] = part

        starts = range(0, self._present.size, self._part_bytes)
        try:
            async with asyncio.TaskGroup() as copying:
                for number, start in enumerate(starts, 1):
                    copying.create_task(copy(number, start))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return done

    async def _abort(self, named: dict[str, Any], upload_id: str) -> None:
        work = partial(self._client.abort_multipart_upload, **named, UploadId=upload_id)
        try:
            await self._entries.calls.call(work, provides={Kind.NO_UPLOAD, Kind.MISSING})
        except (Refused, SiloError):
            return  # left to a sweep
