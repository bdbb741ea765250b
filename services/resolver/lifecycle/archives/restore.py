"""Imports: an archive becomes the content of an empty tenant (ADR 18).

Everything is held against the manifest before anything of it counts. While the content comes in, the tenant is
read and not written, so that what is there when the import is rolled back is the import's alone. The archive
stands in the tenant's own part of the bucket, or is brought there first from another tenant's, of which it is a
backup.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from boundary.archives import BACKUPS, EVENTS, ITEMS, OBJECTS, Manifest, Part
from boundary.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from boundary.ids import TenantId
from services.resolver.certificates import Certificates
from services.resolver.lifecycle import carrying
from services.resolver.lifecycle.archives.parts import (
    archive_of,
    manifest_in,
    read_part,
    require_place,
    tampered,
)
from services.resolver.lifecycle.carrying import packed_position, position_in
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.removal import remove_events, remove_items
from services.resolver.lifecycle.services import Access
from services.resolver.lifecycle.settling import after_hold, hold, let_go
from services.resolver.lifecycle.work import Work
from services.resolver.ports import Value
from silo.data.v1 import transport_pb2 as data_pb2
from silo.data.v1 import transport_pb2_grpc as data_grpc
from silo.search.v1 import transport_pb2 as search_pb2
from silo.search.v1 import transport_pb2_grpc as search_grpc
from silo.storage.v1 import transport_pb2 as storage_pb2
from silo.storage.v1 import transport_pb2_grpc as storage_grpc

IMPORT = "import"

_READ, _WRITE = "lifecycle.read", "lifecycle.write"
_PORTABLE = data_pb2.ITEM_FORM_PORTABLE

_Carry = Callable[[AsyncIterator[bytes]], Awaitable[int]]
"""Writes lines; how many there were."""


def parameters_of(*, archive: str, source: str = "", trusted: str = "") -> dict[str, Value]:
    """The parameters of an import.

    Args:
        archive: where the archive is, for example `exports/20261125T083000Z-0123abcd`.
        source: the tenant that has it; the tenant itself where empty.
        trusted: a JSON Web Key Set whose signatures are believed besides the deployment's own; none where empty.
    """
    return {"archive": archive, "source": source, "trusted": trusted}


class Import:
    """The kind's steps."""

    def __init__(self, certificates: Certificates, *, settle_seconds: float) -> None:
        """Takes whose signatures are believed, and how long writes last that were begun before a hold."""
        self._certificates = certificates
        self._settle_seconds = settle_seconds

    def kind(self) -> Kind:
        """The kind."""
        return Kind(
            name=IMPORT,
            steps=(
                Step(name="fetch", do=_fetch, undo=_remove_fetched),
                Step(name="check", do=self._check),
                Step(name="hold", do=hold, undo=let_go),
                Step(name="settling", do=after_hold(self._settle_seconds)),
                Step(name="empty", do=_require_empty),
                Step(name=ITEMS, do=self._bring_items, undo=_remove_items),
                Step(name=EVENTS, do=self._bring_events, undo=_remove_events),
                Step(name=OBJECTS, do=self._bring_objects, undo=_remove_objects),
                Step(name="verification", do=self._verify),
                Step(name="cleaning", do=_remove_fetched),
                Step(name="release", do=_release, final=True),
            ),
        )

    async def _manifest(self, work: Work) -> Manifest:
        storage = await work.at("storage", _READ)
        trusted = str(work.parameters["trusted"])
        manifest = await manifest_in(
            storage, _archive(work), certificates=self._certificates, trusted=trusted
        )
        archive = str(work.parameters["archive"])
        require_place(manifest, archive, of=str(work.parameters["source"]) or work.tenant_id)
        return manifest

    async def _check(self, work: Work) -> None:
        """Reads every part and holds it against the manifest, before anything is changed."""
        await _look_empty(work)  # before its people are kept from writing
        manifest = await self._manifest(work)
        storage = await work.at("storage", _READ)
        stub = storage.stub(storage_grpc.TransportServiceStub)
        etags: dict[str, Value] = {}
        for number, part in enumerate(manifest.parts, 1):
            path = f"{_archive(work)}/{part.name}"
            request = storage_pb2.DigestPartRequest(path=path)
            try:
                found = await storage.call(stub.DigestPart, request, seconds=carrying.PART_SECONDS)
            except NotFound as error:
                raise tampered(path, "is missing") from error
            if (found.size, found.sha256) != (part.bytes, part.sha256):
                raise tampered(path, "is not what the manifest says")
            etags[part.name] = found.etag
            work.progress(number, len(manifest.parts), "parts")
        await work.remember(etags=etags)

    async def _bring_items(self, work: Work) -> None:
        data = await work.at("data", _WRITE)
        carry = partial(carrying.write_items, data, _PORTABLE)
        await _bring_lines(work, await self._manifest(work), ITEMS, carry)

    async def _bring_events(self, work: Work) -> None:
        search = await work.at("search", _WRITE)
        carry = partial(carrying.write_events, search)
        await _bring_lines(work, await self._manifest(work), EVENTS, carry)

    async def _bring_objects(self, work: Work) -> None:
        """Restores the objects part by part; storage holds the content of each against its line."""
        manifest = await self._manifest(work)
        storage = await work.at("storage", _WRITE)
        stub = storage.stub(storage_grpc.TransportServiceStub)
        parts, total = manifest.of(OBJECTS), manifest.count(OBJECTS)
        done = work.number(f"{OBJECTS}_done")
        before = sum(part.count for part in parts[:done])
        for number, part in enumerate(parts[done:], done + 1):
            request = storage_pb2.RestoreObjectsRequest(
                archive=_archive(work), part=part.name, if_match=_etag(work, part)
            )
            answers = storage.read(stub.RestoreObjects, request, seconds=carrying.PART_SECONDS)
            try:
                async with aclosing(answers):
                    async for answer in answers:
                        work.progress(before + answer.done_count, total, OBJECTS)
            except (Aborted, NotFound, InvalidArgument) as error:
                raise _not_as_checked(f"{_archive(work)}/{part.name}", error) from error
            before += part.count
            await work.remember(**{f"{OBJECTS}_done": number})

    async def _verify(self, work: Work) -> None:
        """Returns where the tenant has as much as the archive says.

        Raises:
            FailedPrecondition: it has not (`IMPORT_INCOMPLETE`); the error names the store.
        """
        manifest = await self._manifest(work)
        objects = await _objects(await work.at("storage", _READ))
        found = {ITEMS: await _items(work), EVENTS: await _events(work), OBJECTS: objects.count}
        for store, count in found.items():
            if count != manifest.count(store):
                raise FailedPrecondition(
                    "IMPORT_INCOMPLETE",
                    f"the archive has {manifest.count(store)} {store}, the tenant {count}",
                    metadata={"store": store},
                )
        if objects.content_bytes != manifest.content_bytes:
            raise FailedPrecondition("IMPORT_INCOMPLETE", "the objects have other sizes")


