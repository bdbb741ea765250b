"""Removing what a tenant has in one place, and looking whether anything is left of it there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from boundary.archives import EVENTS, ITEMS, OBJECTS
from boundary.context import Placement
from services.resolver.lifecycle.work import Work
from services.resolver.ports import Value
from silo.data.v1 import lifecycle_pb2 as data_pb2
from silo.data.v1 import lifecycle_pb2_grpc as data_grpc
from silo.search.v1 import lifecycle_pb2 as search_pb2
from silo.search.v1 import lifecycle_pb2_grpc as search_grpc
from silo.storage.v1 import lifecycle_pb2 as storage_pb2
from silo.storage.v1 import lifecycle_pb2_grpc as storage_grpc

_PURGE = "lifecycle.purge"
_READ = "lifecycle.read"

STREAM_SECONDS = 24 * 3600.0
"""How long one removal may take: what was removed stays so, and the next try finds less."""

Counts = dict[str, Value]
"""How many of what, by name."""


async def remove_items(work: Work, placement: Placement | None = None) -> None:
    """Removes every item of the tenant, settings included, in its place or in another."""
    data = await work.at("data", _PURGE, placement=placement)
    method = data.stub(data_grpc.LifecycleServiceStub).PurgeItems
    async for told in data.read(method, data_pb2.PurgeItemsRequest(), seconds=STREAM_SECONDS):
        work.progress(told.deleted_count, unit="items")


async def remove_objects(work: Work, placement: Placement | None = None) -> None:
    """Removes every object of the tenant with all that the bucket keeps of it, in its place or in another."""
    storage = await work.at("storage", _PURGE, placement=placement)
    method = storage.stub(storage_grpc.LifecycleServiceStub).PurgeObjects
    request = storage_pb2.PurgeObjectsRequest()
    async for told in storage.read(method, request, seconds=STREAM_SECONDS):
        work.progress(sum(_object_counts(told.deleted).values()), unit="objects and versions")


async def remove_events(work: Work, placement: Placement | None = None) -> None:
    """Removes the tenant's index with every event, in its place or in another."""
    search = await work.at("search", _PURGE, placement=placement)
    method = search.stub(search_grpc.LifecycleServiceStub).PurgeIndex
    request = search_pb2.PurgeIndexRequest()
    async for told in search.read(method, request, seconds=STREAM_SECONDS):
        work.progress(told.deleted_count, unit="events")


async def items_left(work: Work, placement: Placement | None = None) -> Counts:
    """What of the tenant is still in the table, by kind and by index; empty where nothing is."""
    data = await work.at("data", _READ, placement=placement)
    method = data.stub(data_grpc.LifecycleServiceStub).SurveyItems
    found: Counts = {}
    async for told in data.read(method, data_pb2.SurveyItemsRequest(), seconds=STREAM_SECONDS):
        found = {f"items {count.kind}": count.count for count in told.items}
        found |= {f"index {count.kind}": count.count for count in told.index_entries}
        found |= {"settings": int(told.settings)}
    return _present(found)


async def objects_left(work: Work, placement: Placement | None = None) -> Counts:
    """What of the tenant is still in the bucket, by sort; empty where nothing is."""
    storage = await work.at("storage", _READ, placement=placement)
    method = storage.stub(storage_grpc.LifecycleServiceStub).SurveyObjects
    found: Counts = {}
    request = storage_pb2.SurveyObjectsRequest()
    async for told in storage.read(method, request, seconds=STREAM_SECONDS):
        found = dict(_object_counts(told.found))
    return _present(found)


async def events_left(work: Work, placement: Placement | None = None) -> Counts:
    """What of the tenant is still in the search cluster, by sort; empty where nothing is."""
    search = await work.at("search", _READ, placement=placement)
    method = search.stub(search_grpc.LifecycleServiceStub).SurveyIndex
    told = await search.call(method, search_pb2.SurveyIndexRequest())
    names = ("indexes", "aliases", "events", "cursors", "roles")
    return _present({name: getattr(told, name) for name in names})


def _object_counts(counts: storage_pb2.ObjectCounts) -> dict[str, int]:
    return {
        "objects": counts.objects,
        "noncurrent versions": counts.noncurrent_versions,
        "delete markers": counts.delete_markers,
        "uploads": counts.uploads,
        "records": counts.records,
    }


def _present(counts: Counts) -> Counts:
    return {name: count for name, count in counts.items() if count}


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """How a store is removed and read back, in the tenant's own place (None) or in another."""

    remove: Callable[[Work, Placement | None], Coroutine[Any, Any, None]]
    left: Callable[[Work, Placement | None], Coroutine[Any, Any, Counts]]


STORES: Mapping[str, Removal] = {
    ITEMS: Removal(remove=remove_items, left=items_left),
    OBJECTS: Removal(remove=remove_objects, left=objects_left),
    EVENTS: Removal(remove=remove_events, left=events_left),
}
"""Every store of a tenant, in the order in which they are removed."""
