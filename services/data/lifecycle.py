"""The platform's own work on a tenant's items: taking all of them away, and saying what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field

from boundary.context import TenantContext
from boundary.errors import Unavailable
from boundary.scope import Partition
from boundary.tenants import LiveCalls
from services.data.config import SORT_KEY as CONFIG
from services.data.intents import PENDING_INDEX, pending_key
from services.data.resources import CAMPAIGNS, KINDS
from services.keys.ring import KeyRing
from services.table.guard import SETTINGS_ATTRIBUTES
from services.table.ports import PRESENT, ConditionFailed, PurgeableTable, Range, Update
from silo.data.v1 import campaign_pb2

_PAGE = 1000
_PASSES = 20
"""How often the whole partition is gone through while there is still something in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How far a purge has come: items deleted and found, and whether it has ended."""

    deleted: int
    found: int
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSurvey:
    """What is left.

    Attributes:
        items: how many, by the first part of the sort key; without CONFIG, which is the directory's.
        index_entries: how many, by index, under the keys that can be told in advance.
        settings: whether CONFIG has settings of the tenant's own.
        complete: whether everything has been counted.
    """

    items: Mapping[str, int] = field(default_factory=dict)
    index_entries: Mapping[str, int] = field(default_factory=dict)
    settings: bool = False
    complete: bool = False


class ItemLifecycle:
    """Takes a tenant's items away. Repeatable after any failure: what is gone is not found again."""

    def __init__(self, *, table: PurgeableTable, live_calls: LiveCalls, ring: KeyRing) -> None:
        self._table = table
        self._live_calls = live_calls
        self._ring = ring

    async def purge(self, tenant: TenantContext) -> AsyncIterator[Purged]:
        """Deletes everything but CONFIG, a page at a time, until a whole pass finds nothing.

        The tenant's calls under way are ended first. CONFIG loses the tenant's settings and stays: it is the
        directory's, which removes it itself.

        Raises:
            Unavailable: calls of the tenant do not end, or others keep writing (`TENANT_BUSY`); repeatable.
        """
        await self._live_calls.ended(tenant)
        deleted = found = 0
        for _ in range(_PASSES):
            before = found
            async for sort_keys in self._keys(tenant.partition):
                doomed = [key for key in sort_keys if key != CONFIG]
                found += len(doomed)
                await self._table.drop(tenant.partition, doomed)
                deleted += len(doomed)
                yield Purged(deleted=deleted, found=found)
            if found == before:
                break
        else:
            raise Unavailable("TENANT_BUSY", "items of the tenant keep coming")
        self._ring.forget(tenant.tenant_id)  # the data keys' records went with the items
        await self._forget_settings(tenant.partition)
        await self._table.scrub(tenant.partition)
        yield Purged(deleted=deleted, found=found, complete=True)

    async def survey(self, tenant: TenantContext) -> AsyncIterator[ItemSurvey]:
        """Counts what is left: the items, then the entries of each index, then the settings."""
        items: Counter[str] = Counter()
        async for sort_keys in self._keys(tenant.partition):
            items.update(key.partition("#")[0] for key in sort_keys if key != CONFIG)
            yield ItemSurvey(items=dict(items))
        entries: Counter[str] = Counter()
        for index, index_key in _index_keys(tenant.partition):
            entries[index] += await self._entries(tenant.partition, index, index_key)
        yield ItemSurvey(
            items=dict(items),
            index_entries=dict(entries),
            settings=await self._has_settings(tenant.partition),
            complete=True,
        )

    async def _keys(self, partition: Partition) -> AsyncIterator[list[str]]:
        position = None
        while True:
            page = await self._table.keys(partition, limit=_PAGE, position=position)
            yield list(page.sort_keys)
            if page.position is None:
                return
            position = page.position

    async def _entries(self, partition: Partition, index: str, index_key: str) -> int:
        count, position = 0, None
        while True:
            page = await self._table.query(
                partition,
                keys=Range(),
                limit=_PAGE,
                position=position,
                index=index,
                index_key=index_key,
            )
            count += len(page.items)
            if page.position is None:
                return count
            position = page.position

    async def _has_settings(self, partition: Partition) -> bool:
        config = await self._table.get(partition, CONFIG)
        return config is not None and not SETTINGS_ATTRIBUTES.isdisjoint(config)

    async def _forget_settings(self, partition: Partition) -> None:
        if not await self._has_settings(partition):
            return
        removal = Update(
            sort_key=CONFIG, remove=tuple(sorted(SETTINGS_ATTRIBUTES)), condition=PRESENT
        )
        try:
            await self._table.write(partition, removal)
        except ConditionFailed:
            return  # the directory was faster


def _index_keys(partition: Partition) -> Iterator[tuple[str, str]]:
    """The index keys that a tenant's items stand under, but for those made of addresses and metrics.

    An item that stands under one of these is a user or a counter. The user is found in GSI2 with all others of its
    kind, and entries of every index are the engine's copies of items: they go when the item goes.
    """
    for kind in KINDS:
        yield "GSI2", partition.index_key(kind.entity)
    for value in campaign_pb2.CampaignStatus.DESCRIPTOR.values:
        index_key = CAMPAIGNS.filter_key(partition, value.name.removeprefix("CAMPAIGN_STATUS_"))
        yield "GSI1", index_key
        yield "GSI3", index_key
    yield PENDING_INDEX, pending_key(partition)
