"""The search port on OpenSearch: an index and an alias for each tenant, one client for each cluster.

What keeps tenants apart: an index's name is in the URL and never in a body; every query asks for the tenant's own
events as well; the index itself says whose it is (ids that differ only in case share a name); and what comes back
must be from that index. Writes go through the alias, which a request cannot bring into being, so that a write that
races a drop never makes an index without an owner.

Acknowledged is durable (the translog is synced on every request, OpenSearch's default) and seen by every later
search, of any process, because a search refreshes the index first. It costs a search about a millisecond where
nothing is new, and spares every batch of a stream a refresh of its own, which would cost it a third of its speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import opensearchpy

from boundary.errors import Unavailable
from boundary.guard import GuardViolation
from boundary.ids import TenantId
from boundary.scope import SearchIndex
from services.search import (
    opensearch_aggregates,
    opensearch_bulk,
    opensearch_errors,
    opensearch_purge,
    opensearch_queries,
    opensearch_retention,
    opensearch_snapshots,
    opensearch_template,
)
from services.search.opensearch_cluster import Cluster, Limits, connect, pause
from services.search.opensearch_documents import document_of
from services.search.opensearch_errors import (
    IndexExists,
    IndexMissing,
    SnapshotMissing,
    VersionConflict,
)
from services.search.opensearch_refresh import SharedRefresh
from services.search.opensearch_template import Sizing
from services.search.ports import (
    Aggregation,
    AggregationResult,
    Document,
    Filter,
    HistogramResult,
    IndexSurvey,
    Page,
    Position,
    Rates,
    RatesResult,
    Terms,
    TermsResult,
    UniqueRecipients,
    UniqueRecipientsResult,
)
from services.search.retention import Change, oldest_ms

_OWNER_SECONDS = 60.0
_MOST_OWNERS = 20_000
_TURNS = 8
"""How often an index that is dropped under a call is made again, or an extent that grows is asked for again."""

_LIGHT_PAGE_BYTES = 128 * 1024
"""A page of more characters may be given out in parts, so its search needs a snapshot even if it is the last."""

_WHOLE = {"allow_partial_search_results": "false"}
"""An answer from some of the shards only is an error, and never a smaller truth."""


class Access(Protocol):
    """How the cluster knows tenants apart; see opensearch_security."""

    async def prepare(self, cluster: Cluster, index: SearchIndex) -> None:
        """Lets the tenant have its index. Called before the index is made and whenever that is asked for again."""

    async def headers(self, index: SearchIndex) -> Mapping[str, str]:
        """What a request under the tenant's own rights carries."""

    async def forget(self, cluster: Cluster, index: SearchIndex) -> None:
        """Takes the tenant's rights away. Called after the index was dropped; repeatable."""

    async def count(self, cluster: Cluster, index: SearchIndex) -> int:
        """How many things the cluster has of the tenant's rights."""


class OpenAccess:
    """A cluster that knows no tenants: requests carry the client's own credentials, or none."""

    async def prepare(self, cluster: Cluster, index: SearchIndex) -> None:
        """Does nothing."""

    async def headers(self, index: SearchIndex) -> Mapping[str, str]:
        """Nothing beyond the client's own."""
        return {}

    async def forget(self, cluster: Cluster, index: SearchIndex) -> None:
        """Does nothing."""

    async def count(self, cluster: Cluster, index: SearchIndex) -> int:
        """None: it knows no tenants."""
        return 0


