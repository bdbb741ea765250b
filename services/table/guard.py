"""The table port guard: nothing that leaves the current tenant reaches the engine.

It stands directly before an adapter in every service that works on tenants' items. The resolver,
which keeps the directory, has a guard of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from boundary.guard import GuardViolation, require_partition
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import Partition
from services.table.ports import INDEXES, Check, Item, Page, Put, Range, Table, Update, Write

CONFIG_SORT_KEY = "CONFIG"
"""The tenant's own record, which the resolver owns."""

SETTINGS_ATTRIBUTES = frozenset({"settings", "settings_etag"})
"""The attributes of CONFIG that are the tenant's to change."""

_INDEX_PARTITION_KEYS = tuple(partition_key for partition_key, _ in INDEXES.values())


class GuardedTable:
    """A table that makes a call only where everything in it is the current tenant's.

    Every method raises boundary.guard.GuardViolation where a partition or an index key is not,
    where no call is being served, or where a write would change what the resolver owns.
    """

    def __init__(self, inner: Table | ByRegion[Table]) -> None:
        """Takes the table to guard: one, or one for each region."""
        self._engine = engine_by_region(inner)

    async def get(self, partition: Partition, sort_key: str) -> Item | None:
        """As the port says."""
        require_partition(partition)
        return await self._engine(partition.region).get(partition, sort_key)

    async def batch_get(self, partition: Partition, sort_keys: Sequence[str]) -> Mapping[str, Item]:
        """As the port says."""
        require_partition(partition)
        return await self._engine(partition.region).batch_get(partition, sort_keys)

    async def query(
        self,
        partition: Partition,
        *,
        keys: Range,
        limit: int,
        position: bytes | None = None,
        index: str | None = None,
        index_key: str = "",
        descending: bool = False,
    ) -> Page:
        """As the port says."""
        if index is None:
            require_partition(partition)
        else:
            require_partition(partition, index_key)
        return await self._engine(partition.region).query(
            partition,
            keys=keys,
            limit=limit,
            position=position,
            index=index,
            index_key=index_key,
            descending=descending,
        )

    async def write(self, partition: Partition, write: Write) -> Item | None:
        """As the port says."""
        _require_write(partition, write)
        return await self._engine(partition.region).write(partition, write)

    async def transact(self, writes: Sequence[tuple[Partition, Write]]) -> None:
        """As the port says."""
        for partition, write in writes:
            _require_write(partition, write)
        if writes:  # all of the current tenant's partition, and so of one region
            await self._engine(writes[0][0].region).transact(writes)


def _require_write(partition: Partition, write: Write) -> None:
    require_partition(partition, *_index_partition_keys(write))
    if write.sort_key == CONFIG_SORT_KEY and not _leaves_config_to_resolver(write):
        raise GuardViolation("a write of what the resolver owns in CONFIG")


def _index_partition_keys(write: Write) -> Iterator[str]:
    attributes: Mapping[str, object] = {}
    if isinstance(write, Put):
        attributes = write.item
    elif isinstance(write, Update):
        attributes = write.set
    for name in _INDEX_PARTITION_KEYS:
        value = attributes.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            raise GuardViolation("an index key that is no text")
        yield value


def _leaves_config_to_resolver(write: Write) -> bool:
    if isinstance(write, Check):
        return True
    return (
        isinstance(write, Update)
        and SETTINGS_ATTRIBUTES.issuperset(write.set)
        and SETTINGS_ATTRIBUTES.issuperset(write.remove)
        and not write.add
        and write.expires_at is None
        and write.condition.exists is True
    )
