"""Opens the search clusters of a deployment: OpenSearch in each region that has it, or the embedded engine."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boundary.context import current_context
from boundary.errors import Unavailable
from boundary.scope import SearchIndex
from boundary.server import closing
from services.engines.settings import Engines, SearchEngine
from services.search.opensearch import Access, OpenAccess, OpenSearchIndexes
from services.search.opensearch_cluster import Cluster, client_of
from services.search.opensearch_security import Impersonation, TenantRoles
from services.search.opensearch_template import Sizing
from services.search.ports import PurgeableIndexes
from services.search.retention import EventRetentions
from services.search.sqlite import SqliteIndexes


class KeptIndexes(PurgeableIndexes, EventRetentions, Protocol):
    """All that the service asks of an engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIndexes:
    """The indexes, and what a server does with them besides.

    Attributes:
        indexes: those of every region; OpenSearch's adapter finds the cluster by the handle.
        background: what runs beside the server.
        close: what is called last; blocks.
    """

    indexes: KeptIndexes
    background: tuple[Callable[[], Awaitable[None]], ...] = ()
    close: tuple[Callable[[], object], ...] = ()


def open_indexes(engines: Engines, *, folder: Path, open_limit: int) -> OpenIndexes:
    """The indexes, which connect and open on the first call.

    Args:
        folder: where the embedded engine's files are.
        open_limit: how many of them may be open at once.
    """
    clusters = {
        (name, cluster): engine
        for name, region in engines.regions.items()
        for cluster, engine in region.search.items()
    }
    if not clusters:
        embedded = SqliteIndexes(folder, open_limit=open_limit)
        return OpenIndexes(indexes=embedded, close=(embedded.close,))
    by_url = {engine.url: engine for engine in clusters.values()}

    def engine_of(index: SearchIndex) -> SearchEngine:
        engine = clusters.get((index.region, index.cluster))
        if engine is None:
            raise Unavailable("CLUSTER_UNKNOWN", "the tenant's search cluster is not served here")
        return engine

    indexes = OpenSearchIndexes(
        lambda index: engine_of(index).url,
        sizing=lambda index: _sizing(engine_of(index)),
        access=_AccessByCluster(engine_of),
        client=lambda url, limits: client_of(by_url[url], limits),
    )
    return OpenIndexes(indexes=indexes, background=(closing(indexes.aclose),))


class _AccessByCluster:
    """The access that the tenant's own cluster gives: by roles, or to everyone; an opensearch.Access."""

    def __init__(self, engine_of: Callable[[SearchIndex], SearchEngine]) -> None:
        self._engine_of = engine_of
        self._by_security: Mapping[str, Access] = {
            "none": OpenAccess(),
            "roles": TenantRoles(Impersonation()),
        }

    async def prepare(self, cluster: Cluster, index: SearchIndex) -> None:
        """See Access.prepare."""
        await self._of(index).prepare(cluster, index)

    async def headers(self, index: SearchIndex) -> Mapping[str, str]:
        """See Access.headers."""
        return await self._of(index).headers(index)

    async def forget(self, cluster: Cluster, index: SearchIndex) -> None:
        """See Access.forget."""
        await self._of(index).forget(cluster, index)

    async def count(self, cluster: Cluster, index: SearchIndex) -> int:
        """See Access.count."""
        return await self._of(index).count(cluster, index)

    def _of(self, index: SearchIndex) -> Access:
        return self._by_security[self._engine_of(index).security]


def _sizing(engine: SearchEngine) -> Sizing:
    """How large the index of the tenant that is being served is made: its tier decides."""
    context = current_context()
    shards = engine.shards.get(context.tier, 1) if context else 1
    return Sizing(shards=shards, replicas=engine.replicas)
