"""Every version under a tenant's prefix: what is listed, what each says of itself, and its deletion.

A bucket without versions answers alike, with the one version `null` of each object.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from boundary.guard import GuardViolation
from boundary.scope import ObjectPrefix
from services.storage.ports import MAX_LISTED
from services.storage.s3_description import OWN, Present, Record, present_of
from services.storage.s3_entries import Entries
from services.storage.s3_errors import Kind, Refused

_PARALLEL = 4
"""Into how many requests a page of deletions is divided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version or a delete marker.

    Attributes:
        path: below the tenant's prefix.
        id: the version id.
        latest: whether it is what is at the path now.
        marker: whether it is a delete marker.
    """

    path: str
    id: str
    latest: bool
    marker: bool

    @property
    def own(self) -> bool:
        """Whether it is in the adapter's own room."""
        return self.path.startswith(OWN)


class Versions:
    """The versions of one tenant's objects. Raises what Calls.call does."""

    def __init__(self, entries: Entries, prefix: ObjectPrefix) -> None:
        self._entries = entries
        self._client = entries.client
        self._calls = entries.calls
        self._prefix = prefix

    async def pages(self, *, under: str = "") -> AsyncIterator[list[Version]]:
        """All versions and markers whose paths begin so, by key, a page at a time."""
        place: dict[str, str] = {}
        while True:
            answer: Any = await self._calls.call(
                partial(
                    self._client.list_object_versions,
                    Bucket=self._prefix.bucket,
                    Prefix=self._prefix.key(under),
                    MaxKeys=MAX_LISTED,
                    **place,  # type: ignore[arg-type]
                )
            )
            versions = [self._version(each, marker=False) for each in answer.get("Versions", ())]
            markers = [self._version(each, marker=True) for each in answer.get("DeleteMarkers", ())]
            yield versions + markers
            if not answer.get("IsTruncated"):
                return
            place = {"KeyMarker": answer["NextKeyMarker"]}
            if answer.get("NextVersionIdMarker"):
                place["VersionIdMarker"] = answer["NextVersionIdMarker"]

    def _version(self, listed: Any, *, marker: bool) -> Version:
        key = listed["Key"]
        if not self._prefix.owns(key):
            raise GuardViolation("a version outside of the tenant's prefix")
        return Version(
            path=self._prefix.path(key),
            id=listed["VersionId"],
            latest=bool(listed["IsLatest"]),
            marker=marker,
        )

    async def present(self, version: Version) -> Present | None:
        """What a version says of itself, or None where it has gone."""
        named = self._entries.at(self._prefix, version.path)
        try:
            answer = await self._calls.call(
                partial(self._client.head_object, **named, VersionId=version.id),
                provides={Kind.MISSING},
            )
        except Refused:
            return None
        return present_of(answer)

    async def record(self, version: Version) -> Record | None:
        """The record in a version, or None where it has gone."""
        named = self._entries.at(self._prefix, version.path)

        def read() -> bytes:
            answer = self._client.get_object(**named, VersionId=version.id)
            return answer["Body"].read()

        try:
            return Record.from_bytes(await self._calls.call(read, provides={Kind.MISSING}))
        except Refused:
            return None

    async def delete(self, versions: Sequence[Version]) -> None:
        """Deletes versions and markers for good, up to MAX_LISTED; those that have gone are no failure."""
        size = -(-len(versions) // _PARALLEL) or 1
        parts = [versions[start : start + size] for start in range(0, len(versions), size)]
        await asyncio.gather(*map(self._delete, parts))

    async def _delete(self, versions: Sequence[Version]) -> None:
        named = [{"Key": self._prefix.key(each.path), "VersionId": each.id} for each in versions]
        await self._entries.delete_all(self._prefix.bucket, named)
