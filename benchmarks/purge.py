"""A purge at the size of a tenant that has been there for a while: what is taken away, and how it is timed.

The LifecycleService of each service is served on loopback behind its chain, over one adapter, and is asked as the
resolver asks it. What is seeded is seeded through the adapter alone.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cases import Result
from boundary.context import CONTEXT_KEY, TenantContext
from boundary.ids import EntityId
from boundary.scope import ObjectPrefix, Partition, SearchIndex
from boundary.tenants import LiveCalls
from services.data.data_keys import ItemKeyRecords
from services.data.erasure import SubjectErasure
from services.data.lifecycle import ItemLifecycle
from services.data.lifecycle_servicer import LifecycleServicer as DataServicer
from services.data.resources import CAMPAIGNS
from services.keys.local import LocalKeys
from services.keys.ring import KeyRing
from services.search.lifecycle import IndexLifecycle
from services.search.lifecycle_servicer import LifecycleServicer as SearchServicer
from services.search.ports import Document, EventType, PurgeableIndexes
from services.search.purge_guard import GuardedPurgeableIndexes
from services.storage.data_keys import ObjectKeyRecords
from services.storage.lifecycle import ObjectLifecycle
from services.storage.lifecycle_servicer import LifecycleServicer as StorageServicer
from services.storage.ports import Objects, PurgeableObjects, Upload
from services.storage.purge_guard import GuardedPurgeableObjects
from services.storage.rule_operations import ObjectLifecycles
from services.storage.rules import ObjectRules
from services.table.ports import MAX_TRANSACTION, Item, PurgeableTable, Put, Table
from services.table.purge_guard import GuardedPurgeableTable
from silo.data.v1 import lifecycle_pb2 as data_pb2
from silo.data.v1 import lifecycle_pb2_grpc as data_grpc
from silo.search.v1 import lifecycle_pb2 as search_pb2
from silo.search.v1 import lifecycle_pb2_grpc as search_grpc
from silo.storage.v1 import lifecycle_pb2 as storage_pb2
from silo.storage.v1 import lifecycle_pb2_grpc as storage_grpc
from tests.contexts import PLACEMENT, make_lifecycle_context, mint_lifecycle_token
from tests.serving import Serving, serving

ITEMS, OBJECTS, EVENTS = 100_000, 10_000, 100_000

TENANT, NEIGHBOUR, PEER = "bench", "bench-corp", "peer"
"""Who goes; who stays, whose id begins as the one's; and whose things the bare engine deletes."""

PLACE = replace(PLACEMENT, table="Purge", bucket="purge", search_cluster="purge")
"""A table and a bucket that no other case has."""

SHARE = 10
"""The neighbour has one of so many of what the tenant has."""

MOST_SILENT_SECONDS = 15.0
"""How long a purge may say nothing of how far it has come."""

OBJECT = bytes(range(256)) * 8
_AT_ONCE = 16
_BATCH = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """What one purge took.

    Attributes:
        count: how many things it says that it deleted.
        seconds: from the call to its end.
        reports: how often it said how far it had come.
        silence: the longest time in which it said nothing, in seconds.
    """

    count: int
    seconds: float
    reports: int
    silence: float

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.count / self.seconds

    def note(self, result: Result, unit: str) -> None:
        """Writes what it took into a result."""
        result.figures[f"purge: {unit}/s"] = round(self.rate)
        result.figures[f"purge of {self.count} {unit}: seconds"] = round(self.seconds, 2)
        result.figures[f"progress reports of {unit}"] = self.reports
        result.at_most(
            f"{unit}: longest time without progress, s", self.silence, MOST_SILENT_SECONDS
        )


def three(audience: str) -> tuple[TenantContext, TenantContext, TenantContext]:
    """The contexts of the tenant, the neighbour and the peer at a service."""
    tenant, neighbour, peer = (
        make_lifecycle_context(name, audience=audience, placement=PLACE)
        for name in (TENANT, NEIGHBOUR, PEER)
    )
    return tenant, neighbour, peer


async def purge_items(table: PurgeableTable) -> Purge:
    """Purges the tenant's items as the data service does."""
    with tempfile.TemporaryDirectory(prefix="silo-bench-purge-") as name:
        guarded = GuardedPurgeableTable(table)
        ring = KeyRing(LocalKeys(Path(name) / "tenant-keys"), ItemKeyRecords(guarded))
        lifecycle = ItemLifecycle(table=guarded, live_calls=LiveCalls(), ring=ring)
        servicer = DataServicer(lifecycle, SubjectErasure(table=guarded, engine=guarded))
        names = {_service(data_pb2): servicer}
        async with serving("data", names, Path(name)) as server:
            stub = data_grpc.LifecycleServiceStub(server.channel)
            answers = stub.PurgeItems(data_pb2.PurgeItemsRequest(), metadata=_metadata(server))
            return await _timed((told.deleted_count, told.complete) async for told in answers)


