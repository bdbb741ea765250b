"""silo.storage.v1.TransportService: messages to operations and back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from boundary.errors import InvalidArgument
from boundary.interceptors.call import Call
from services.storage.archive_paths import (
    parse_archive,
    parse_folder,
    parse_part,
    parse_part_path,
)
from services.storage.attributes import (
    parse_content_type,
    parse_etag,
    parse_metadata,
    parse_sha256,
)
from services.storage.paths import parse_path, parse_prefix
from services.storage.ports import StoredObject
from services.storage.rule_operations import ObjectLifecycles
from services.storage.rule_servicer import rule_of, rules_message
from services.storage.servicer import message_of
from services.storage.transport import ObjectTransport, Piece, Place
from silo.storage.v1 import object_pb2, transport_pb2

_DIGITS = re.compile("[0-9a-f]{0,2}")


class TransportServicer:
    """silo.storage.v1.TransportService."""

    def __init__(self, transport: ObjectTransport, *, lifecycles: ObjectLifecycles) -> None:
        self._transport = transport
        self._lifecycles = lifecycles

    async def write_part(
        self, requests: AsyncIterator[transport_pb2.WritePartRequest], call: Call
    ) -> transport_pb2.WritePartResponse:
        """WritePart."""
        path = await _first_path(requests)
        stored = await self._transport.write_part(call.tenant, path, _chunks_of(requests))
        return transport_pb2.WritePartResponse(size=stored.size, sha256=stored.sha256)

    async def read_part(
        self, request: transport_pb2.ReadPartRequest, call: Call
    ) -> AsyncIterator[transport_pb2.ReadPartResponse]:
        """ReadPart."""
        path = parse_part_path(request.path, field="path")
        etag = parse_etag(request.if_match, field="if_match")
        async with await self._transport.read_part(call.tenant, path, if_match=etag) as content:
            yield transport_pb2.ReadPartResponse(object=message_of(content.object))
            async for chunk in content.chunks():
                yield transport_pb2.ReadPartResponse(chunk=chunk)

    async def digest_part(
        self, request: transport_pb2.DigestPartRequest, call: Call
    ) -> transport_pb2.DigestPartResponse:
        """DigestPart."""
        path = parse_part_path(request.path, field="path")
        size, sha256, etag = await self._transport.digest_part(call.tenant, path)
        return transport_pb2.DigestPartResponse(size=size, sha256=sha256, etag=etag)

    async def list_archives(
        self, request: transport_pb2.ListArchivesRequest, call: Call
    ) -> transport_pb2.ListArchivesResponse:
        """ListArchives."""
        folder = parse_folder(request.folder, field="folder")
        found, position = await self._transport.archives(
            call.tenant, folder, position=request.position
        )
        return transport_pb2.ListArchivesResponse(
            archives=[
                transport_pb2.ArchiveFolder(path=path, complete=complete)
                for path, complete in found
            ],
            position=position,
        )

    async def archive_objects(
        self, request: transport_pb2.ArchiveObjectsRequest, call: Call
    ) -> AsyncIterator[transport_pb2.ArchiveObjectsResponse]:
        """ArchiveObjects."""
        archive = parse_archive(request.archive, field="archive")
        _require_natural(request.max_count, "max_count")
        async for archived in self._transport.archive(
            call.tenant, archive, position=request.position, max_count=request.max_count
        ):
            yield transport_pb2.ArchiveObjectsResponse(
                lines=archived.lines,
                count=archived.count,
                content_bytes=archived.content_bytes,
                position=archived.position,
            )

    async def restore_objects(
        self, request: transport_pb2.RestoreObjectsRequest, call: Call
    ) -> AsyncIterator[transport_pb2.RestoreObjectsResponse]:
        """RestoreObjects."""
        archive = parse_archive(request.archive, field="archive")
        part = parse_part(request.part, field="part")
        etag = parse_etag(request.if_match, field="if_match")
        _require_natural(request.skip_count, "skip_count")
        restored_bytes = 0
        async for restored in self._transport.restore(
            call.tenant, archive, part, if_match=etag, skip=request.skip_count
        ):
            restored_bytes += restored.content_bytes
            yield transport_pb2.RestoreObjectsResponse(
                done_count=restored.lines, content_bytes=restored_bytes
            )

    async def read_objects(
        self, request: transport_pb2.ReadObjectsRequest, call: Call
    ) -> AsyncIterator[transport_pb2.ReadObjectsResponse]:
        """ReadObjects."""
        under = parse_prefix(request.prefix, field="prefix")
        _require_natural(request.max_bytes, "max_bytes")
        async for piece in self._transport.read(
            call.tenant, under, position=request.position, max_bytes=request.max_bytes
        ):
            yield _response_of(piece)

    async def write_objects(
        self, requests: AsyncIterator[transport_pb2.WriteObjectsRequest], call: Call
    ) -> transport_pb2.WriteObjectsResponse:
        """WriteObjects."""
        count, size = await self._transport.write(call.tenant, _pieces_of(requests))
        return transport_pb2.WriteObjectsResponse(count=count, content_bytes=size)

    async def summarize_objects(
        self, request: transport_pb2.SummarizeObjectsRequest, call: Call
    ) -> transport_pb2.SummarizeObjectsResponse:
        """SummarizeObjects."""
        totals = await self._transport.summarize(
            call.tenant, without_archives=request.without_archives
        )
        return transport_pb2.SummarizeObjectsResponse(
            count=totals.sum.count, content_bytes=totals.content_bytes, digest=totals.sum.digest
        )

    async def read_object_rules(
        self, _: transport_pb2.ReadObjectRulesRequest, call: Call
    ) -> transport_pb2.ReadObjectRulesResponse:
        """ReadObjectRules."""
        rules = await self._lifecycles.get(call.tenant)
        return transport_pb2.ReadObjectRulesResponse(object_lifecycle=rules_message(rules))

    async def write_object_rules(
        self, request: transport_pb2.WriteObjectRulesRequest, call: Call
    ) -> transport_pb2.WriteObjectRulesResponse:
        """WriteObjectRules."""
        rules = [rule_of(each) for each in request.object_lifecycle.rules]
        written = await self._lifecycles.update(call.tenant, name="", rules=rules, etag="")
        return transport_pb2.WriteObjectRulesResponse(object_lifecycle=rules_message(written))

    async def prune_archive(
        self, request: transport_pb2.PruneArchiveRequest, call: Call
    ) -> transport_pb2.PruneArchiveResponse:
        """PruneArchive."""
        archive = parse_archive(request.archive, field="archive")
        parts = {parse_part(part, field="parts") for part in request.parts}
        if _DIGITS.fullmatch(request.digits) is None:
            raise InvalidArgument("digits", "must be up to two digits of hexadecimal")
        count = await self._transport.prune(call.tenant, archive, parts, digits=request.digits)
        return transport_pb2.PruneArchiveResponse(count=count)

    async def remove_objects(
        self, request: transport_pb2.RemoveObjectsRequest, call: Call
    ) -> AsyncIterator[transport_pb2.RemoveObjectsResponse]:
        """RemoveObjects."""
        archive = parse_archive(request.archive, field="archive") if request.archive else ""
        removed = 0
        async for count in self._transport.remove(call.tenant, archive):
            removed += count
            yield transport_pb2.RemoveObjectsResponse(count=removed)


async def _first_path(requests: AsyncIterator[transport_pb2.WritePartRequest]) -> str:
    async for request in requests:
        if request.WhichOneof("part") == "path":
            return parse_part_path(request.path, field="path")
        break
    raise InvalidArgument("path", "must be in the first message")


async def _chunks_of(
    requests: AsyncIterator[transport_pb2.WritePartRequest],
) -> AsyncIterator[bytes]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidArgument("chunk", "must be set in every message after the first")
        yield request.chunk


async def _pieces_of(
    requests: AsyncIterator[transport_pb2.WriteObjectsRequest],
) -> AsyncIterator[StoredObject | bytes]:
    async for request in requests:
        part = request.WhichOneof("part")
        if part is None:
            raise InvalidArgument("part", "must be set in every message")
        yield request.chunk if part == "chunk" else _described_in(request.object)


def _described_in(message: object_pb2.Object) -> StoredObject:
    return StoredObject(
        path=parse_path(message.path, field="object.path"),
        size=message.size,
        content_type=parse_content_type(message.content_type, field="object.content_type"),
        sha256=parse_sha256(message.sha256, field="object.sha256"),
        etag="",
        metadata=parse_metadata(message.metadata, field="object.metadata"),
        update_time=datetime.fromtimestamp(message.update_time.seconds, UTC),
    )


def _response_of(piece: Piece) -> transport_pb2.ReadObjectsResponse:
    match piece:
        case bytes():
            return transport_pb2.ReadObjectsResponse(chunk=piece)
        case Place():
            return transport_pb2.ReadObjectsResponse(position=piece.position)
    return transport_pb2.ReadObjectsResponse(object=message_of(piece))


def _require_natural(value: int, field: str) -> None:
    if value < 0:
        raise InvalidArgument(field, "must not be negative")
