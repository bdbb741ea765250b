"""The parts of an archive, written to and read from the tenant's own part of the bucket."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime

from boundary.archives import BACKUPS, MANIFEST, MAX_MANIFEST_BYTES, Manifest, Part, read_manifest
from boundary.certificates import CertificateError, keys_in
from boundary.errors import FailedPrecondition, NotFound
from boundary.json_lines import CHUNK_BYTES
from services.resolver.certificates import Certificates
from services.resolver.lifecycle.carrying import PART_SECONDS, Carried, Messages, lines_of
from services.resolver.lifecycle.records import Operation
from services.resolver.lifecycle.services import Access
from silo.storage.v1 import transport_pb2 as storage_pb2
from silo.storage.v1 import transport_pb2_grpc as storage_grpc


def archive_of(operation: Operation, folder: str) -> str:
    """Where an operation's archive is, below the tenant's prefix: by name, archives are in the order of time."""
    asked = datetime.fromtimestamp(operation.created_at / 1e6, UTC)
    return f"{folder}/{asked:%Y%m%dT%H%M%SZ}-{operation.operation_id[:8]}"


async def write_part(storage: Access, path: str, chunks: AsyncIterator[bytes]) -> tuple[int, str]:
    """Writes a part of an archive; its size and its SHA-256."""

    async def requests() -> AsyncIterator[storage_pb2.WritePartRequest]:
        yield storage_pb2.WritePartRequest(path=path)
        async for chunk in chunks:
            yield storage_pb2.WritePartRequest(chunk=chunk)

    stub = storage.stub(storage_grpc.TransportServiceStub)
    written = await storage.send(stub.WritePart, requests(), seconds=PART_SECONDS)
    return int(written.size), str(written.sha256)


async def write_lines_part(
    storage: Access, archive: str, name: str, messages: Messages
) -> tuple[Part | None, Carried]:
    """Writes messages as a part of an archive; None where there was nothing in them."""
    carried = Carried()
    async with aclosing(lines_of(messages, carried)) as chunks:
        first = await anext(chunks, None)
        if first is None:
            return None, carried

        async def all_of_them() -> AsyncIterator[bytes]:
            yield first
            async for chunk in chunks:
                yield chunk

        size, sha256 = await write_part(storage, f"{archive}/{name}", all_of_them())
    return Part(name=name, count=carried.count, bytes=size, sha256=sha256), carried


async def read_part(storage: Access, path: str, *, etag: str = "") -> AsyncGenerator[bytes, None]:
    """The content of a part of an archive.

    Raises:
        NotFound, Aborted: it is not there, or another.
    """
    request = storage_pb2.ReadPartRequest(path=path, if_match=etag)
    stub = storage.stub(storage_grpc.TransportServiceStub)
    async with aclosing(storage.read(stub.ReadPart, request, seconds=PART_SECONDS)) as responses:
        async for response in responses:
            if response.WhichOneof("part") == "chunk":
                yield response.chunk


async def write_text(storage: Access, path: str, text: str) -> None:
    """Writes a part that is one text."""
    raw = text.encode()

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(raw), CHUNK_BYTES):
            yield raw[start : start + CHUNK_BYTES]

    await write_part(storage, path, chunks())


async def manifest_in(
    storage: Access, archive: str, *, certificates: Certificates, trusted: str
) -> Manifest:
    """The manifest of an archive.

    Args:
        certificates: the deployment's own, whose signatures are believed.
        trusted: a JSON Web Key Set whose signatures are believed besides; none where empty.

    Raises:
        FailedPrecondition: there is none (`ARCHIVE_MISSING`), or it is not what was signed (`ARCHIVE_TAMPERED`);
            the error names the place.
    """
    path, raw = f"{archive}/{MANIFEST}", b""
    try:
        async with aclosing(read_part(storage, path)) as chunks:
            async for chunk in chunks:
                raw += chunk
                if len(raw) > MAX_MANIFEST_BYTES:
                    raise tampered(path, "is too large")
    except NotFound as error:
        raise FailedPrecondition("ARCHIVE_MISSING", f"there is no {path}") from error
    keys = keys_in(certificates.jwks()) | (keys_in(trusted) if trusted else {})
    try:
        return read_manifest(raw.decode(errors="replace"), keys=keys)
    except CertificateError as error:
        raise tampered(f"{path} {error.place}", str(error).partition(": ")[2]) from error


def require_place(manifest: Manifest, archive: str, *, of: str) -> None:
    """Returns where a backup is the one that its place says; exports may have been carried from anywhere.

    Raises:
        FailedPrecondition: it is another, under this one's name (`ARCHIVE_TAMPERED`).
    """
    if archive.startswith(f"{BACKUPS}/") and (manifest.tenant_id, manifest.path) != (of, archive):
        raise tampered(
            f"{archive}/{MANIFEST}", f"is that of {manifest.path} of {manifest.tenant_id}"
        )


def tampered(place: str, description: str) -> FailedPrecondition:
    """The error for an archive that is not what was archived; it names the place."""
    return FailedPrecondition(
        "ARCHIVE_TAMPERED", f"{place} {description}", metadata={"place": place}
    )
