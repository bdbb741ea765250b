"""The guarded search port: what the service is wired with in place of a bare engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from boundary.guard import GuardViolation, require_index
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import SearchIndex
from services.search.ports import (
    Aggregation,
    AggregationResult,
    Document,
    Filter,
    Indexes,
    Page,
    Position,
)


class GuardedIndexes:
    """Lets a call through to the engine where its index is the current tenant's.

    Every document, on the way in and on the way out, must be that tenant's too. Every method raises
    GuardViolation otherwise.
    """

    def __init__(self, inner: Indexes | ByRegion[Indexes]) -> None:
        self._engine = engine_by_region(inner)

    async def create(self, index: SearchIndex) -> None:
        """See Indexes.create."""
        require_index(index)
        await self._engine(index.region).create(index)

    async def drop(self, index: SearchIndex) -> None:
        """See Indexes.drop."""
        require_index(index)
        await self._engine(index.region).drop(index)

    async def bulk(self, index: SearchIndex, documents: Sequence[Document]) -> Sequence[bool]:
        """See Indexes.bulk."""
        require_index(index)
        _require_own(index, documents)
        return await self._engine(index.region).bulk(index, documents)

    async def search(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002 - the field's own name
        limit: int,
        position: Position | None = None,
        ascending: bool = False,
    ) -> Page:
        """See Indexes.search."""
        require_index(index)
        page = await self._engine(index.region).search(
            index, filter=filter, limit=limit, position=position, ascending=ascending
        )
        _require_own(index, page.documents)
        return page

    async def count(self, index: SearchIndex, *, filter: Filter) -> int:  # noqa: A002
        """See Indexes.count."""
        require_index(index)
        return await self._engine(index.region).count(index, filter=filter)

    async def aggregate(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002
        aggregations: Sequence[Aggregation],
        max_buckets: int,
    ) -> Sequence[AggregationResult]:
        """See Indexes.aggregate."""
        require_index(index)
        return await self._engine(index.region).aggregate(
            index, filter=filter, aggregations=aggregations, max_buckets=max_buckets
        )


def _require_own(index: SearchIndex, documents: Iterable[Document]) -> None:
    if any(document.tenant_id != index.tenant_id for document in documents):
        raise GuardViolation("a document of another tenant")
