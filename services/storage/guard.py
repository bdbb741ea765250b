"""The objects port behind the port guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from boundary.guard import require_prefix
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import ObjectPrefix
from services.storage.ports import WHOLE, Content, Listing, Objects, Span, StoredObject, Upload


class GuardedObjects:
    """Objects whose every call is checked: the prefix is the current tenant's and owns every key touched.

    Each method raises GuardViolation, before the engine is asked, where that does not hold; else it is the
    inner port's.
    """

    def __init__(self, inner: Objects | ByRegion[Objects]) -> None:
        self._engine = engine_by_region(inner)

    async def put(
        self, prefix: ObjectPrefix, path: str, content: AsyncIterator[bytes], upload: Upload
    ) -> StoredObject:
        """See Objects.put."""
        require_prefix(prefix, prefix.key(path))
        return await self._engine(prefix.region).put(prefix, path, content, upload)

    async def get(
        self, prefix: ObjectPrefix, path: str, *, span: Span = WHOLE, if_match: str = ""
    ) -> Content:
        """See Objects.get."""
        require_prefix(prefix, prefix.key(path))
        return await self._engine(prefix.region).get(prefix, path, span=span, if_match=if_match)

    async def head(self, prefix: ObjectPrefix, path: str) -> StoredObject | None:
        """See Objects.head."""
        require_prefix(prefix, prefix.key(path))
        return await self._engine(prefix.region).head(prefix, path)

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
        require_prefix(prefix, prefix.key(under))
        return await self._engine(prefix.region).list(
            prefix, under=under, folded=folded, limit=limit, position=position
        )

    async def copy(
        self,
        prefix: ObjectPrefix,
        source: str,
        destination: str,
        *,
        source_if_match: str = "",
        create_only: bool = False,
    ) -> StoredObject:
        """See Objects.copy."""
        require_prefix(prefix, prefix.key(source), prefix.key(destination))
        return await self._engine(prefix.region).copy(
            prefix,
            source,
            destination,
            source_if_match=source_if_match,
            create_only=create_only,
        )

    async def delete(self, prefix: ObjectPrefix, path: str, *, if_match: str = "") -> None:
        """See Objects.delete."""
        require_prefix(prefix, prefix.key(path))
        await self._engine(prefix.region).delete(prefix, path, if_match=if_match)

    async def delete_many(self, prefix: ObjectPrefix, paths: Sequence[str]) -> int:
        """See Objects.delete_many."""
        require_prefix(prefix, *(prefix.key(path) for path in paths))
        return await self._engine(prefix.region).delete_many(prefix, paths)
