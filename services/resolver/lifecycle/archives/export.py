"""Exports and backups: everything of a tenant as an archive in its own part of the bucket (ADR 18).

A tenant works on meanwhile: an archive is no instant. A backup is an export by the clock, of which the newest are
kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product

from boundary.archives import (
    BACKUPS,
    EVENTS,
    EXPORTS,
    ITEMS,
    KIND,
    MANIFEST,
    OBJECTS,
    STORES,
    Manifest,
    Part,
    part_name,
    part_of,
    sections_of,
)
from boundary.errors import FailedPrecondition
from services.resolver.certificates import Certificates
from services.resolver.directory import now_micros
from services.resolver.lifecycle import carrying
from services.resolver.lifecycle.archives.listing import archives_in
from services.resolver.lifecycle.archives.parts import (
    archive_of,
    manifest_in,
    write_lines_part,
    write_text,
)
from services.resolver.lifecycle.carrying import Messages, packed_position, position_in
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.services import Access
from services.resolver.lifecycle.work import Work
from services.resolver.ports import Value
from silo.data.v1 import transport_pb2 as data_pb2
from silo.storage.v1 import transport_pb2 as storage_pb2
from silo.storage.v1 import transport_pb2_grpc as storage_grpc

EXPORT, BACKUP = "export", "backup"
"""The names of the two kinds."""

PART_OBJECTS = 10_000
"""About how many objects one part describes."""

_DIGESTS = 100_000
"""How many digests of contents the storage service has in memory at once."""

_READ, _WRITE = "lifecycle.read", "lifecycle.write"

_Read = Callable[[bytes], Messages]
"""A part's worth of a store, from a position on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """What an operation's memory says of a store that is archived.

    Attributes:
        parts: those that are done.
        position: where the next one begins.
        content_bytes: how many bytes of content they describe.
        complete: whether there is nothing more.
    """

    parts: Sequence[Part] = ()
    position: bytes = b""
    content_bytes: int = 0
    complete: bool = False

    @classmethod
    def of(cls, work: Work, store: str) -> Noted:
        """What the memory says now."""
        value = work.memory.get(store)
        if not isinstance(value, dict):
            return cls()
        parts, content_bytes = value["parts"], value["content_bytes"]
        if not isinstance(parts, list) or not isinstance(content_bytes, int):
            raise TypeError(f"what is noted of {store} is not in its form")
        return cls(
            parts=[part_of(part) for part in parts if isinstance(part, dict)],
            position=position_in(value["position"]),
            content_bytes=content_bytes,
            complete=bool(value["complete"]),
        )

    def value(self) -> Value:
        """What is kept in the memory."""
        return {
            "parts": [asdict(part) for part in self.parts],
            "position": packed_position(self.position),
            "content_bytes": self.content_bytes,
            "complete": self.complete,
        }


def export_kind(certificates: Certificates) -> Kind:
    """The kind that writes an archive that the tenant has asked for."""
    return Kind(
        name=EXPORT,
        exclusive=False,
        tenant_visible=True,
        steps=_writing(EXPORTS, certificates),
    )


def backup_kind(certificates: Certificates) -> Kind:
    """The kind that writes an archive by the clock, and removes those that are too many then."""
    return Kind(
        name=BACKUP,
        exclusive=False,
        steps=(
            *_writing(BACKUPS, certificates),
            Step(name="retention", do=partial(_keep_the_newest, certificates)),
        ),
    )


def _writing(folder: str, certificates: Certificates) -> tuple[Step, ...]:
    """One step for each store, then the manifest that makes it all an archive."""

    async def remove(work: Work) -> None:
        await _remove(work, archive_of(work.operation, folder))

    return (
        Step(name=ITEMS, do=_into(folder, ITEMS, _items), undo=remove),
        Step(name=EVENTS, do=_into(folder, EVENTS, _events)),
        Step(name=OBJECTS, do=_into(folder, OBJECTS, _objects)),
        Step(name="manifest", do=partial(_write_manifest, folder, certificates)),
    )


def _into(
    folder: str, store: str, reading: Callable[[Work, str], Awaitable[_Read]]
) -> Callable[[Work], Awaitable[None]]:
    async def do(work: Work) -> None:
        archive = archive_of(work.operation, folder)
        await _write_parts(work, archive, store, await reading(work, archive))

    return do


async def _items(work: Work, _: str) -> _Read:
    data = await work.at("data", _READ)
    return partial(carrying.items_from, data, data_pb2.ITEM_FORM_PORTABLE)


async def _events(work: Work, _: str) -> _Read:
    return partial(carrying.events_from, await work.at("search", _READ))


async def _objects(work: Work, archive: str) -> _Read:
    return partial(_archived, await work.at("storage", _WRITE), archive)


def _archived(storage: Access, archive: str, position: bytes) -> Messages:
    request = storage_pb2.ArchiveObjectsRequest(
        archive=archive, position=position, max_count=PART_OBJECTS
    )
    stub = storage.stub(storage_grpc.TransportServiceStub)
    return storage.read(stub.ArchiveObjects, request, seconds=carrying.PART_SECONDS)


async def _write_parts(work: Work, archive: str, store: str, read: _Read) -> None:
    """Writes the parts of a store that are not there yet, and notes each as it is done.

    A part that a crash cut off is written again from where it began, over what there is of it.
    """
    storage = await work.at("storage", _WRITE)
    noted = Noted.of(work, store)
    while not noted.complete:
        name = part_name(store, len(noted.parts) + 1)
        part, carried = await write_lines_part(storage, archive, name, read(noted.position))
        noted = Noted(
            parts=[*noted.parts, *([part] if part else [])],
            position=carried.position,
            content_bytes=noted.content_bytes + carried.content_bytes,
            complete=not carried.position,
        )
        await work.remember(**{store: noted.value()})
        work.progress(sum(part.count for part in noted.parts), unit=store)


async def _write_manifest(folder: str, certificates: Certificates, work: Work) -> None:
    noted = {store: Noted.of(work, store) for store in STORES}
    archive = archive_of(work.operation, folder)
    manifest = Manifest(
        tenant_id=work.tenant_id,
        path=archive,
        started_at=work.operation.created_at,
        ended_at=now_micros(),
        content_bytes=noted[OBJECTS].content_bytes,
        parts=[part for store in STORES for part in noted[store].parts],
    )
    await _prune(work, manifest)
    storage = await work.at("storage", _WRITE)
    text = certificates.issue(sections_of(manifest), kind=KIND)
    await write_text(storage, f"{archive}/{MANIFEST}", text)
    await work.set_result(archive=archive)


async def _prune(work: Work, manifest: Manifest) -> None:
    """Removes what tries that were cut off have left, such as contents that were replaced before the next one."""
    storage = await work.at("storage", _WRITE)
    stub = storage.stub(storage_grpc.TransportServiceStub)
    for digits in _shares_of(manifest.count(OBJECTS)):
        request = storage_pb2.PruneArchiveRequest(
            archive=manifest.path, parts=[part.name for part in manifest.parts], digits=digits
        )
        await storage.call(stub.PruneArchive, request, seconds=carrying.PART_SECONDS)


def _shares_of(objects: int) -> list[str]:
    """What digests begin with, for so many of them: about _DIGESTS or fewer have each beginning in common."""
    length = 0
    while length < 2 and objects > _DIGESTS * 16**length:
        length += 1
    return ["".join(digits) for digits in product("0123456789abcdef", repeat=length)]


async def _keep_the_newest(certificates: Certificates, work: Work) -> None:
    """Removes the backups that are older than the newest few; none of a tenant that is held.

    What this deployment has not signed for its place is no backup, whoever put it there, and neither counted nor
    removed.
    """
    tenant = await work.tenant()
    if not tenant.backups_kept or tenant.legal_hold:
        return
    storage = await work.at("storage", _READ)
    backups: list[str] = []
    for found in await archives_in(storage, BACKUPS):
        with contextlib.suppress(FailedPrecondition):  # it has no manifest of ours
            manifest = await manifest_in(storage, found.path, certificates=certificates, trusted="")
            if (manifest.tenant_id, manifest.path) == (work.tenant_id, found.path):
                backups.append(found.path)
    for archive in sorted(backups)[: -tenant.backups_kept]:
        await _remove(work, archive)


async def _remove(work: Work, archive: str) -> None:
    storage = await work.at("storage", _WRITE)
    async with aclosing(carrying.remove_objects(storage, archive)) as counts:
        async for count in counts:
            work.progress(count, unit="objects removed")