class OpenSearchIndexes:
    """Tenants' indexes on the clusters that their placements name."""

    def __init__(
        self,
        locate: Callable[[SearchIndex], str],
        *,
        sizing: Callable[[SearchIndex], Sizing] = lambda _: Sizing(),
        limits: Limits | None = None,
        access: Access | None = None,
        client: Callable[[str, Limits], opensearchpy.AsyncOpenSearch] = connect,
    ) -> None:
        """Takes where clusters are; connects on the first call.

        Args:
            locate: the URL of the cluster that a handle's region and cluster name.
            sizing: how many shards and replicas a new index has.
            client: makes the client of a URL; for credentials and TLS.
        """
        self._locate = locate
        self._sizing = sizing
        self._limits = limits or Limits()
        self._access: Access = access or OpenAccess()
        self._client = client
        self._clusters: dict[str, Cluster] = {}
        self._owners: OrderedDict[tuple[str, str], tuple[TenantId, float]] = OrderedDict()
        self._refreshes: WeakValueDictionary[tuple[str, str], SharedRefresh] = WeakValueDictionary()
        self._late = opensearch_snapshots.LateCloser()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def client_count(self) -> int:
        """How many clients there are: one for each cluster, however many tenants."""
        return len(self._clusters)

    async def aclose(self) -> None:
        """Closes the points in time that are left and the connections."""
        await self._late.end()
        for cluster in self._clusters.values():
            await cluster.close()

    def close(self) -> None:
        """As aclose, from another thread than the event loop's. Blocks."""
        if self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self.aclose(), self._loop).result()

    async def create(self, index: SearchIndex) -> None:
        """See Indexes.create."""
        cluster = self._cluster(index)
        if await self._owned(cluster, index, fresh=True):
            await self._access.prepare(cluster, index)
        else:
            await self._create(cluster, index)

    async def drop(self, index: SearchIndex) -> None:
        """See Indexes.drop."""
        cluster = self._cluster(index)
        if await self._owned(cluster, index, fresh=True):
            with contextlib.suppress(IndexMissing):  # somebody else was first
                await cluster.change("DELETE", f"/{index.name}", headers={})
        self._forget_owner(index)
        await self._access.forget(cluster, index)

    async def survey(self, index: SearchIndex) -> IndexSurvey:
        """See PurgeableIndexes.survey. What it says of aliases and cursors is the cluster's own account."""
        cluster = self._cluster(index)
        there = await self._owned(cluster, index, fresh=True)
        return await opensearch_purge.survey(
            cluster,
            index,
            events=await self.count(index, filter=Filter()) if there else 0,
            roles=await self._access.count(cluster, index),
        )

    async def erase(self, index: SearchIndex, recipient_key: str, *, limit: int) -> int:
        """See PurgeableIndexes.erase."""
        return await self._erase(index, Filter(recipient_key=recipient_key), limit=limit)

    async def scrub(self, index: SearchIndex) -> None:
        """See PurgeableIndexes.scrub."""
        cluster = self._cluster(index)
        if await self._owned(cluster, index):
            with contextlib.suppress(IndexMissing):
                await opensearch_purge.expunge(cluster, index)

    async def read_retention(self, index: SearchIndex) -> int:
        """See EventRetentions.read_retention."""
        cluster = self._cluster(index)
        try:
            if not await self._owned(cluster, index):
                return 0
            return await opensearch_retention.read(cluster, index)
        except IndexMissing:
            self._forget_owner(index)
            return 0

    async def change_retention(self, index: SearchIndex, change: Change) -> int:
        """See EventRetentions.change_retention."""
        cluster = self._cluster(index)
        for _ in range(_TURNS):
            if not await self._owned(cluster, index):
                await self._create(cluster, index)
            try:
                return await opensearch_retention.change(cluster, index, change)
            except IndexMissing:
                self._forget_owner(index)
            except VersionConflict:
                await pause(0)  # somebody else's change came between
        raise _unsteady()

    async def expire(self, index: SearchIndex, *, now_ms: int, limit: int) -> int:
        """See EventRetentions.expire."""
        days = await self.read_retention(index)
        if not days:
            return 0
        too_old = Filter(end_ms=oldest_ms(days, now_ms=now_ms))
        return await self._erase(index, too_old, limit=limit)

    async def bulk(self, index: SearchIndex, documents: Sequence[Document]) -> Sequence[bool]:
        """See Indexes.bulk."""
        cluster = self._cluster(index)
        batch = opensearch_bulk.Batch(documents)
        for _ in range(_TURNS):
            if not await self._owned(cluster, index):
                await self._create(cluster, index)
            try:
                headers = await self._access.headers(index)
                await opensearch_bulk.write(cluster, index, batch, headers)
            except IndexMissing:
                self._forget_owner(index)
                continue
            return batch.outcome()
        raise _unsteady()

    async def search(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002 - the field's own name
        limit: int,
        position: Position | None = None,
        ascending: bool = False,
    ) -> Page:
        """See Indexes.search.

        A search whose first page is its only one needs no point in time; the others get one. A position is good
        for `opensearch_snapshots.KEEP_ALIVE` after its page.

        Raises:
            InvalidArgument: the position's snapshot is no more.
        """
        pit_id = None
        if position is not None:
            pit_id = opensearch_snapshots.unpacked(index, position.snapshot)
        cluster = self._cluster(index)

        async def page(pit_id: str | None) -> Page:
            return await self._page(
                cluster,
                index,
                filter_=filter,
                limit=limit,
                position=position,
                ascending=ascending,
                pit_id=pit_id,
            )

        try:
            if not await self._owned(cluster, index):
                raise IndexMissing  # as where it is dropped a moment later
            if pit_id is None:
                await self._refresh(cluster, index)
            found = await page(pit_id)
            if pit_id is None and (found.more or not _is_light(found)):
                headers = await self._access.headers(index)
                found = await page(await opensearch_snapshots.opened(cluster, index, headers))
        except IndexMissing:
            self._forget_owner(index)
            return Page(documents=(), more=False, snapshot="")
        except SnapshotMissing as error:
            raise opensearch_snapshots.expired() from error
        return found

    async def count(self, index: SearchIndex, *, filter: Filter) -> int:  # noqa: A002
        """See Indexes.count."""
        body = opensearch_queries.count_body(filter, index.tenant_id)
        answer = await self._add_up(index, body, refresh=True)
        return 0 if answer is None else int(answer["hits"]["total"]["value"])

    async def aggregate(
        self,
        index: SearchIndex,
        *,
        filter: Filter,  # noqa: A002
        aggregations: Sequence[Aggregation],
        max_buckets: int,
    ) -> Sequence[AggregationResult]:
        """See Indexes.aggregate; what is exact and how far, see opensearch_aggregates."""
        empty = [_empty(aggregation) for aggregation in aggregations]
        extent = None
        if opensearch_aggregates.needs_extent(aggregations):
            body = opensearch_aggregates.extent_body(filter, index.tenant_id)
            answer = await self._add_up(index, body, refresh=True)
            extent = answer and opensearch_aggregates.extent_of(answer)
            if extent is None:
                return empty
        for _ in range(_TURNS):
            plan = opensearch_aggregates.plan(aggregations, extent, max_buckets)
            body = plan.body(filter, index.tenant_id)
            answer = await self._add_up(index, body, refresh=extent is None)
            if answer is None:
                return empty
            seen = opensearch_aggregates.extent_of(answer)
            if extent in {None, seen} or seen is None:
                return plan.results(answer)
            if opensearch_aggregates.plan(aggregations, seen, max_buckets) == plan:
                return plan.results(answer)
            extent = seen  # events came in before or behind the ranges
        raise _unsteady()

    async def _erase(self, index: SearchIndex, filter_: Filter, *, limit: int) -> int:
        """Deletes at most limit of the events that match; how many."""
        cluster = self._cluster(index)
        try:
            if not await self._owned(cluster, index):
                return 0
            await self._refresh(cluster, index)
            return await opensearch_purge.erase(cluster, index, filter_, limit=limit)
        except IndexMissing:
            self._forget_owner(index)
            return 0

    async def _page(
        self,
        cluster: Cluster,
        index: SearchIndex,
        *,
        filter_: Filter,
        limit: int,
        position: Position | None,
        ascending: bool,
        pit_id: str | None,
    ) -> Page:
        """A page, in the point in time or, where there is none, in the index as it is."""
        snapshot = None if pit_id is None else (pit_id, opensearch_snapshots.KEEP_ALIVE)
        body = opensearch_queries.page_body(
            filter_,
            index.tenant_id,
            size=limit + 1,  # one more tells whether there is another page
            ascending=ascending,
            position=position,
            snapshot=snapshot,
        )
        headers = await self._access.headers(index)
        path = "/_search" if pit_id else f"/{index.name}/_search"
        answer = await cluster.read("POST", path, body, headers=headers, params=_WHOLE)
        _require_whole(answer)
        hits = answer["hits"]["hits"]
        if any(hit["_index"] != index.name for hit in hits):
            raise GuardViolation("an event from another index")
        page = Page(
            documents=[document_of(hit["_source"]) for hit in hits[:limit]],
            more=len(hits) > limit,
            snapshot="" if pit_id is None else opensearch_snapshots.packed(index, pit_id),
        )
        if pit_id is not None and not page.more and _is_light(page):
            self._late.close_later(cluster, pit_id, headers)
        return page

    async def _add_up(self, index: SearchIndex, body: Mapping[str, Any], *, refresh: bool) -> Any:
        """The answer to a search without hits, which the engine may have from its request cache.

        Args:
            refresh: whether what was acknowledged before this call is to be seen for sure.

        Returns:
            None where there is no index.
        """
        cluster = self._cluster(index)
        try:
            if not await self._owned(cluster, index):
                return None
            if refresh:
                await self._refresh(cluster, index)
            answer = await cluster.read(
                "POST",
                f"/{index.name}/_search",
                body,
                headers=await self._access.headers(index),
                params={
                    **_WHOLE,
                    "request_cache": "true",
                    "filter_path": opensearch_aggregates.UNREAD,
                },
            )
        except IndexMissing:
            self._forget_owner(index)
            return None
        _require_whole(answer)
        return answer

    async def _refresh(self, cluster: Cluster, index: SearchIndex) -> None:
        """Makes visible what was acknowledged before; shared by searches of one index that begin meanwhile."""
        place = _place_of(index)
        shared = self._refreshes.get(place)
        if shared is None:
            shared = self._refreshes[place] = SharedRefresh()
        headers = await self._access.headers(index)

        async def refresh() -> None:
            answer = await cluster.read("POST", f"/{index.name}/_refresh", headers=headers)
            _require_whole(answer)

        await shared.after_now(refresh)

    async def _create(self, cluster: Cluster, index: SearchIndex) -> None:
        """Makes the index, or finds that it is there and the tenant's."""
        if not cluster.has_template:
            await cluster.change(
                "PUT",
                f"/_index_template/{opensearch_template.TEMPLATE_NAME}",
                opensearch_template.template(),
                headers={},
            )
            cluster.has_template = True
        await self._access.prepare(cluster, index)
        body = opensearch_template.creation(index, self._sizing(index))
        try:
            await cluster.change("PUT", f"/{index.name}", body, headers={})
        except IndexExists:
            await self._owned(cluster, index, fresh=True)

    async def _owned(self, cluster: Cluster, index: SearchIndex, *, fresh: bool = False) -> bool:
        """Whether the index is there.

        Args:
            fresh: whether the engine is asked whatever was known a moment ago.

        Raises:
            GuardViolation: it is another tenant's.
        """
        owner = None if fresh else self._known_owner(index)
        if owner is None:
            owner = await _owner_of(cluster, index)
            if owner is None:
                self._forget_owner(index)
                return False
            self._remember_owner(index, owner)
        if owner != index.tenant_id:
            raise GuardViolation("a search index of another tenant")
        return True

    def _known_owner(self, index: SearchIndex) -> TenantId | None:
        known = self._owners.get(_place_of(index))
        return known[0] if known is not None and known[1] > time.monotonic() else None

    def _remember_owner(self, index: SearchIndex, owner: TenantId) -> None:
        self._owners[_place_of(index)] = owner, time.monotonic() + _OWNER_SECONDS
        self._owners.move_to_end(_place_of(index))
        if len(self._owners) > _MOST_OWNERS:
            self._owners.popitem(last=False)

    def _forget_owner(self, index: SearchIndex) -> None:
        self._owners.pop(_place_of(index), None)

    def _cluster(self, index: SearchIndex) -> Cluster:
        opensearch_template.require_names(index)
        url = self._locate(index)
        cluster = self._clusters.get(url)
        if cluster is None:
            self._loop = asyncio.get_running_loop()
            cluster = Cluster(self._client(url, self._limits), self._limits)
            self._clusters[url] = cluster
        return cluster


