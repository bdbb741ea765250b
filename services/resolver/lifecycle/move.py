"""Moving a tenant to another place: copy, verify, switch, purge, while reads go on (ADR 18).

What is stored is copied as it is, above the layers that encrypt: what leaves is opened with the former place's
data keys, what arrives is encrypted under the new place's own. A place is only copied into where it had nothing
of the tenant, so that rolling back removes what the move has brought and nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from boundary.archives import EVENTS, ITEMS, OBJECTS
from boundary.context import Placement
from boundary.errors import FailedPrecondition
from services.resolver.directory import Directory, Tenant
from services.resolver.lifecycle import carrying, policies, removal
from services.resolver.lifecycle.carrying import Carried, packed_position, position_in
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.services import Access
from services.resolver.lifecycle.settling import after_hold, hold, let_go, require_at_rest, settled
from services.resolver.lifecycle.work import Work
from services.resolver.placements import Placements
from services.resolver.ports import Value
from services.resolver.tenant_keys import Encryption
from silo.data.v1 import transport_pb2 as data_pb2
from silo.data.v1 import transport_pb2_grpc as data_grpc
from silo.search.v1 import lifecycle_pb2 as index_pb2
from silo.search.v1 import lifecycle_pb2_grpc as index_grpc
from silo.search.v1 import transport_pb2 as search_pb2
from silo.search.v1 import transport_pb2_grpc as search_grpc
from silo.storage.v1 import lifecycle_pb2 as layout_pb2
from silo.storage.v1 import lifecycle_pb2_grpc as layout_grpc
from silo.storage.v1 import transport_pb2 as storage_pb2
from silo.storage.v1 import transport_pb2_grpc as storage_grpc

MOVE = "move"

_READ, _WRITE = "lifecycle.read", "lifecycle.write"
_EXACT = data_pb2.ITEM_FORM_EXACT

_ENGINES = {
    ITEMS: ("data", "table"),
    EVENTS: ("search", "search_cluster"),
    OBJECTS: ("storage", "bucket"),
}
"""For each store, the service that has it and the field of a placement that says where in the region."""

_Copy = Callable[[Access, Access, bytes], Awaitable[Carried]]
"""Copies a part's worth from one place to the other, from a position on."""


class Move:
    """The kind's steps. Its parameters are `origin` and `target`, a placement's fields each."""

    def __init__(
        self,
        *,
        directory: Directory,
        placements: Placements,
        encryption: Encryption,
        settle_seconds: float,
    ) -> None:
        """Takes the parts.

        Args:
            settle_seconds: how long after a change of status nothing is under way any more that was begun before.
        """
        self._directory = directory
        self._placements = placements
        self._encryption = encryption
        self._settle_seconds = settle_seconds

    def kind(self) -> Kind:
        """The kind."""
        reads = settled(
            self._settle_seconds,
            since="switched_at",
            detail="reads at the former place come to their end",
        )
        return Kind(
            name=MOVE,
            steps=(
                Step(name="hold", do=hold, undo=let_go),
                Step(name="settling", do=after_hold(self._settle_seconds)),
                Step(name="preparation", do=self._prepare, undo=self._leave_target),
                Step(name=ITEMS, do=partial(_copy, ITEMS, _copy_items)),
                Step(name=EVENTS, do=partial(_copy, EVENTS, _copy_events)),
                Step(name=OBJECTS, do=partial(_copy, OBJECTS, carrying.copy_objects)),
                Step(name="policies", do=_copy_policies),
                Step(name="verification", do=_verify),
                Step(name="switch", do=_switch, final=True),
                Step(name="settling-reads", do=reads),
                Step(name="purge", do=self._leave_origin),
            ),
        )

    def check(self, tenant: Tenant, wanted: Placement) -> dict[str, Value]:
        """What the operation is told of a tenant that can be moved.

        Args:
            wanted: where to; empty fields are the new region's first, or in the same region what they are.

        Raises:
            InvalidArgument: the deployment does not have such a place.
            FailedPrecondition: it has no data or an operation has it (`TENANT_STATUS`), it lives there already
                (`TENANT_PLACED`), may not live there (`REGION_NOT_ALLOWED`), or needs a key that the region
                cannot keep.
        """
        require_at_rest(tenant)
        target = self._placements.place(**_filled(tenant.placement, wanted))
        if target == tenant.placement:
            raise FailedPrecondition("TENANT_PLACED", "the tenant lives there already")
        moved = replace(tenant, placement=target)
        moved.require_region()
        self._encryption.check(moved)
        return {"origin": asdict(tenant.placement), "target": asdict(target)}

    async def _prepare(self, work: Work) -> None:
        """Makes the place ready, once it is sure that there is nothing of the tenant in it.

        Raises:
            FailedPrecondition: something of the tenant is there (`PLACE_NOT_EMPTY`).
        """
        target = _target(work)
        if "was_empty" not in work.memory:
            for store in _moving(work):
                left = await removal.STORES[store].left(work, target)
                if left:
                    raise FailedPrecondition(
                        "PLACE_NOT_EMPTY", f"{store} of the tenant are there already: {left}"
                    )
            await work.remember(was_empty=True)
        tenant = await work.tenant()
        await self._encryption.provide(replace(tenant, placement=target))
        if ITEMS in _moving(work):
            await self._directory.make_home(tenant, target)
        if OBJECTS in _moving(work):
            storage = await work.at("storage", _WRITE, placement=target)
            stub = storage.stub(layout_grpc.LifecycleServiceStub)
            await storage.call(stub.PrepareObjects, layout_pb2.PrepareObjectsRequest())
        if EVENTS in _moving(work):
            search = await work.at("search", _WRITE, placement=target)
            index = search.stub(index_grpc.LifecycleServiceStub)
            await search.call(index.CreateIndex, index_pb2.CreateIndexRequest())

    async def _leave_target(self, work: Work) -> None:
        if "was_empty" in work.memory:
            await self._leave(work, _target(work))

    async def _leave_origin(self, work: Work) -> None:
        await self._leave(work, _origin(work))

    async def _leave(self, work: Work, place: Placement) -> None:
        """Removes what the tenant has in a place that it does not live in."""
        tenant = await work.tenant()
        for store in _moving(work):
            _, field = _ENGINES[store]
            if _place(tenant.placement, field) == _place(place, field):
                raise TypeError(f"the {store} are where the tenant lives")
            await removal.STORES[store].remove(work, place)
        if ITEMS in _moving(work):
            await self._directory.drop_home(tenant, place)


