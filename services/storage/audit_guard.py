"""The port guard of the audit archive: its own area of the bucket, and nothing else.

The archive works for no tenant's call, so its guard is not about whose call is being served but about what the
archive may touch: no tenant's objects, whatever a defect might ask for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from boundary.guard import GuardViolation
from boundary.scope import ObjectPrefix
from services.storage.ports import Listing, Objects, StoredObject, Upload


class GuardedArchive:
    """The objects of one area; every call is checked before the engine is asked."""

    def __init__(self, inner: Objects, area: ObjectPrefix) -> None:
        """Takes the engine and the archive's area.

        Raises:
            GuardViolation: the area is a tenant's.
        """
        if area.tenant_id or area.prefix.startswith("tenant-"):
            raise GuardViolation("an audit archive in a tenant's prefix")
        self._inner = inner
        self._area = area

    async def put(self, path: str, content: bytes, *, if_match: str = "") -> StoredObject:
        """Stores content; over nothing where no etag is given, else over the object that has it.

        Raises:
            AlreadyExists, Aborted: there is another object.
        """
        upload = Upload(
            content_type="application/x-ndjson", create_only=not if_match, if_match=if_match
        )
        self._require(path)
        return await self._inner.put(self._area, path, _once(content), upload)

    async def replace(self, path: str, content: bytes) -> None:
        """Stores content, over whatever is there."""
        self._require(path)
        upload = Upload(content_type="application/x-ndjson")
        await self._inner.put(self._area, path, _once(content), upload)

    async def read(self, path: str) -> tuple[StoredObject, bytes]:
        """An object and its content.

        Raises:
            NotFound: there is none.
        """
        self._require(path)
        async with await self._inner.get(self._area, path) as content:
            return content.object, b"".join([chunk async for chunk in content.chunks()])

    async def head(self, path: str) -> StoredObject | None:
        """An object without its content, or None."""
        self._require(path)
        return await self._inner.head(self._area, path)

    async def list(
        self, *, under: str, folded: bool, limit: int, position: bytes | None = None
    ) -> Listing:
        """See Objects.list."""
        self._require(under)
        return await self._inner.list(
            self._area, under=under, folded=folded, limit=limit, position=position
        )

    async def delete_many(self, paths: Sequence[str]) -> int:
        """Deletes up to MAX_LISTED objects, and says how many there were."""
        for path in paths:
            self._require(path)
        return await self._inner.delete_many(self._area, paths)

    def _require(self, path: str) -> None:
        segments = path.split("/")
        if ".." in segments or "." in segments or not self._area.owns(self._area.key(path)):
            raise GuardViolation("an object outside of the audit archive")


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
