"""Onboarding: from an id that nobody has to a tenant that works (domain spec, tenant onboarding).

The record comes first, in a status in which no caller is served, so that id and slug are claimed before anything
is made under them; the status that lets callers in comes last. Rolling back leaves nothing but an unused key,
which the next tenant of that id gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from boundary.context import ACTIVE
from services.resolver.directory import (
    ONBOARDING,
    Changed,
    Directory,
    IdTaken,
    SlugTaken,
)
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.removal import remove_events, remove_objects
from services.resolver.lifecycle.work import Work, tenant_busy
from services.resolver.operations import NewTenant, Tenants, id_taken, slug_taken
from services.resolver.ports import Value
from services.resolver.tenant_keys import Encryption
from silo.search.v1 import lifecycle_pb2 as search_pb2
from silo.search.v1 import lifecycle_pb2_grpc as search_grpc
from silo.storage.v1 import lifecycle_pb2 as storage_pb2
from silo.storage.v1 import lifecycle_pb2_grpc as storage_grpc

NAME = "onboarding"

_WRITE = "lifecycle.write"


@dataclass(frozen=True, slots=True, kw_only=True)
class TierLimits:
    """What bounds a tenant's use where nobody has set a bound of its own."""

    max_object_bytes: int
    counter_shards: int


LIMITS = {
    "BASIC": TierLimits(max_object_bytes=5 * 1024**3, counter_shards=1),
    "STANDARD": TierLimits(max_object_bytes=50 * 1024**3, counter_shards=2),
    "PREMIUM": TierLimits(max_object_bytes=0, counter_shards=8),
}
"""By tier; 0 is the service's own bound."""


class Onboarding:
    """The kind's steps."""

    def __init__(self, *, directory: Directory, tenants: Tenants, encryption: Encryption) -> None:
        self._directory = directory
        self._tenants = tenants
        self._encryption = encryption

    def kind(self) -> Kind:
        """The kind."""
        return Kind(
            name=NAME,
            kept=True,
            steps=(
                Step(name="record", do=self._record, undo=self._unrecord),
                Step(name="key", do=self._key),
                Step(name="storage", do=_storage, undo=remove_objects),
                Step(name="search", do=_search, undo=remove_events),
                Step(name="limits", do=_limits),
                Step(name="monitoring", do=_monitoring),
                Step(name="activation", do=_activation, final=True),
            ),
        )

    async def check(self, new: NewTenant) -> dict[str, Value]:
        """What the operation is told of a tenant that can be onboarded.

        Raises:
            InvalidArgument: a field is out of grammar.
            AlreadyExists: the id is in use (`TENANT_EXISTS`) or was (`TENANT_PURGED`), or the slug is
                (`SLUG_EXISTS`).
            FailedPrecondition: its region has no keeper of keys, and it needs one.
        """
        tenant = self._tenants.checked(new)
        existing = await self._directory.find(tenant.tenant_id)
        if existing is not None:
            raise id_taken(existing)
        if await self._directory.claimed_by(tenant.slug) is not None:
            raise slug_taken(tenant)
        return _parameters(new)

    async def _record(self, work: Work) -> None:
        operation_id = work.operation.operation_id
        new = NewTenant(**{**dict(work.parameters), "request_id": operation_id})  # type: ignore[arg-type]
        tenant = self._tenants.checked(new).changed(standing=ONBOARDING)
        try:
            await self._directory.add(tenant, checks=[work.fence()])
        except IdTaken as error:
            if error.existing.create_request_id != operation_id:
                raise id_taken(error.existing) from error
        except SlugTaken as error:
            raise slug_taken(tenant) from error
        except Changed as error:
            raise tenant_busy() from error
        await work.change_tenant(standing=ONBOARDING)  # tells everyone, also after a crash
        await work.set_result(tenant=f"tenants/{tenant.tenant_id}")

    async def _unrecord(self, work: Work) -> None:
        tenant = await self._directory.find(work.tenant_id)
        if tenant is None or tenant.create_request_id != work.operation.operation_id:
            return
        try:
            await self._directory.remove(tenant, checks=[work.fence()])
        except Changed as error:
            raise tenant_busy() from error
        self._tenants.forget(tenant)

    async def _key(self, work: Work) -> None:
        await self._encryption.provide(await work.tenant())


async def _storage(work: Work) -> None:
    access = await work.at("storage", _WRITE)
    stub = access.stub(storage_grpc.LifecycleServiceStub)
    await access.call(stub.PrepareObjects, storage_pb2.PrepareObjectsRequest())


async def _search(work: Work) -> None:
    access = await work.at("search", _WRITE)
    stub = access.stub(search_grpc.LifecycleServiceStub)
    await access.call(stub.CreateIndex, search_pb2.CreateIndexRequest())


async def _limits(work: Work) -> None:
    tenant = await work.tenant()
    of_tier = LIMITS[tenant.tier]
    await work.change_tenant(
        max_object_bytes=tenant.max_object_bytes or of_tier.max_object_bytes,
        counter_shards=tenant.counter_shards or of_tier.counter_shards,
    )


async def _monitoring(work: Work) -> None:
    await work.change_tenant(monitored=True)


async def _activation(work: Work) -> None:
    await work.change_tenant(standing=ACTIVE)


def _parameters(new: NewTenant) -> dict[str, Any]:
    return {
        "tenant_id": new.tenant_id,
        "display_name": new.display_name,
        "tier": new.tier,
        "region": new.region,
        "table": new.table,
        "bucket": new.bucket,
        "search_cluster": new.search_cluster,
        "max_object_bytes": new.max_object_bytes,
        "counter_shards": new.counter_shards,
        "encryption": new.encryption,
        "allowed_regions": list(new.allowed_regions),
        "backup_hours": new.backup_hours,
        "backups_kept": new.backups_kept,
    }
