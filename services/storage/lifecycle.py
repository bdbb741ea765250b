"""The platform's own work on a tenant's objects: taking all of them away, and one person's address out of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from boundary.context import TenantContext
from boundary.subjects import DataSubject
from boundary.tenants import LiveCalls
from services.keys.ring import KeyRing
from services.storage.ports import Contents, Described, PurgeableObjects, Rewritten
from services.storage.rule_operations import ObjectLifecycles


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Where an address stands: objects and versions with it in their metadata, and in their path."""

    examined: int = 0
    metadata: int = 0
    paths: int = 0
    complete: bool = False


class ObjectLifecycle:
    """Works on all objects of a tenant. Repeatable after any failure: what is gone is not found again."""

    def __init__(
        self,
        objects: PurgeableObjects,
        *,
        live_calls: LiveCalls,
        rules: ObjectLifecycles,
        ring: KeyRing,
    ) -> None:
        self._objects = objects
        self._ring = ring
        self._live_calls = live_calls
        self._rules = rules

    async def prepare(self, tenant: TenantContext) -> bool:
        """Sees that the bucket answers for the tenant's prefix; whether nothing is under it."""
        page = await self._objects.list(tenant.objects, under="", folded=False, limit=1)
        return not page.objects and page.position is None

    async def purge(self, tenant: TenantContext) -> AsyncIterator[Contents]:
        """Deletes everything and the rules for it, after the tenant's calls under way have been ended.

        Raises:
            Unavailable: calls of the tenant do not end, or objects keep coming (`TENANT_BUSY`); repeatable.
        """
        await self._live_calls.ended(tenant)
        await self._rules.clear(tenant)
        async for deleted in self._objects.purge(tenant.objects):
            yield deleted
        self._ring.forget(tenant.tenant_id)  # the data keys' records went with the objects

    async def survey(self, tenant: TenantContext) -> AsyncIterator[Contents]:
        """Counts what there is."""
        async for found in self._objects.survey(tenant.objects):
            yield found

    async def erase(self, tenant: TenantContext, subject: DataSubject) -> AsyncIterator[Rewritten]:
        """Removes the metadata entries that hold the address. Content is not read, paths are not changed."""

        def without(metadata: Mapping[str, str]) -> Mapping[str, str]:
            return {
                name: value
                for name, value in metadata.items()
                if not (subject.mentioned_in(name) or subject.mentioned_in(value))
            }

        async for done in self._objects.rewrite(tenant.objects, without):
            yield done

    async def trace(self, tenant: TenantContext, subject: DataSubject) -> AsyncIterator[Traces]:
        """Counts where the address stands."""
        found = Traces()
        async for page in self._objects.described(tenant.objects):
            found = Traces(
                examined=found.examined + len(page),
                metadata=found.metadata + sum(_described_by(each, subject) for each in page),
                paths=found.paths + sum(subject.mentioned_in(each.path) for each in page),
            )
            yield found
        yield replace(found, complete=True)


def _described_by(described: Described, subject: DataSubject) -> bool:
    return any(
        subject.mentioned_in(name) or subject.mentioned_in(value)
        for name, value in described.metadata.items()
    )
