"""The wrapped data keys of a tenant, as objects in a folder of its prefix that callers never see."""

from __future__ import annotations

from collections.abc import AsyncIterator

from boundary.context import TenantContext
from boundary.errors import AlreadyExists, NotFound
from services.storage.ports import MAX_LISTED, Objects, Upload

OWN = ".silo-keys/"
"""What lies under this, below a tenant's prefix, are data keys."""

PURPOSE = "objects"
"""What the data keys here are for."""

_FLOOR = f"{OWN}{PURPOSE}/floor"

_TYPE = Upload(content_type="application/octet-stream", create_only=True)


class ObjectKeyRecords:
    """See services.keys.ring.DataKeyRecords."""

    def __init__(self, objects: Objects) -> None:
        """Takes the guarded objects, below the layer that encrypts."""
        self._objects = objects

    async def find(self, tenant: TenantContext, *, purpose: str, version: int) -> bytes | None:
        """See DataKeyRecords.find."""
        try:
            found = await self._objects.get(tenant.objects, _path(purpose, version))
        except NotFound:
            return None
        async with found as content:
            return b"".join([chunk async for chunk in content.chunks()])

    async def add(
        self, tenant: TenantContext, wrapped: bytes, *, purpose: str, version: int
    ) -> bytes:
        """See DataKeyRecords.add."""
        try:
            await self._objects.put(tenant.objects, _path(purpose, version), _whole(wrapped), _TYPE)
        except AlreadyExists:
            stored = await self.find(tenant, purpose=purpose, version=version)
            if stored is not None:
                return stored
            raise
        return wrapped

    async def drop(self, tenant: TenantContext, *, purpose: str, before: int) -> int:
        """See DataKeyRecords.drop. There are no more than a page: each rotation adds one."""
        page = await self._objects.list(
            tenant.objects, under=f"{OWN}{purpose}/", folded=False, limit=MAX_LISTED
        )
        last = _path(purpose, before)
        old = [stored.path for stored in page.objects if stored.path < last]
        return await self._objects.delete_many(tenant.objects, old) if old else 0

    async def retire(self, tenant: TenantContext, *, before: int) -> None:
        """Has uploads under way store nothing where their data key is of a version below before."""
        if await self.floor(tenant) < before:
            upload = Upload(content_type="text/plain")
            await self._objects.put(tenant.objects, _FLOOR, _whole(b"%d" % before), upload)

    async def floor(self, tenant: TenantContext) -> int:
        """The first version under which objects may still be stored."""
        try:
            found = await self._objects.get(tenant.objects, _FLOOR)
        except NotFound:
            return 1
        async with found as content:
            return int(b"".join([chunk async for chunk in content.chunks()]))


def _path(purpose: str, version: int) -> str:
    return f"{OWN}{purpose}/{version:010d}"


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