async def _owner_of(cluster: Cluster, index: SearchIndex) -> TenantId | None:
    """Whose the index is, as it says itself; None where it is not there.

    Asked with the service's own rights: a tenant's do not reach a neighbour's index, not even to learn that it is.
    """
    try:
        answer = await cluster.read("GET", f"/{index.name}/_mapping", headers={})
    except IndexMissing:
        return None
    return TenantId(answer[index.name]["mappings"].get("_meta", {}).get("tenantId", ""))


def _place_of(index: SearchIndex) -> tuple[str, str]:
    return f"{index.region}/{index.cluster}", index.name


def _require_whole(answer: Mapping[str, Any]) -> None:
    """Returns where every shard answered in full.

    Raises:
        Unavailable: one did not.
    """
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        raise opensearch_errors.unavailable()


def _is_light(page: Page) -> bool:
    held = sum(len(document.metadata) + len(document.subject) for document in page.documents)
    return held <= _LIGHT_PAGE_BYTES


def _empty(aggregation: Aggregation) -> AggregationResult:
    """What no events at all add up to."""
    match aggregation:
        case Terms():
            return TermsResult(terms=(), other_count=0)
        case UniqueRecipients():
            return UniqueRecipientsResult(count=0)
        case Rates():
            return RatesResult()
    return HistogramResult(buckets=())


def _unsteady() -> Unavailable:
    return Unavailable("ENGINE_BUSY", "the index changes over and over")