async def purge_objects(objects: PurgeableObjects, rules: ObjectRules) -> Purge:
    """Purges the tenant's objects as the storage service does."""
    with tempfile.TemporaryDirectory(prefix="silo-bench-purge-") as name:
        guarded = GuardedPurgeableObjects(objects)
        lifecycle = ObjectLifecycle(
            guarded,
            live_calls=LiveCalls(),
            rules=ObjectLifecycles(rules),
            ring=KeyRing(LocalKeys(Path(name) / "tenant-keys"), ObjectKeyRecords(guarded)),
        )
        names = {_service(storage_pb2): StorageServicer(lifecycle)}
        async with serving("storage", names, Path(name)) as server:
            stub = storage_grpc.LifecycleServiceStub(server.channel)
            request = storage_pb2.PurgeObjectsRequest()
            answers = stub.PurgeObjects(request, metadata=_metadata(server))
            return await _timed((_count(told.deleted), told.complete) async for told in answers)


async def purge_events(indexes: PurgeableIndexes) -> Purge:
    """Purges the tenant's index as the search service does."""
    with tempfile.TemporaryDirectory(prefix="silo-bench-purge-") as name:
        guarded = GuardedPurgeableIndexes(indexes)
        servicer = SearchServicer(IndexLifecycle(guarded, live_calls=LiveCalls()))
        names = {_service(search_pb2): servicer}
        async with serving("search", names, Path(name)) as server:
            stub = search_grpc.LifecycleServiceStub(server.channel)
            answers = stub.PurgeIndex(search_pb2.PurgeIndexRequest(), metadata=_metadata(server))
            return await _timed((told.deleted_count, told.complete) async for told in answers)


async def seed_items(table: Table, partition: Partition, count: int) -> None:
    """Writes items such as campaigns are, in all three indexes."""

    async def write(start: int) -> None:
        numbers = range(start, min(start + MAX_TRANSACTION, count))
        await table.transact([(partition, _campaign(partition, number)) for number in numbers])

    await at_once(write(start) for start in range(0, count, MAX_TRANSACTION))


async def seed_objects(objects: Objects, prefix: ObjectPrefix, count: int) -> None:
    """Stores objects of 2 KiB."""

    async def content() -> AsyncIterator[bytes]:
        yield OBJECT

    async def put(number: int) -> None:
        await objects.put(prefix, path(number), content(), Upload(content_type="text/plain"))

    await at_once(put(number) for number in range(count))


async def seed_events(indexes: PurgeableIndexes, index: SearchIndex, count: int) -> None:
    """Puts events in."""
    for start in range(0, count, _BATCH):
        numbers = range(start, min(start + _BATCH, count))
        assert all(await indexes.bulk(index, [_event(index, number) for number in numbers]))


async def at_once(works: Iterable[Awaitable[None]], *, width: int = _AT_ONCE) -> None:
    """Does works, at most width at a time."""
    waiting = iter(works)

    async def some() -> None:
        for work in waiting:
            await work

    await asyncio.gather(*(some() for _ in range(width)))


def path(number: int) -> str:
    """Where an object is."""
    return f"exports/{number % 100:02}/{number:06}.txt"


def _campaign(partition: Partition, number: int) -> Put:
    item: Item = {
        "display_name": f"Spring sale {number}",
        "subject": "Everything must go",
        "from_address": "news@bench.example",
        "status": "DRAFT",
        "template": "templates/spring",
        "recipient_list": "lists/everyone",
        "create_time": 1_705_312_800_000_000_000 + number,
        "etag": f"{number:032x}",
    }
    entries = CAMPAIGNS.index_entries(partition, EntityId(f"{number:08}"), item)
    return Put(sort_key=sort_key(number), item={**item, **entries})


def sort_key(number: int) -> str:
    """An item's sort key."""
    return f"CAMPAIGN#{number:08}"


def _event(index: SearchIndex, number: int) -> Document:
    return Document(
        tenant_id=index.tenant_id,
        event_id=f"event-{number}",
        event_type=list(EventType)[number % len(EventType)],
        campaign_id=f"campaign-{number % 50}",
        timestamp_ms=1_700_000_000_000 + number * 37,
        recipient=f"user{number}@example.com",
        message_id=f"message-{number // 3}",
        subject="Spring sale: 50% off everything",
        metadata='{"link":"https://shop.example/p/77"}',
        strings=("https://shop.example/p/77",),
    )


def _count(counts: Any) -> int:
    return sum(value for _, value in counts.ListFields())


def _service(module: Any) -> str:
    return str(module.DESCRIPTOR.services_by_name["LifecycleService"].full_name)


def _metadata(server: Serving) -> tuple[tuple[str, str], ...]:
    token = mint_lifecycle_token(
        TENANT, audience=server.service, permissions=["lifecycle.purge"], placement=PLACE
    )
    return ((CONTEXT_KEY, token),)


async def _timed(told: AsyncIterator[tuple[int, bool]]) -> Purge:
    """Reads what a purge tells, to its end: how many have gone, and whether it is complete."""
    began = last = time.perf_counter()
    seen: list[tuple[int, bool]] = []
    silence = 0.0
    async for report in told:
        now = time.perf_counter()
        silence, last = max(silence, now - last), now
        seen.append(report)
    count, complete = seen[-1]
    assert complete
    return Purge(count=count, seconds=last - began, reports=len(seen), silence=silence)
