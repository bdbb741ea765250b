"""Taking a tenant's prefix out of a bucket, and counting what is in it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from boundary.errors import Unavailable
from boundary.scope import ObjectPrefix
from services.storage.ports import Contents
from services.storage.s3_entries import Entries
from services.storage.s3_errors import Kind, Refused
from services.storage.s3_versions import Version, Versions

_PASSES = 20
"""How often the prefix is gone through while there is still something under it."""

Upload = tuple[str, str]
"""An unfinished upload: its key and its id."""


class Purge:
    """Deletes and counts versions, markers and unfinished uploads of one tenant."""

    def __init__(self, entries: Entries, prefix: ObjectPrefix) -> None:
        self._client = entries.client
        self._calls = entries.calls
        self._prefix = prefix
        self._versions = Versions(entries, prefix)

    async def run(self) -> AsyncIterator[Contents]:
        """See PurgeableObjects.purge. Uploads go first, so that none comes to its end meanwhile."""
        deleted = Contents()
        for _ in range(_PASSES):
            before = deleted.count
            async for uploads in self._uploads():
                await asyncio.gather(*map(self._abort, uploads))
                deleted = deleted.plus(Contents(uploads=len(uploads)))
                yield deleted
            async for versions in self._versions.pages():
                if versions:
                    await self._versions.delete(versions)
                    deleted = deleted.plus(_counted(versions))
                    yield deleted
            if deleted.count == before:
                yield replace(deleted, complete=True)
                return
        raise Unavailable("TENANT_BUSY", "objects of the tenant keep coming")

    async def survey(self) -> AsyncIterator[Contents]:
        """See PurgeableObjects.survey."""
        found = Contents()
        async for versions in self._versions.pages():
            found = found.plus(_counted(versions))
            yield found
        async for uploads in self._uploads():
            found = found.plus(Contents(uploads=len(uploads)))
            yield found
        yield replace(found, complete=True)

    async def _uploads(self) -> AsyncIterator[list[Upload]]:
        place: dict[str, str] = {}
        while True:
            answer: Any = await self._calls.call(
                partial(
                    self._client.list_multipart_uploads,
                    Bucket=self._prefix.bucket,
                    Prefix=self._prefix.prefix,
                    **place,  # type: ignore[arg-type]
                )
            )
            found = [
                (upload["Key"], upload["UploadId"])
                for upload in answer.get("Uploads", ())
                if self._prefix.owns(upload["Key"])
            ]
            if found:
                yield found
            if not answer.get("IsTruncated"):
                return
            place = {
                "KeyMarker": answer["NextKeyMarker"],
                "UploadIdMarker": answer["NextUploadIdMarker"],
            }

    async def _abort(self, upload: Upload) -> None:
        key, upload_id = upload
        work = partial(
            self._client.abort_multipart_upload,
            Bucket=self._prefix.bucket,
            Key=key,
            UploadId=upload_id,
        )
        try:
            await self._calls.call(work, provides={Kind.NO_UPLOAD, Kind.MISSING})
        except Refused:
            return  # it has ended, one way or the other


def _counted(versions: Iterable[Version]) -> Contents:
    counts = Counter(_kind(version) for version in versions)
    return Contents(
        objects=counts["object"],
        noncurrent=counts["noncurrent"],
        markers=counts["marker"],
        records=counts["record"],
    )


def _kind(version: Version) -> str:
    if version.marker:
        return "marker"
    if version.own:
        return "record"
    return "object" if version.latest else "noncurrent"