def _archive(work: Work) -> str:
    """Where the archive is in the tenant's own part."""
    if work.parameters["source"]:
        return archive_of(work.operation, BACKUPS)
    return str(work.parameters["archive"])


async def _fetch(work: Work) -> None:
    """Copies another tenant's archive to this one's backups, where its people need a permission, part by part."""
    source = str(work.parameters["source"])
    if not source:
        return
    origin = await work.at("storage", _READ, tenant_id=TenantId(source))
    target = await work.at("storage", _WRITE)
    from_, to = str(work.parameters["archive"]), _archive(work)
    count = work.number("fetched")
    while not work.memory.get("fetched_all"):
        position = position_in(work.memory.get("fetched_to"))
        carried = await carrying.copy_objects(
            origin, target, position, under=f"{from_}/", into=f"{to}/"
        )
        count += carried.count
        await work.remember(
            fetched=count,
            fetched_to=packed_position(carried.position),
            fetched_all=not carried.position,
        )
        work.progress(count, unit=OBJECTS)


async def _remove_fetched(work: Work) -> None:
    if work.parameters["source"]:
        storage = await work.at("storage", _WRITE)
        await _removed(work, storage, _archive(work))


async def _require_empty(work: Work) -> None:
    """Looks again, now that nobody writes; from then on, what is there is the import's."""
    await _look_empty(work)
    await work.remember(was_empty=True)


