"""The layer that encrypts objects, over any adapter, with a keeper of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from boundary.context import TenantContext
from services.keys.local import LocalKeys
from services.keys.ring import KeyRing
from services.storage.data_keys import ObjectKeyRecords
from services.storage.ports import Objects
from services.storage.sealed_objects import SealedObjects
from tests.contexts import make_context


@asynccontextmanager
async def layered(inner: Objects, layer: str, folder: Path) -> AsyncIterator[Objects]:
    """The objects of an adapter, as they are or `sealed`, for the tenant of the contract suite."""
    if layer != "sealed":
        yield inner
        return
    tenant = make_context("a", audience="storage", key_version=1)
    async with sealed_over(inner, folder, tenant) as sealed:
        yield sealed


@asynccontextmanager
async def sealed_over(
    inner: Objects, folder: Path, tenant: TenantContext
) -> AsyncIterator[SealedObjects]:
    """Encrypted objects of one tenant, whose every call is that tenant's."""
    keys = LocalKeys(folder)
    await keys.create(tenant.key)
    records = ObjectKeyRecords(inner)
    ring = KeyRing(keys, records)
    yield SealedObjects(inner, ring, records=records, context=lambda: tenant)
    keys.close()
