"""The layer over the objects port that encrypts: below it, no content of an object is in the clear.

A tenant's context says under which version of its data keys is written; none, and content goes through as it is.
What an object's metadata says decides how it is read, so that objects from before the tenant had encryption stay
readable, and those of older versions too. Paths, media types and the uploader's metadata stay in the clear: the
engine lists and expires by them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from boundary.context import TenantContext
from boundary.errors import (
    Aborted,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    etag_mismatch,
)
from boundary.guard import require_context
from boundary.scope import ObjectPrefix
from services.keys.ring import KeyRing
from services.storage.data_keys import OWN, PURPOSE, ObjectKeyRecords
from services.storage.frames import (
    TRAILER_BYTES,
    FrameCipher,
    new_salt,
    parse_label,
)
from services.storage.ports import (
    WHOLE,
    Content,
    Listing,
    Objects,
    Span,
    StoredObject,
    Upload,
)
from services.storage.sealed_content import SealedContent, sealed_span
from services.storage.sealed_upload import LABEL, SealedUpload

_ATTEMPTS = 10
"""How often a read starts again because the object was replaced on the way."""

_SLOW_SECONDS = 20.0

_DESCRIBING = 8
"""How many digests of a page are read side by side, of objects that have theirs behind their content."""


class SealedObjects:
    """Objects whose content is encrypted for the tenants that have encryption (services.storage.ports.Objects).

    Besides what the port names, every method raises FailedPrecondition where the tenant's key does not serve
    (`KEY_DESTROYED`), and DataLoss where what is stored is not what was.
    """

    def __init__(
        self,
        inner: Objects,
        ring: KeyRing,
        *,
        records: ObjectKeyRecords,
        context: Callable[[], TenantContext] = require_context,
        slow_seconds: float = _SLOW_SECONDS,
    ) -> None:
        """Takes the guarded objects below and the data keys.

        Args:
            records: where the data keys stand.
            context: how to know whose call is being served.
            slow_seconds: an upload that takes longer asks at its end whether its data key still serves.
        """
        self._inner = inner
        self._ring = ring
        self._records = records
        self._context = context
        self._slow_seconds = slow_seconds

    async def put(
        self, prefix: ObjectPrefix, path: str, content: AsyncIterator[bytes], upload: Upload
    ) -> StoredObject:
        """See Objects.put."""
        _refuse_own(path, upload.metadata)
        tenant = self._context()
        if not tenant.key_version:
            return await self._inner.put(prefix, path, content, upload)
        version, salt = tenant.key_version, new_salt()
        sending = await SealedUpload.begin(
            content,
            upload,
            version=version,
            salt=salt,
            cipher=await self._cipher(tenant, version, salt, path=path, make=True),
            late=partial(self._require_unretired, tenant),
        )
        stored = await self._inner.put(prefix, path, sending.content(), sending.upload)
        return replace(
            stored,
            size=sending.size,
            sha256=sending.sha256,
            metadata=dict(upload.metadata),
            key_version=version,
        )

    async def _require_unretired(self, tenant: TenantContext, seconds: float) -> None:
        """Returns where an upload that took so long may still be stored under its data key.

        Raises:
            Aborted: the data key was retired meanwhile; the upload can be made again.
        """
        if seconds > self._slow_seconds and await self._records.floor(tenant) > tenant.key_version:
            raise Aborted("KEY_RETIRED", "the tenant's key was rotated long ago; upload it again")

    async def get(
        self, prefix: ObjectPrefix, path: str, *, span: Span = WHOLE, if_match: str = ""
    ) -> Content:
        """See Objects.get."""
        if _is_own(path):
            raise NotFound(path)
        tenant = self._context()
        if not tenant.key_version:  # nothing was ever encrypted, unless it was switched on just now
            opened = await self._inner.get(prefix, path, span=span, if_match=if_match)
            if LABEL not in opened.object.metadata:
                return opened
            async with opened:
                pass
        for _ in range(_ATTEMPTS):
            try:
                return await self._opened(tenant, prefix, path, span, if_match)
            except Aborted:
                if if_match:
                    raise
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def head(self, prefix: ObjectPrefix, path: str) -> StoredObject | None:
        """See Objects.head."""
        if _is_own(path):
            return None
        for _ in range(_ATTEMPTS):
            stored = await self._inner.head(prefix, path)
            if stored is None or LABEL not in stored.metadata:
                return stored
            try:
                return await self._described(self._context(), prefix, stored)
            except (Aborted, NotFound):
                continue  # it was replaced or deleted since it was looked at
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def list(
        self,
        prefix: ObjectPrefix,
        *,
        under: str,
        folded: bool,
        limit: int,
        position: bytes | None = None,
    ) -> Listing:
        """See Objects.list. Once the tenant's key is destroyed, encrypted objects are listed without a digest."""
        objects: list[StoredObject] = []
        folders: list[str] = []
        while True:
            page = await self._inner.list(
                prefix,
                under=under,
                folded=folded,
                limit=limit - len(objects) - len(folders),
                position=position,
            )
            objects += [stored for stored in page.objects if not _is_own(stored.path)]
            folders += [folder for folder in page.folders if folder != OWN]
            position = page.position
            if position is None or len(objects) + len(folders) >= limit:
                break
        few_at_a_time = asyncio.Semaphore(_DESCRIBING)
        described = await asyncio.gather(
            *(self._listed(prefix, stored, few_at_a_time) for stored in objects)
        )
        return Listing(
            objects=[stored for stored in described if stored is not None],
            folders=folders,
            position=position,
        )

    async def copy(
        self,
        prefix: ObjectPrefix,
        source: str,
        destination: str,
        *,
        source_if_match: str = "",
        create_only: bool = False,
    ) -> StoredObject:
        """See Objects.copy. Encrypted content is copied as it is; what is in the clear passes through here."""
        _refuse_own(destination, {})
        tenant = self._context()
        for _ in range(_ATTEMPTS):
            original = None if _is_own(source) else await self._inner.head(prefix, source)
            if original is None:
                raise NotFound(source)
            if source_if_match and original.etag != source_if_match:
                raise etag_mismatch(source, field="source_if_match")
            if LABEL not in original.metadata and tenant.key_version:
                return await self._sealed_copy(prefix, original, destination, create_only)
            if LABEL in original.metadata:
                self._ring.require(tenant)
            try:
                copied = await self._inner.copy(
                    prefix,
                    source,
                    destination,
                    source_if_match=original.etag,
                    create_only=create_only,
                )
            except Aborted:
                if source_if_match:
                    raise
                continue
            if LABEL not in copied.metadata:
                return copied
            return await self._described(tenant, prefix, copied, read_at=original)
        raise Unavailable("ENGINE_BUSY", "the source is being replaced over and over")

    async def delete(self, prefix: ObjectPrefix, path: str, *, if_match: str = "") -> None:
        """See Objects.delete."""
        if _is_own(path):
            raise NotFound(path)
        await self._inner.delete(prefix, path, if_match=if_match)

    async def delete_many(self, prefix: ObjectPrefix, paths: Sequence[str]) -> int:
        """See Objects.delete_many."""
        allowed = [path for path in paths if not _is_own(path)]
        return await self._inner.delete_many(prefix, allowed) if allowed else 0

    async def _cipher(
        self, tenant: TenantContext, version: int, salt: bytes, *, path: str, make: bool = False
    ) -> FrameCipher:
        obtain = self._ring.write if make else self._ring.read
        data_key = await obtain(tenant, purpose=PURPOSE, version=version)
        return FrameCipher(data_key, salt, tenant_id=tenant.tenant_id, version=version, path=path)

    async def _opened(
        self, tenant: TenantContext, prefix: ObjectPrefix, path: str, span: Span, if_match: str
    ) -> Content:
        """The content, or an Aborted where the object is replaced on the way."""
        ranged = span != WHOLE
        if ranged:
            present = await self._inner.head(prefix, path)
            if present is None:
                raise NotFound(path)
            if if_match and present.etag != if_match:
                raise etag_mismatch(path, field="if_match")
            if_match = present.etag
            if LABEL in present.metadata:
                label = parse_label(present.metadata[LABEL], path=path)
                size = label.size(present.size, path=path)
                start, length = span.within(size)
                span = sealed_span(start, length, size)
        opened = await self._inner.get(prefix, path, span=span, if_match=if_match)
        if LABEL not in opened.object.metadata:
            return opened
        try:
            stored = await self._described(tenant, prefix, opened.object)
            label = parse_label(opened.object.metadata[LABEL], path=path)
            cipher = await self._cipher(tenant, label.version, label.salt, path=path)
        except BaseException:
            async with opened:
                raise
        if not ranged:
            start, length = 0, stored.size
        return SealedContent(stored, start, length, inner=opened, cipher=cipher)

    async def _listed(
        self, prefix: ObjectPrefix, stored: StoredObject, few_at_a_time: asyncio.Semaphore
    ) -> StoredObject | None:
        """The object as callers know it, or None where it has gone since it was listed."""
        if LABEL not in stored.metadata:
            return stored
        try:
            async with few_at_a_time:
                return await self._described(self._context(), prefix, stored)
        except FailedPrecondition:
            return _without_digest(stored)
        except DataLoss:  # it can be listed, so that it can be deleted
            return replace(stored, sha256="")
        except (Aborted, NotFound):
            return await self.head(prefix, stored.path)

    async def _described(
        self,
        tenant: TenantContext,
        prefix: ObjectPrefix,
        stored: StoredObject,
        *,
        read_at: StoredObject | None = None,
    ) -> StoredObject:
        """An encrypted object as callers know it.

        Args:
            stored: as the engine describes it.
            read_at: another object with the same bytes, which has the digest at its end as well.

        Raises:
            Aborted, NotFound: it was replaced or deleted meanwhile.
        """
        label = parse_label(stored.metadata[LABEL], path=stored.path)
        cipher = await self._cipher(tenant, label.version, label.salt, path=stored.path)
        digest = label.digest
        if not digest:
            at = read_at or stored
            tail = await self._inner.get(
                prefix, at.path, span=Span(offset=-TRAILER_BYTES), if_match=at.etag
            )
            async with tail as content:
                digest = b"".join([chunk async for chunk in content.chunks()])
        return replace(_without_digest(stored), sha256=cipher.open_digest(digest).hex())

    async def _sealed_copy(
        self, prefix: ObjectPrefix, original: StoredObject, destination: str, create_only: bool
    ) -> StoredObject:
        opened = await self._inner.get(prefix, original.path, if_match=original.etag)
        async with opened as content:
            upload = Upload(
                content_type=original.content_type,
                metadata=original.metadata,
                sha256=original.sha256,
                create_only=create_only,
            )
            return await self.put(prefix, destination, content.chunks(), upload)


def _without_digest(stored: StoredObject) -> StoredObject:
    label = parse_label(stored.metadata[LABEL], path=stored.path)
    own = {key: value for key, value in stored.metadata.items() if key != LABEL}
    return replace(
        stored,
        size=label.size(stored.size, path=stored.path),
        sha256="",
        metadata=own,
        key_version=label.version,
    )


def _is_own(path: str) -> bool:
    return path.startswith(OWN)


def _refuse_own(path: str, metadata: Mapping[str, str]) -> None:
    if _is_own(path):
        raise InvalidArgument("path", f"{OWN} is reserved", reason="INVALID_PATH")
    if LABEL in metadata:
        raise InvalidArgument("metadata", f"{LABEL} is reserved")