def _filled(now: Placement, wanted: Placement) -> dict[str, str]:
    """The fields of a placement, with those that are left empty as they are within the same region."""
    fields = asdict(wanted)
    if wanted.region in ("", now.region):
        return {name: value or getattr(now, name) for name, value in fields.items()}
    return fields


def _origin(work: Work) -> Placement:
    return _placement(work.parameters["origin"])


def _target(work: Work) -> Placement:
    return _placement(work.parameters["target"])


def _placement(value: Value) -> Placement:
    if not isinstance(value, dict):
        raise TypeError("a place is not in its form")
    return Placement(**{name: str(part) for name, part in value.items()})


def _place(placement: Placement, field: str) -> tuple[str, str]:
    return placement.region, getattr(placement, field)


def _moving(work: Work) -> list[str]:
    """The stores that are in another place afterwards; the others are neither copied nor purged."""
    origin, target = _origin(work), _target(work)
    return [
        store
        for store, (_, field) in _ENGINES.items()
        if _place(origin, field) != _place(target, field)
    ]


async def _copy_items(origin: Access, target: Access, position: bytes) -> Carried:
    carried = Carried()
    read = carrying.items_from(origin, _EXACT, position)
    async with aclosing(carrying.lines_of(read, carried)) as chunks:
        await carrying.write_items(target, _EXACT, chunks)
    return carried


async def _copy_events(origin: Access, target: Access, position: bytes) -> Carried:
    carried = Carried()
    read = carrying.events_from(origin, position)
    async with aclosing(carrying.lines_of(read, carried)) as chunks:
        await carrying.write_events(target, chunks)
    return carried


async def _copy(store: str, copy: _Copy, work: Work) -> None:
    """Copies a store, and notes after each part where it is. A part that a crash cut off is copied over itself."""
    if store not in _moving(work):
        return
    service, _ = _ENGINES[store]
    origin = await work.at(service, _READ, placement=_origin(work))
    target = await work.at(service, _WRITE, placement=_target(work))
    noted: Any = work.memory.get(store) or {"position": "", "count": 0, "complete": False}
    while not noted["complete"]:
        carried = await copy(origin, target, position_in(noted["position"]))
        noted = {
            "position": packed_position(carried.position),
            "count": noted["count"] + carried.count,
            "complete": not carried.position,
        }
        await work.remember(**{store: noted})
        work.progress(noted["count"], unit=store)


async def _copy_policies(work: Work) -> None:
    for store in _moving(work):
        await policies.copy(work, store, origin=_origin(work), target=_target(work))


async def _verify(work: Work) -> None:
    """Returns where both places have the same.

    Raises:
        FailedPrecondition: they have not (`MOVE_INCOMPLETE`); the error names the store.
    """
    moving = _moving(work)
    for number, store in enumerate(moving, 1):
        origin = await _summary(work, store, _origin(work))
        target = await _summary(work, store, _target(work))
        if (origin.count, origin.digest) != (target.count, target.digest):
            raise FailedPrecondition(
                "MOVE_INCOMPLETE",
                f"there were {origin.count} {store} and {target.count} have arrived as they were",
                metadata={"store": store},
            )
        work.progress(number, len(moving), "stores")
    for store in moving:
        if not await policies.same(work, store, origin=_origin(work), target=_target(work)):
            raise FailedPrecondition(
                "MOVE_INCOMPLETE",
                f"what happens by itself to {store} is not what it was",
                metadata={"store": store},
            )


async def _summary(work: Work, store: str, placement: Placement) -> Any:
    service, _ = _ENGINES[store]
    access = await work.at(service, _READ, placement=placement)
    method: Any
    request: Any
    if store == ITEMS:
        method = access.stub(data_grpc.TransportServiceStub).SummarizeItems
        request = data_pb2.SummarizeItemsRequest(form=_EXACT)
    elif store == EVENTS:
        method = access.stub(search_grpc.TransportServiceStub).SummarizeEvents
        request = search_pb2.SummarizeEventsRequest()
    else:
        method = access.stub(storage_grpc.TransportServiceStub).SummarizeObjects
        request = storage_pb2.SummarizeObjectsRequest()
    return await access.call(method, request, seconds=carrying.PART_SECONDS)


async def _switch(work: Work) -> None:
    """From here on the tenant lives in the target, to be written to: there is no way back but another move."""
    await work.change_tenant(placement=_target(work), read_only=False)
    await work.mark("switched_at")
    await work.set_result(tenant=f"tenants/{work.tenant_id}")
