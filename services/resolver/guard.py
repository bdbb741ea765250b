"""The port guard of the directory: CONFIG items, slug guards, operations and their indexes, and nothing else.

The resolver serves operators and resolves callers before there is a context, so its guard is not about whose call
is being served but about what the directory may touch: no tenant's entities, whatever a defect might ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from boundary.directory_scope import (
    CONFIG_SORT_KEY,
    DIRECTORY_INDEX_KEY,
    HOLDERS_SORT_KEY,
    OPERATION_SORT_KEY,
    OPERATIONS_INDEX_KEY,
    SLUG_SORT_KEY,
)
from boundary.guard import GuardViolation
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import Partition
from services.resolver.ports import INDEXES, Item, Page, Put, Range, Table, Update, Write

_SORT_KEYS = {
    "TENANT#": CONFIG_SORT_KEY,
    "SLUG#": SLUG_SORT_KEY,
    "OPERATION#": OPERATION_SORT_KEY,
    "OPERATIONS#": HOLDERS_SORT_KEY,
}
"""The one sort key that the directory has under each kind of partition."""

_INDEX_ATTRIBUTES = tuple(partition_key for partition_key, _ in INDEXES.values())


class GuardedDirectoryTable:
    """A table that refuses, before the engine is called, every key outside of the directory."""

    def __init__(self, inner: Table | ByRegion[Table]) -> None:
        """Takes the table, or that of each region; the directory's own stands under the empty name."""
        self._engine = engine_by_region(inner)

    async def get(self, partition: Partition, sort_key: str) -> Item | None:
        """The item, or None."""
        _require_directory(partition, sort_key)
        return await self._engine(partition.region).get(partition, sort_key)

    async def batch_get(self, partition: Partition, sort_keys: Sequence[str]) -> Mapping[str, Item]:
        """The items that are there."""
        for sort_key in sort_keys:
            _require_directory(partition, sort_key)
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
        """A page of one of the directory's indexes; the table itself is never queried."""
        if not _is_listed(partition, index=index, index_key=index_key):
            raise GuardViolation("a directory query outside of the directory's index")
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
        """Makes one write."""
        _require_write(partition, write)
        return await self._engine(partition.region).write(partition, write)

    async def transact(self, writes: Sequence[tuple[Partition, Write]]) -> None:
        """Makes the writes, all or none."""
        for partition, write in writes:
            _require_write(partition, write)
        await self._engine(writes[0][0].region).transact(writes)


def _is_listed(partition: Partition, *, index: str | None, index_key: str) -> bool:
    if partition.key == DIRECTORY_INDEX_KEY:
        return index in ("GSI1", "GSI2") and index_key == partition.key
    return partition.key == OPERATIONS_INDEX_KEY and index in INDEXES and partition.owns(index_key)


def _require_directory(partition: Partition, sort_key: str) -> None:
    kind = partition.key.partition("#")[0] + "#"
    if _SORT_KEYS.get(kind) != sort_key:
        raise GuardViolation("a directory key that is no CONFIG item, slug guard or operation")


def _require_write(partition: Partition, write: Write) -> None:
    _require_directory(partition, write.sort_key)
    attributes: Mapping[str, object] = {}
    if isinstance(write, Put):
        attributes = write.item
    elif isinstance(write, Update):
        attributes = write.set
    of_operation = write.sort_key == OPERATION_SORT_KEY
    allowed = OPERATIONS_INDEX_KEY if of_operation else DIRECTORY_INDEX_KEY
    for name in _INDEX_ATTRIBUTES:
        key = attributes.get(name, allowed)
        if key != allowed and not (of_operation and str(key).startswith(allowed + "#")):
            raise GuardViolation("a directory item in an index that is not the directory's")
