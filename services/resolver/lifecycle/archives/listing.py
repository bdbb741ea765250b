"""Which archives a tenant has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.resolver.lifecycle.services import Access
from silo.storage.v1 import transport_pb2 as pb
from silo.storage.v1 import transport_pb2_grpc


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """An archive: where it is, and whether its manifest is there, which is written last."""

    path: str
    complete: bool


async def archives_in(storage: Access, folder: str) -> Sequence[Archive]:
    """The archives of a tenant in a folder, `exports` or `backups`, by name."""
    stub = storage.stub(transport_pb2_grpc.TransportServiceStub)
    found: list[Archive] = []
    position = b""
    while True:
        request = pb.ListArchivesRequest(folder=folder, position=position)
        page = await storage.call(stub.ListArchives, request)
        found += [Archive(path=each.path, complete=each.complete) for each in page.archives]
        position = page.position
        if not position:
            return found
