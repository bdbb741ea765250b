"""What happens by itself to what a tenant has, carried to another place of it. Items carry theirs with them."""

from __future__ import annotations

from typing import Any

from boundary.archives import EVENTS, OBJECTS
from boundary.context import Placement
from services.resolver.lifecycle.work import Work
from silo.search.v1 import event_retention_pb2
from silo.search.v1 import transport_pb2 as search_pb2
from silo.search.v1 import transport_pb2_grpc as search_grpc
from silo.storage.v1 import object_lifecycle_pb2
from silo.storage.v1 import transport_pb2 as storage_pb2
from silo.storage.v1 import transport_pb2_grpc as storage_grpc

_READ, _WRITE = "lifecycle.read", "lifecycle.write"


async def copy(work: Work, store: str, *, origin: Placement, target: Placement) -> None:
    """Gives a store in the target the policy that it has in the origin."""
    if store == OBJECTS:
        storage = await work.at("storage", _WRITE, placement=target)
        rules = storage_pb2.WriteObjectRulesRequest(object_lifecycle=await _rules(work, origin))
        stub = storage.stub(storage_grpc.TransportServiceStub)
        await storage.call(stub.WriteObjectRules, rules)
    elif store == EVENTS:
        search = await work.at("search", _WRITE, placement=target)
        kept = search_pb2.WriteRetentionRequest(event_retention=await _retention(work, origin))
        of_events = search.stub(search_grpc.TransportServiceStub)
        await search.call(of_events.WriteRetention, kept)


async def same(work: Work, store: str, *, origin: Placement, target: Placement) -> bool:
    """Whether a store has the same policy in both places: equal ones have an equal etag."""
    read: Any = {OBJECTS: _rules, EVENTS: _retention}.get(store)
    if read is None:
        return True
    return bool((await read(work, origin)).etag == (await read(work, target)).etag)


async def _rules(work: Work, placement: Placement) -> object_lifecycle_pb2.ObjectLifecycle:
    storage = await work.at("storage", _READ, placement=placement)
    stub = storage.stub(storage_grpc.TransportServiceStub)
    answer = await storage.call(stub.ReadObjectRules, storage_pb2.ReadObjectRulesRequest())
    found: object_lifecycle_pb2.ObjectLifecycle = answer.object_lifecycle
    return found


async def _retention(work: Work, placement: Placement) -> event_retention_pb2.EventRetention:
    search = await work.at("search", _READ, placement=placement)
    stub = search.stub(search_grpc.TransportServiceStub)
    answer = await search.call(stub.ReadRetention, search_pb2.ReadRetentionRequest())
    found: event_retention_pb2.EventRetention = answer.event_retention
    return found
