"""Carries a tenant's objects into archives and out of them, and from one bucket to another.

Every call is resumable and repeatable: a position is that of the port's list, an object appears whole or not at
all, and storing it again changes nothing. Memory is a page of descriptions and a chunk of content.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, replace

from boundary.archives import MANIFEST, OBJECTS, content_name
from boundary.context import TenantContext
from boundary.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from boundary.json_lines import Sum, cut
from services.storage.archive_paths import (
    archive_in,
    content_path,
    is_archived,
    manifest_path,
)
from services.storage.ports import MAX_LISTED, Content, Objects, StoredObject, Upload
from services.storage.transport_lines import (
    Described,
    content_line_of,
    described_in,
    digest_in,
    line_of,
)

_PAGE = 100
_TOGETHER = 8
"""How many objects are copied or restored side by side."""

_LINES = Upload(content_type="application/x-ndjson")
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Archived:
    """Some archived objects.

    Attributes:
        lines: their descriptions.
        count: how many.
        content_bytes: the bytes of content they describe.
        position: where to go on; empty where there is nothing more.
    """

    lines: bytes
    count: int
    content_bytes: int
    position: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """How many lines of a part are done, and how many bytes of content that took."""

    lines: int
    content_bytes: int


@dataclass(slots=True, kw_only=True)
class Totals:
    """Objects added up: how many, their bytes, and the sum of what they are."""

    sum: Sum
    content_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a call goes on behind what came before; empty where there is nothing more."""

    position: bytes


Piece = StoredObject | bytes | Place
"""What objects are carried in: a description, then the content that belongs to it; a place between two objects."""


