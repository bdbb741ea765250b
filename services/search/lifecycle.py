"""The platform's own work on a tenant's index: making it, taking it away, and one recipient's events out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from boundary.context import TenantContext
from boundary.subjects import DataSubject
from boundary.tenants import LiveCalls
from services.search.ports import Filter, IndexSurvey, PurgeableIndexes
from services.search.queries import phrase_of

_ERASED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """How far a purge has come: events found and deleted, and whether it has ended."""

    found: int
    deleted: int
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How far an erasure has come."""

    deleted: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Events of a recipient, and those of others in whose text the address occurs."""

    events: int
    mentions: int


class IndexLifecycle:
    """Works on one tenant's index at a time. Repeatable after any failure."""

    def __init__(self, indexes: PurgeableIndexes, *, live_calls: LiveCalls) -> None:
        self._indexes = indexes
        self._live_calls = live_calls

    async def create(self, tenant: TenantContext) -> None:
        """Makes the index with its alias, sized by the tenant's tier; one that is there stays as it is."""
        await self._indexes.create(tenant.index)

    async def purge(self, tenant: TenantContext) -> AsyncIterator[Purged]:
        """Takes the index away, after the tenant's calls under way have been ended.

        Raises:
            Unavailable: calls of the tenant do not end (`TENANT_BUSY`); repeatable.
        """
        await self._live_calls.ended(tenant)
        found = await self._indexes.count(tenant.index, filter=Filter())
        yield Purged(found=found, deleted=0)
        await self._indexes.drop(tenant.index)
        yield Purged(found=found, deleted=found, complete=True)

    async def survey(self, tenant: TenantContext) -> IndexSurvey:
        """What there is of the index."""
        return await self._indexes.survey(tenant.index)

    async def erase(self, tenant: TenantContext, subject: DataSubject) -> AsyncIterator[Erased]:
        """Deletes the recipient's events."""
        deleted = 0
        while erased := await self._indexes.erase(tenant.index, subject.key, limit=_ERASED_AT_ONCE):
            deleted += erased
            yield Erased(deleted=deleted)
        await self._indexes.scrub(tenant.index)
        yield Erased(deleted=deleted, complete=True)

    async def trace(self, tenant: TenantContext, subject: DataSubject) -> Traces:
        """Counts the recipient's events, and those of others that its words occur in one after the other."""
        own = Filter(recipient_key=subject.key)
        phrases = (phrase,) if (phrase := phrase_of(subject.key)) else ()
        events = await self._indexes.count(tenant.index, filter=own)
        if not phrases:
            return Traces(events=events, mentions=0)
        mentioning = await self._indexes.count(tenant.index, filter=Filter(phrases=phrases))
        both = await self._indexes.count(tenant.index, filter=replace(own, phrases=phrases))
        return Traces(events=events, mentions=mentioning - both)
