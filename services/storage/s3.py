"""Objects on Amazon S3 or a server that speaks its API.

One adapter serves a region: one client, one pool of connections, a bounded number of threads, all tenants. An
object lies where the domain says, under its tenant's prefix and its own path. How it carries its digest and
etag, and what else lies in the tenant's prefix for that, `s3_description` explains.

What holds under concurrency. `create_only` is decided by S3 alone (If-None-Match). `if_match` compares the
port's etag with what is there, then writes under S3's If-Match with the S3 ETag of what was compared: whoever
came between is noticed, except one who wrote the very same bytes, of which S3's ETag knows nothing. So are
conditional deletions where the server has them; one that ignores If-Match in DeleteObject deletes what is there
at that moment.

A write whose answer is lost is looked up: the object carries the id of the write that made it. Where even that
does not answer, the caller gets Unavailable, and the write may come to be seen.

In a bucket with versions a deletion leaves a delete marker and a replacement an older version, both until the
bucket's lifecycle rule removes them; downloads under way go on from the version that they began with.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from boundary.errors import AlreadyExists, NotFound, Unavailable, etag_mismatch
from boundary.scope import ObjectPrefix
from services.storage.ports import (
    MAX_LISTED,
    WHOLE,
    Contents,
    Described,
    Listing,
    Rewrite,
    Rewritten,
    Span,
    StoredObject,
    Upload,
)
from services.storage.s3_client import Calls
from services.storage.s3_copy import Copy
from services.storage.s3_description import RECORDS, Label, Present, new_label, present_of
from services.storage.s3_download import S3Content, Source
from services.storage.s3_entries import Entries, KeyOf, is_own, refuse_own
from services.storage.s3_errors import Kind, Refused
from services.storage.s3_lifecycle import LifecycleRules, Lock
from services.storage.s3_listing import Pager, present_among
from services.storage.s3_purge import Purge
from services.storage.s3_rewrite import Rewriting
from services.storage.s3_upload import (
    PART_BYTES,
    PartsUpload,
    Writer,
    check_digest,
    part_sizes,
    parts,
)

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client

T = TypeVar("T")

_ATTEMPTS = 10
"""How often an operation starts again because the object changed between its steps."""

_UNDER_WAY_SECONDS = 10.0

_STALE = timedelta(hours=24)
"""After this an upload that has not ended is one whose process has. No call lasts so long."""


class S3Objects:
    """Objects in the buckets of one region. End it with `settle` and `close`."""

    def __init__(
        self,
        client: S3Client,
        *,
        threads: int = 16,
        key_of: KeyOf = lambda _: None,
        part_bytes: int = PART_BYTES,
        ensure: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        """Takes the shared client, see s3_client.

        Args:
            threads: how many requests may be under way at once.
            key_of: the KMS key of a tenant.
            part_bytes: the size of an upload's first parts, up to which its content is one request, and of ranges
                of a download that are fetched side by side.
            ensure: awaited before a thread is taken; sees to it that the tenant's credentials are there.
        """
        self._calls = Calls(threads=threads, ensure=ensure)
        self._entries = Entries(client, self._calls, key_of)
        self._client = client
        self._part_bytes = part_bytes
        self._tasks: set[asyncio.Task[Any]] = set()

    def close(self) -> None:
        """Lets go of the threads. Blocks; call it when nothing is under way, see `settle`.

        The client is whoever's it was: several adapters may share one.
        """
        self._calls.close()

    async def settle(self) -> None:
        """Waits for what callers no longer wait for, such as the abort of a cancelled upload."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def maintain(self) -> None:
        """Waits to be cancelled, then settles. A server runs it in the background."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.settle()

    def lifecycle(self, lock: Lock) -> LifecycleRules:
        """The lifecycle rules of tenants in the same buckets.

        Args:
            lock: shared by all processes that edit them, see s3_lifecycle.
        """
        return LifecycleRules(self._client, self._calls, lock=lock)

    async def put(
        self, prefix: ObjectPrefix, path: str, content: AsyncIterator[bytes], upload: Upload
    ) -> StoredObject:
        """See Objects.put."""
        refuse_own(path)
        replaced = None
        if upload.create_only or upload.if_match:
            # Decided when the content is there; asked now to spare the caller a vain upload.
            replaced = await self._entries.find(prefix, path)
            _check(path, replaced, create_only=upload.create_only, if_match=upload.if_match)
        cut = parts(content, part_sizes(self._part_bytes))
        first = await anext(cut)
        second = await anext(cut, None)
        if second is None:
            stored = await self._whole(prefix, path, first, upload=upload, replaced=replaced)
        else:
            chunks = _chain([first, second], cut)
            del first, second
            stored = await self._in_parts(prefix, path, chunks, upload=upload, replaced=replaced)
        if replaced is not None:
            await self._entries.remove_record(prefix, replaced.label)
        return stored

    async def _whole(
        self,
        prefix: ObjectPrefix,
        path: str,
        content: bytes,
        *,
        upload: Upload,
        replaced: Present | None,
    ) -> StoredObject:
        digest = await self._calls.compute(lambda: hashlib.sha256(content).digest())
        check_digest(digest, upload)
        label = new_label(digest.hex(), upload.metadata)
        writer = Writer(self._entries, prefix, path, label=label, upload=upload, replaced=replaced)
        await writer.whole(content, digest)
        return _stored(path, len(content), digest, label, upload)

    async def _in_parts(
        self,
        prefix: ObjectPrefix,
        path: str,
        content: AsyncIterator[bytes],
        *,
        upload: Upload,
        replaced: Present | None,
    ) -> StoredObject:
        label = new_label(upload.sha256, upload.metadata)
        writer = Writer(self._entries, prefix, path, label=label, upload=upload, replaced=replaced)
        sending = PartsUpload(self._entries, writer, self._entries.at(prefix, path))
        await sending.begin()
        try:
            async for part in content:
                await sending.send(part)
            digest = await sending.end()
            check_digest(digest, upload)
        except BaseException:
            await self._through(sending.abort())
            raise
        await self._through(_complete(sending, digest))
        return _stored(path, sending.size, digest, label, upload)

    async def get(
        self, prefix: ObjectPrefix, path: str, *, span: Span = WHOLE, if_match: str = ""
    ) -> S3Content:
        """See Objects.get. One request, or, where that is slow, several side by side; see s3_download."""
        if is_own(path):
            raise NotFound(path)
        for _ in range(_ATTEMPTS):
            content = await self._opened(prefix, path, span, if_match)
            if content is not None:
                return content
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def _opened(
        self, prefix: ObjectPrefix, path: str, span: Span, if_match: str
    ) -> S3Content | None:
        """The content, or None where the object changed on the way."""
        named = self._entries.at(prefix, path)
        try:
            answer = await self._calls.call(
                partial(self._client.get_object, **named, Range=_http_range(span)),
                provides={Kind.MISSING, Kind.RANGE},
                discard=lambda late: late["Body"].close(),
            )
        except Refused as refused:
            if refused.kind is Kind.RANGE:
                return await self._nothing(prefix, path, span, if_match)
            raise NotFound(path) from None
        body = answer["Body"]
        try:
            present = present_of(answer)
            if if_match and present.etag != if_match:
                raise etag_mismatch(path, field="if_match")
            start, length = span.within(present.size)
            stored = await self._entries.described(prefix, path, present)
        except BaseException:
            body.close()
            raise
        if stored is None:
            body.close()
            return None
        source = Source(self._client, self._calls, named, present)
        return self._content(stored, start, length, body=body, source=source)

    async def _nothing(
        self, prefix: ObjectPrefix, path: str, span: Span, if_match: str
    ) -> S3Content | None:
        """What a range is worth that S3 finds nothing in: the error, or, of an empty object, no bytes."""
        present = await self._entries.find(prefix, path)
        if present is None:
            raise NotFound(path)
        if if_match and present.etag != if_match:
            raise etag_mismatch(path, field="if_match")
        start, length = span.within(present.size)
        stored = await self._entries.described(prefix, path, present)
        if stored is None or length:
            return None
        source = Source(self._client, self._calls, self._entries.at(prefix, path), present)
        return self._content(stored, start, 0, body=None, source=source)

    def _content(
        self,
        stored: StoredObject,
        start: int,
        length: int,
        *,
        body: StreamingBody | None,
        source: Source,
    ) -> S3Content:
        return S3Content(
            stored,
            start,
            length,
            body=body,
            source=source,
            calls=self._calls,
            range_bytes=self._part_bytes,
        )

    async def head(self, prefix: ObjectPrefix, path: str) -> StoredObject | None:
        """See Objects.head."""
        return await self._entries.describe(prefix, path)

    async def list(
        self,
        prefix: ObjectPrefix,
        *,
        under: str,
        folded: bool,
        limit: int,
        position: bytes | None = None,
    ) -> Listing:
        """See Objects.list."""
        pager = Pager(self._entries, prefix, under=under, folded=folded)
        return await pager.page(min(limit, MAX_LISTED), position)

    async def copy(
        self,
        prefix: ObjectPrefix,
        source: str,
        destination: str,
        *,
        source_if_match: str = "",
        create_only: bool = False,
    ) -> StoredObject:
        """See Objects.copy. The content stays within S3."""
        refuse_own(destination)
        if create_only and await self._entries.find(prefix, destination) is not None:
            # Decided by S3 with the copy; asked now to spare it, and for servers that do not decide.
            await self._source(prefix, source, source_if_match)
            raise AlreadyExists(destination)
        for _ in range(_ATTEMPTS):
            present = await self._source(prefix, source, source_if_match)
            original = await self._entries.described(prefix, source, present)
            if original is None:
                continue
            copy = Copy(
                self._entries, prefix, original, present, destination, create_only=create_only
            )
            stored = await self._through(copy.make())
            if stored is not None:
                return stored
        raise Unavailable("ENGINE_BUSY", "the source is being replaced over and over")

    async def _source(self, prefix: ObjectPrefix, path: str, if_match: str) -> Present:
        present = await self._entries.find(prefix, path)
        if present is None:
            raise NotFound(path)
        if if_match and present.etag != if_match:
            raise etag_mismatch(path, field="source_if_match")
        return present

    async def delete(self, prefix: ObjectPrefix, path: str, *, if_match: str = "") -> None:
        """See Objects.delete."""
        for _ in range(_ATTEMPTS):
            present = await self._entries.find(prefix, path)
            if present is None:
                raise NotFound(path)
            _check(path, present, create_only=False, if_match=if_match)
            try:
                await self._calls.call(
                    partial(
                        self._client.delete_object,
                        **self._entries.at(prefix, path),
                        IfMatch=present.s3_etag,
                    ),
                    provides={Kind.MISSING, Kind.PRECONDITION, Kind.CONFLICT},
                    # Made again, it would not know its own first deletion from somebody else's.
                    repeatable=False,
                )
            except Refused:
                continue  # it changed since it was looked at
            await self._entries.remove_record(prefix, present.label)
            return
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def delete_many(self, prefix: ObjectPrefix, paths: Sequence[str]) -> int:
        """See Objects.delete_many. Records are left to a sweep: to name them would take a request each."""
        found = await present_among(self._entries, prefix, paths)
        if not found:
            return 0
        named = [{"Key": prefix.key(path)} for path in found]
        await self._entries.delete_all(prefix.bucket, named)
        return len(found)

    async def purge(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """See PurgeableObjects.purge. Uploads that were cut off a moment ago are waited for."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_UNDER_WAY_SECONDS)
        async for deleted in Purge(self._entries, prefix).run():
            yield deleted

    async def survey(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """See PurgeableObjects.survey."""
        async for found in Purge(self._entries, prefix).survey():
            yield found

    async def described(self, prefix: ObjectPrefix) -> AsyncIterator[Sequence[Described]]:
        """See PurgeableObjects.described."""
        async for page in Rewriting(self._entries, prefix).described():
            yield page

    async def rewrite(self, prefix: ObjectPrefix, rewrite: Rewrite) -> AsyncIterator[Rewritten]:
        """See PurgeableObjects.rewrite."""
        async for done in Rewriting(self._entries, prefix).run(rewrite):
            yield done

    async def sweep(self, prefix: ObjectPrefix, *, older_than: timedelta = _STALE) -> int:
        """Removes what ended processes have left of a tenant: uploads in parts, and records without an object.

        Says how many. Safe while others write, provided that no upload lasts as long as older_than.
        """
        before = datetime.now(UTC) - older_than
        return await self._sweep_uploads(prefix, before) + await self._sweep_records(prefix, before)

    async def _sweep_uploads(self, prefix: ObjectPrefix, before: datetime) -> int:
        paginator = self._client.get_paginator("list_multipart_uploads")

        def stale() -> list[tuple[str, str]]:
            pages = paginator.paginate(Bucket=prefix.bucket, Prefix=prefix.prefix)
            return [
                (upload["Key"], upload["UploadId"])
                for page in pages
                for upload in page.get("Uploads", ())
                if upload["Initiated"] < before and prefix.owns(upload["Key"])
            ]

        removed = 0
        for key, upload_id in await self._calls.call(stale):
            try:
                await self._calls.call(
                    partial(
                        self._client.abort_multipart_upload,
                        Bucket=prefix.bucket,
                        Key=key,
                        UploadId=upload_id,
                    ),
                    provides={Kind.NO_UPLOAD, Kind.MISSING},
                )
                removed += 1
            except Refused:
                continue
        return removed

    async def _sweep_records(self, prefix: ObjectPrefix, before: datetime) -> int:
        paginator = self._client.get_paginator("list_objects_v2")

        def stale() -> list[str]:
            pages = paginator.paginate(Bucket=prefix.bucket, Prefix=prefix.key(RECORDS))
            return [
                prefix.path(listed["Key"])
                for page in pages
                for listed in page.get("Contents", ())
                if listed["LastModified"] < before
            ]

        removed = 0
        for path in await self._calls.call(stale):
            label = Label(id=path.removeprefix(RECORDS), time_us=0, sha256="", metadata_aside=True)
            record = await self._entries.record(prefix, label)
            if record is None or await self._entries.is_ours(prefix, record.path, label):
                continue
            await self._entries.remove_record(prefix, label)
            removed += 1
        return removed

    async def _through(self, work: Coroutine[Any, Any, T]) -> T:
        """Does work to its end, whether or not the caller waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)


async def _chain(begun: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while begun:
        yield begun.pop(0)
    async for part in rest:
        yield part


async def _complete(sending: PartsUpload, digest: bytes) -> None:
    try:
        await sending.complete(digest)
    except BaseException:
        await sending.abort()
        raise


def _check(path: str, present: Present | None, *, create_only: bool, if_match: str) -> None:
    if create_only and present is not None:
        raise AlreadyExists(path)
    if if_match and (present is None or present.etag != if_match):
        raise etag_mismatch(path, field="if_match")


def _http_range(span: Span) -> str:
    """A range as HTTP has it (RFC 9110, section 14.1.2)."""
    if span.offset < 0:
        return f"bytes={span.offset}"
    last = span.offset + span.length - 1 if span.length else ""
    return f"bytes={span.offset}-{last}"


def _stored(path: str, size: int, digest: bytes, label: Label, upload: Upload) -> StoredObject:
    return StoredObject(
        path=path,
        size=size,
        content_type=upload.content_type,
        sha256=digest.hex(),
        etag=label.id,
        metadata=dict(upload.metadata),
        update_time=datetime.fromtimestamp(label.time_us / 1e6, UTC),
    )
