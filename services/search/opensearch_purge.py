"""What is left of an index on OpenSearch, and taking one recipient's events out of it.

What an index holds goes with it, its points in time too: the cluster frees the search contexts of an index that
is deleted. Events that are deleted one by one leave the segments when these are merged, and the translog with the
next flush; both are asked for here, and neither is promised: copies of a shard may keep deleted events for as long
as another copy might need them (docs.opensearch.org, "Delete by query" and "Force merge").
"""

from __future__ import annotations

from typing import Any

from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search import opensearch_errors
from services.search.opensearch_cluster import Cluster
from services.search.opensearch_errors import IndexMissing, ResourceMissing
from services.search.opensearch_queries import query_of
from services.search.ports import Filter, IndexSurvey


async def survey(cluster: Cluster, index: SearchIndex, *, events: int, roles: int) -> IndexSurvey:
    """What the cluster says of an index, with what the caller knows."""
    try:
        answer: Any = await cluster.read("GET", f"/{index.name}/_stats/search", headers={})
    except IndexMissing:
        indexes = cursors = 0
    else:
        total = answer["_all"]["total"].get("search", {})
        indexes, cursors = 1, int(total.get("point_in_time_current", 0))
    return IndexSurvey(
        indexes=indexes,
        aliases=await _aliases(cluster, index),
        events=events,
        cursors=cursors,
        roles=roles,
    )


async def erase(cluster: Cluster, index: SearchIndex, recipient_key: str, *, limit: int) -> int:
    """Deletes at most limit events of a recipient; how many.

    Raises:
        IndexMissing: the index is not there.
        Unavailable: the cluster does not answer, or not for every shard; some may be deleted.
    """
    answer: Any = await cluster.change(
        "POST",
        f"/{index.name}/_delete_by_query",
        {
            "query": query_of(Filter(recipient_key=recipient_key), index.tenant_id),
            "max_docs": limit,
        },
        headers={},
        params={"conflicts": "proceed", "refresh": "true"},
    )
    if answer.get("timed_out") or answer.get("failures"):
        raise opensearch_errors.unavailable()
    return int(answer["deleted"])


async def expunge(cluster: Cluster, index: SearchIndex) -> None:
    """Asks the cluster to let go of what was deleted from an index.

    Raises:
        IndexMissing: the index is not there.
    """
    await cluster.change("POST", f"/{index.name}/_flush", headers={})
    await cluster.change(
        "POST", f"/{index.name}/_forcemerge", headers={}, params={"only_expunge_deletes": "true"}
    )


async def _aliases(cluster: Cluster, index: SearchIndex) -> int:
    try:
        answer: Any = await cluster.read("GET", f"/_alias/{index.alias}", headers={})
    except (IndexMissing, ResourceMissing):
        return 0
    if set(answer) - {index.name}:
        raise GuardViolation("an alias over another index")
    return 1
