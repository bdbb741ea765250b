"""The table port guard of the platform's own work on a tenant's items."""

from __future__ import annotations

from collections.abc import Sequence

from boundary.guard import GuardViolation, require_lifecycle, require_partition
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import Partition
from services.table.guard import CONFIG_SORT_KEY, GuardedTable
from services.table.ports import KeyPage, PurgeableTable


class GuardedPurgeableTable(GuardedTable):
    """A guarded table from which the current tenant's partition can be taken away.

    What goes beyond the table port raises boundary.guard.GuardViolation outside of the platform's own work on the
    tenant, and where it would take away what the resolver owns.
    """

    def __init__(self, inner: PurgeableTable | ByRegion[PurgeableTable]) -> None:
        """Takes the table to guard: one, or one for each region."""
        super().__init__(inner)
        self._purgeable = engine_by_region(inner)

    async def keys(
        self, partition: Partition, *, limit: int, position: bytes | None = None
    ) -> KeyPage:
        """As the port says."""
        _require(partition)
        return await self._purgeable(partition.region).keys(
            partition, limit=limit, position=position
        )

    async def drop(self, partition: Partition, sort_keys: Sequence[str]) -> None:
        """As the port says, of other items than CONFIG."""
        _require(partition)
        if CONFIG_SORT_KEY in sort_keys:
            raise GuardViolation("a deletion of the resolver's CONFIG")
        await self._purgeable(partition.region).drop(partition, sort_keys)

    async def scrub(self, partition: Partition) -> None:
        """As the port says."""
        _require(partition)
        await self._purgeable(partition.region).scrub(partition)


def _require(partition: Partition) -> None:
    require_lifecycle()
    require_partition(partition)
