"""Brings the content of a tenant's objects to the newest data key while the tenant works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from boundary.context import TenantContext
from boundary.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from services.keys.ring import KeyRing
from services.storage.data_keys import OWN, PURPOSE, ObjectKeyRecords
from services.storage.frames import parse_label
from services.storage.ports import Objects, StoredObject, Upload
from services.storage.sealed_objects import SealedObjects
from services.storage.sealed_upload import LABEL

_PAGE = 20
"""How many objects are worked on between two tellings of how far it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: how many were looked at and encrypted anew by it, and where another one goes on."""

    seen: int
    rewritten: int
    position: bytes


class Reencryption:
    """Encrypts anew what is in the clear or under an older data key."""

    def __init__(
        self, *, engine: Objects, sealed: SealedObjects, ring: KeyRing, records: ObjectKeyRecords
    ) -> None:
        """Takes the guarded objects, the layer over them that encrypts, and the data keys."""
        self._engine = engine
        self._sealed = sealed
        self._ring = ring
        self._records = records

    async def run(self, tenant: TenantContext, position: bytes = b"") -> AsyncIterator[Progress]:
        """Goes through every object from a position on, and says how far it is.

        Each is stored on condition that nobody has changed it since it was read; who did has encrypted it. It
        keeps what its uploader said of it, and gets a new etag.

        Raises:
            FailedPrecondition: the tenant has no encryption, or its key does not serve.
            DataLoss: an object is damaged.
        """
        if not tenant.key_version:
            raise FailedPrecondition("ENCRYPTION_OFF", "the tenant has no encryption")
        self._ring.require(tenant)
        seen = rewritten = 0
        following: bytes | None = position or None
        while True:
            page = await self._engine.list(
                tenant.objects, under="", folded=False, limit=_PAGE, position=following
            )
            for stored in page.objects:
                if stored.path.startswith(OWN):
                    continue
                seen += 1
                if _version(stored) != tenant.key_version:
                    rewritten += await self._rewrite(tenant, stored)
            following = page.position
            position = following or position
            yield Progress(seen=seen, rewritten=rewritten, position=position)
            if following is None:
                return

    async def retire(self, tenant: TenantContext, *, before: int) -> None:
        """Has uploads fail that are still under way under a data key of a version below before.

        Raises:
            InvalidArgument: before is above the newest version.
        """
        _require_version(tenant, before)
        await self._records.retire(tenant, before=before)

    async def drop(self, tenant: TenantContext, *, before: int) -> int:
        """Removes the data keys of versions below before; says how many there were.

        Raises:
            InvalidArgument: before is above the newest version.
        """
        _require_version(tenant, before)
        return await self._ring.drop(tenant, purpose=PURPOSE, before=before)

    async def _rewrite(self, tenant: TenantContext, stored: StoredObject) -> bool:
        """Whether the object was encrypted anew; not where somebody else changed it first."""
        try:
            opened = await self._sealed.get(tenant.objects, stored.path, if_match=stored.etag)
            async with opened as content:
                upload = Upload(
                    content_type=content.object.content_type,
                    metadata=content.object.metadata,
                    sha256=content.object.sha256,
                    if_match=stored.etag,
                )
                await self._sealed.put(tenant.objects, stored.path, content.chunks(), upload)
        except (Aborted, NotFound):
            return False
        return True


def _version(stored: StoredObject) -> int:
    label = stored.metadata.get(LABEL)
    return parse_label(label, path=stored.path).version if label else 0


def _require_version(tenant: TenantContext, before: int) -> None:
    if not 1 <= before <= tenant.key_version:
        raise InvalidArgument("before_version", "must be 1 to the newest version")