class ObjectTransport:
    """Carries the objects of tenants. Archives and parts are in the grammar of services.storage.archive_paths."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def write_part(
        self, tenant: TenantContext, path: str, chunks: AsyncIterator[bytes]
    ) -> StoredObject:
        """The part of an archive with that content, in place of what was there."""
        return await self._objects.put(tenant.objects, path, chunks, _LINES)

    async def read_part(self, tenant: TenantContext, path: str, *, if_match: str) -> Content:
        """The content of a part.

        Raises:
            NotFound, Aborted: it is not there, or another.
        """
        return await self._objects.get(tenant.objects, path, if_match=if_match)

    async def digest_part(self, tenant: TenantContext, path: str) -> tuple[int, str, str]:
        """The size and the SHA-256 of a part's content as it is read, and its etag.

        Raises:
            NotFound: it is not there.
        """
        digest, size = hashlib.sha256(), 0
        async with await self._objects.get(tenant.objects, path) as content:
            async for chunk in content.chunks():
                digest.update(chunk)
                size += len(chunk)
            return size, digest.hexdigest(), content.object.etag

    async def archives(
        self, tenant: TenantContext, folder: str, *, position: bytes
    ) -> tuple[list[tuple[str, bool]], bytes]:
        """A page of a folder's archives, each with whether its manifest is there, and the next page's position."""
        page = await self._objects.list(
            tenant.objects, under=folder, folded=True, limit=_PAGE, position=position or None
        )
        names = [name for name in map(archive_in, page.folders) if name is not None]
        manifests = await asyncio.gather(
            *(self._objects.head(tenant.objects, manifest_path(name)) for name in names)
        )
        found = [
            (name, manifest is not None) for name, manifest in zip(names, manifests, strict=True)
        ]
        return found, page.position or b""

    async def archive(
        self, tenant: TenantContext, archive: str, *, position: bytes, max_count: int
    ) -> AsyncIterator[Archived]:
        """Copies the objects behind a position into an archive, page by page; archives themselves are left out.

        What is deleted meanwhile may be missing, and what is replaced is there in one of its versions.
        """
        done = 0
        place: bytes | None = position or None
        while True:
            page = await self._objects.list(
                tenant.objects, under="", folded=False, limit=_PAGE, position=place
            )
            found = [stored for stored in page.objects if not is_archived(stored.path)]
            copied = [each for each in await self._copied(tenant, archive, found) if each]
            done += len(copied)
            place = page.position
            yield Archived(
                lines=b"".join(line_of(stored) + b"\n" for stored in copied),
                count=len(copied),
                content_bytes=sum(stored.size for stored in copied),
                position=place or b"",
            )
            if place is None or (max_count and done >= max_count):
                return

    async def restore(
        self, tenant: TenantContext, archive: str, part: str, *, if_match: str, skip: int
    ) -> AsyncIterator[Restored]:
        """Restores the objects that a part of an archive describes, and says how far it is.

        Args:
            if_match: the part's etag.
            skip: how many lines were done before.

        Raises:
            InvalidArgument: a line is not what it should be; the error names it.
            FailedPrecondition: the archive lacks a content, or one is not what its line says (`ARCHIVE_TAMPERED`).
        """
        waiting: list[tuple[int, Described]] = []
        done = skip
        path = f"{archive}/{part}"
        async with await self.read_part(tenant, path, if_match=if_match) as content:
            async for number, line in cut(content.chunks()):
                if number <= skip:
                    continue
                waiting.append((number, described_in(number, line)))
                if len(waiting) == _TOGETHER:
                    size = await self._restore_all(tenant, archive, part, waiting)
                    done, waiting = number, []
                    yield Restored(lines=done, content_bytes=size)
        size = await self._restore_all(tenant, archive, part, waiting)
        yield Restored(lines=done + len(waiting), content_bytes=size)

    async def read(
        self, tenant: TenantContext, under: str, *, position: bytes, max_bytes: int
    ) -> AsyncIterator[Piece]:
        """The objects behind a position, and after each page the position behind it."""
        done = 0
        place: bytes | None = position or None
        while True:
            page = await self._objects.list(
                tenant.objects, under=under, folded=False, limit=_PAGE, position=place
            )
            for listed in page.objects:
                async for piece in self._pieces(tenant, listed.path):
                    yield piece
                done += listed.size
            place = page.position
            yield Place(position=place or b"")
            if place is None or (max_bytes and done >= max_bytes):
                return

    async def write(
        self, tenant: TenantContext, pieces: AsyncIterator[StoredObject | bytes]
    ) -> tuple[int, int]:
        """Stores objects; how many they are, and how many bytes of content they have.

        Raises:
            InvalidArgument: content comes before any object, or is not what its object says.
        """
        split = Split(pieces)
        count = size = 0
        while (described := await split.next_object()) is not None:
            upload = Upload(
                content_type=described.content_type,
                metadata=described.metadata,
                sha256=described.sha256,
            )
            stored = await self._objects.put(
                tenant.objects, described.path, split.content(), upload
            )
            count += 1
            size += stored.size
        return count, size

    async def summarize(self, tenant: TenantContext, *, without_archives: bool) -> Totals:
        """The objects added up, in whatever order the bucket lists them."""
        totals = Totals(sum=Sum())
        async for stored in self._all(tenant, ""):
            if without_archives and is_archived(stored.path):
                continue
            totals.sum.add(content_line_of(await self._known(tenant, stored)))
            totals.content_bytes += stored.size
        return totals

    async def prune(
        self, tenant: TenantContext, archive: str, parts: Collection[str], *, digits: str
    ) -> int:
        """Removes what is in an archive and in none of its parts, and is no manifest; how many objects.

        Args:
            parts: the names of all its parts.
            digits: what the SHA-256 of the contents that are looked at begin with; theirs are in memory.
        """
        described: set[bytes] = set()
        for part in parts:
            if part.startswith(f"{OBJECTS}-"):
                async with await self.read_part(tenant, f"{archive}/{part}", if_match="") as lines:
                    async for number, line in cut(lines.chunks()):
                        digest = digest_in(number, line)
                        if digest.hex().startswith(digits):
                            described.add(digest)
        named = {f"{archive}/{name}" for name in (*parts, MANIFEST)}
        contents = f"{archive}/{OBJECTS}/"
        beside = self._removing(tenant, f"{archive}/", lambda path: path not in named, folded=True)
        left = self._removing(
            tenant,
            f"{contents}{digits}",
            lambda path: _digest_of(path.removeprefix(contents)) not in described,
        )
        return sum([count async for count in beside]) + sum([count async for count in left])

    def remove(self, tenant: TenantContext, archive: str) -> AsyncIterator[int]:
        """Removes an archive, or where it is empty every object outside of the archives; how many at a time."""
        if archive:
            return self._removing(tenant, f"{archive}/", lambda _: True)
        return self._removing(tenant, "", lambda path: not is_archived(path))

    async def _removing(
        self,
        tenant: TenantContext,
        under: str,
        doomed: Callable[[str], bool],
        *,
        folded: bool = False,
    ) -> AsyncIterator[int]:
        """Removes what is doomed of what is under a prefix; where folded, not in folders below it."""
        position: bytes | None = None
        while True:
            page = await self._objects.list(
                tenant.objects, under=under, folded=folded, limit=MAX_LISTED, position=position
            )
            paths = [stored.path for stored in page.objects if doomed(stored.path)]
            if paths:
                yield await self._objects.delete_many(tenant.objects, paths)
            position = page.position
            if position is None:
                return

    async def _all(self, tenant: TenantContext, under: str) -> AsyncIterator[StoredObject]:
        position: bytes | None = None
        while True:
            page = await self._objects.list(
                tenant.objects, under=under, folded=False, limit=MAX_LISTED, position=position
            )
            for stored in page.objects:
                yield stored
            position = page.position
            if position is None:
                return

    async def _known(self, tenant: TenantContext, stored: StoredObject) -> StoredObject:
        """The object with its digest, which nobody knows of what was put into the bucket past the service."""
        if stored.sha256:
            return stored
        digest = hashlib.sha256()
        opened = await self._objects.get(tenant.objects, stored.path, if_match=stored.etag)
        async with opened as content:
            async for chunk in content.chunks():
                digest.update(chunk)
        return replace(stored, sha256=digest.hexdigest())

    async def _pieces(self, tenant: TenantContext, path: str) -> AsyncIterator[Piece]:
        """An object as it is now; nothing where it was deleted since it was listed."""
        try:
            opened = await self._objects.get(tenant.objects, path)
        except NotFound:
            return
        async with opened as content:
            yield content.object
            async for chunk in content.chunks():
                yield chunk

    async def _copied(
        self, tenant: TenantContext, archive: str, found: list[StoredObject]
    ) -> list[StoredObject | None]:
        few_at_a_time = asyncio.Semaphore(_TOGETHER)

        async def copy(stored: StoredObject) -> StoredObject | None:
            async with few_at_a_time:
                return await self._copy(tenant, archive, stored)

        return await asyncio.gather(*(copy(stored) for stored in found))

    async def _copy(
        self, tenant: TenantContext, archive: str, stored: StoredObject
    ) -> StoredObject | None:
        """The object as it was copied; None where it was deleted meanwhile."""
        current: StoredObject | None = stored
        for _ in range(_ATTEMPTS):
            if current is None:
                return None
            try:
                current = await self._known(tenant, current)
                content = content_path(archive, current.sha256)
                if not await self._has(tenant, content, current.sha256):
                    await self._objects.copy(
                        tenant.objects, current.path, content, source_if_match=current.etag
                    )
            except (Aborted, NotFound):
                current = await self._objects.head(tenant.objects, stored.path)
                continue
            return current
        raise Unavailable("OBJECT_BUSY", "an object is being replaced over and over")

    async def _has(self, tenant: TenantContext, path: str, sha256: str) -> bool:
        """Whether a content is there already, of another object or of an earlier attempt: that, and no other."""
        present = await self._objects.head(tenant.objects, path)
        return present is not None and (await self._known(tenant, present)).sha256 == sha256

    async def _restore_all(
        self,
        tenant: TenantContext,
        archive: str,
        part: str,
        described: list[tuple[int, Described]],
    ) -> int:
        restored = await asyncio.gather(
            *(self._restore(tenant, archive, part, *each) for each in described)
        )
        return sum(restored)

    async def _restore(
        self, tenant: TenantContext, archive: str, part: str, number: int, described: Described
    ) -> int:
        source = content_path(archive, described.upload.sha256)
        place = f"{archive}/{part}, line {number}"
        try:
            opened = await self._objects.get(tenant.objects, source)
        except NotFound as error:
            raise tampered(place, f"{source} is missing") from error
        async with opened as content:
            if content.length != described.size:
                raise tampered(place, f"{source} is not of the size that the line says")
            try:
                stored = await self._objects.put(
                    tenant.objects, described.path, content.chunks(), described.upload
                )
            except InvalidArgument as error:
                if error.reason != "CHECKSUM_MISMATCH":
                    raise
                raise tampered(place, f"{source} is not what the line says") from error
        return stored.size


def _digest_of(name: str) -> bytes:
    """The digest in the name of a content, below the contents of its archive; empty where it is none of one."""
    try:
        digest = bytes.fromhex(name.rpartition("/")[2])
    except ValueError:
        return b""
    return digest if content_name(digest.hex()) == f"{OBJECTS}/{name}" else b""


class Split:
    """Objects and their content, apart again: one object after the other, each with the content behind it."""

    def __init__(self, pieces: AsyncIterator[StoredObject | bytes]) -> None:
        self._pieces = pieces
        self._next: StoredObject | None = None

    async def next_object(self) -> StoredObject | None:
        """The next object; None where there is none. The content of the one before has been read.

        Raises:
            InvalidArgument: content comes before any object.
        """
        described, self._next = self._next, None
        if described is not None:
            return described
        async for piece in self._pieces:
            if isinstance(piece, bytes):
                raise InvalidArgument("chunk", "must follow an object")
            return piece
        return None

    async def content(self) -> AsyncIterator[bytes]:
        """The content of the object before."""
        async for piece in self._pieces:
            if not isinstance(piece, bytes):
                self._next = piece
                return
            yield piece


def tampered(place: str, description: str) -> FailedPrecondition:
    """The error for an archive that is not what was archived; it names the place."""
    return FailedPrecondition(
        "ARCHIVE_TAMPERED", f"{place}: {description}", metadata={"place": place}
    )
