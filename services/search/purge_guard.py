"""The search port guard of the platform's own work on a tenant's index."""

from __future__ import annotations

from boundary.guard import require_index, require_lifecycle
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import SearchIndex
from services.search.guard import GuardedIndexes
from services.search.ports import IndexSurvey, PurgeableIndexes


class GuardedPurgeableIndexes(GuardedIndexes):
    """Guarded indexes out of which events can be taken, and which can be taken away.

    Dropping an index and what goes beyond the search port raise boundary.guard.GuardViolation outside of the
    platform's own work on the tenant.
    """

    def __init__(self, inner: PurgeableIndexes | ByRegion[PurgeableIndexes]) -> None:
        super().__init__(inner)
        self._purgeable = engine_by_region(inner)

    async def drop(self, index: SearchIndex) -> None:
        """See Indexes.drop."""
        require_lifecycle()
        await super().drop(index)

    async def survey(self, index: SearchIndex) -> IndexSurvey:
        """See PurgeableIndexes.survey."""
        return await self._of(index).survey(index)

    async def erase(self, index: SearchIndex, recipient_key: str, *, limit: int) -> int:
        """See PurgeableIndexes.erase."""
        return await self._of(index).erase(index, recipient_key, limit=limit)

    async def scrub(self, index: SearchIndex) -> None:
        """See PurgeableIndexes.scrub."""
        await self._of(index).scrub(index)

    def _of(self, index: SearchIndex) -> PurgeableIndexes:
        require_lifecycle()
        require_index(index)
        return self._purgeable(index.region)