async def _look_empty(work: Work) -> None:
    """Returns where the tenant has nothing but archives.

    Raises:
        FailedPrecondition: it has something (`TENANT_NOT_EMPTY`); the error names the store.
    """
    data, search = await work.at("data", _READ), await work.at("search", _READ)
    if await _counted(carrying.items_from(data, _PORTABLE, b"", max_bytes=1)):
        raise _not_empty(ITEMS)
    if await _counted(carrying.events_from(search, b"", max_bytes=1)):
        raise _not_empty(EVENTS)
    if (await _objects(await work.at("storage", _READ))).count:
        raise _not_empty(OBJECTS)


async def _counted(messages: carrying.Messages) -> int:
    count = 0
    async with aclosing(messages):
        async for message in messages:
            count += message.count
    return count


async def _items(work: Work) -> int:
    data = await work.at("data", _READ)
    method = data.stub(data_grpc.TransportServiceStub).SummarizeItems
    request = data_pb2.SummarizeItemsRequest(form=_PORTABLE)
    return int((await data.call(method, request, seconds=carrying.PART_SECONDS)).count)


async def _events(work: Work) -> int:
    search = await work.at("search", _READ)
    method = search.stub(search_grpc.TransportServiceStub).SummarizeEvents
    request = search_pb2.SummarizeEventsRequest()
    return int((await search.call(method, request, seconds=carrying.PART_SECONDS)).count)


async def _objects(storage: Access) -> storage_pb2.SummarizeObjectsResponse:
    request = storage_pb2.SummarizeObjectsRequest(without_archives=True)
    stub = storage.stub(storage_grpc.TransportServiceStub)
    found: storage_pb2.SummarizeObjectsResponse = await storage.call(
        stub.SummarizeObjects, request, seconds=carrying.PART_SECONDS
    )
    return found


async def _bring_lines(work: Work, manifest: Manifest, store: str, carry: _Carry) -> None:
    """Brings in the parts of a store that are not noted as done, and notes each as it is."""
    storage = await work.at("storage", _READ)
    parts = manifest.of(store)
    done = work.number(f"{store}_done")
    for number, part in enumerate(parts[done:], done + 1):
        path = f"{_archive(work)}/{part.name}"
        try:
            async with aclosing(read_part(storage, path, etag=_etag(work, part))) as chunks:
                count = await carry(chunks)
        except (Aborted, NotFound, InvalidArgument) as error:
            raise _not_as_checked(path, error) from error
        if count != part.count:
            raise tampered(path, "has another count of lines than the manifest says")
        await work.remember(**{f"{store}_done": number})
        work.progress(sum(each.count for each in parts[:number]), manifest.count(store), store)


async def _release(work: Work) -> None:
    await let_go(work)
    await work.set_result(tenant=f"tenants/{work.tenant_id}")


async def _remove_items(work: Work) -> None:
    if "was_empty" in work.memory:
        await remove_items(work)


async def _remove_events(work: Work) -> None:
    if "was_empty" in work.memory:
        await remove_events(work)


async def _remove_objects(work: Work) -> None:
    if "was_empty" in work.memory:
        await _removed(work, await work.at("storage", _WRITE), "")


async def _removed(work: Work, storage: Access, archive: str) -> None:
    async with aclosing(carrying.remove_objects(storage, archive)) as counts:
        async for count in counts:
            work.progress(count, unit="objects removed")


def _not_as_checked(path: str, error: Aborted | NotFound | InvalidArgument) -> FailedPrecondition:
    """The error for a part that is another one by now, or has a line that a signer should not have signed."""
    if isinstance(error, InvalidArgument):
        return tampered(f"{path} {error.field}", error.description.removeprefix(f"{error.field}: "))
    return tampered(path, "was changed since it was checked")


def _etag(work: Work, part: Part) -> str:
    etags = work.memory["etags"]
    return str(etags[part.name]) if isinstance(etags, dict) else ""


def _not_empty(store: str) -> FailedPrecondition:
    return FailedPrecondition(
        "TENANT_NOT_EMPTY",
        f"the tenant has {store}; an archive is imported into an empty one",
        metadata={"store": store},
    )
