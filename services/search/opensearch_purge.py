"""What is left of an index on OpenSearch, and taking events out of it.

What an index holds goes with it, its points in time too: the cluster frees the search contexts of an index that
is deleted. Events that are deleted one by one leave the segments when these are merged, and the translog with the
next flush; both are asked for here, and neither is promised: copies of a shard may keep deleted events for as long
as another copy might need them (docs.opensearch.org, "Delete by query" and "Force merge").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search import opensearch_errors
from services.search.opensearch_cluster import Cluster
from services.search.opensearch_errors import IndexMissing, ResourceMissing
from services.search.opensearch_queries import query_of
from services.search.ports import Filter, IndexSurvey

_DELETED, _GONE = 200, 404


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


async def erase(cluster: Cluster, index: SearchIndex, filter_: Filter, *, limit: int) -> int:
    """Deletes at most limit of the events that match; how many.

    Raises:
        IndexMissing: the index is not there.
        Unavailable: the cluster does not answer, or not for every shard; some may be deleted.
    """
    found: Any = await cluster.read(
        "POST",
        f"/{index.name}/_search",
        {
            "query": query_of(filter_, index.tenant_id),
            "_source": False,
            "size": limit,
        },
        headers={},
    )
    if found.get("timed_out") or found["_shards"]["failed"]:
        raise opensearch_errors.unavailable()
    ids = [hit["_id"] for hit in found["hits"]["hits"]]
    return await _delete(cluster, index, ids) if ids else 0


async def _delete(cluster: Cluster, index: SearchIndex, ids: Sequence[str]) -> int:
    """Deletes events by id; how many were there.

    By id, not by query: that is a module of its own, which not every distribution of the engine has.
    """
    answer: Any = await cluster.change(
        "POST",
        f"/{index.name}/_bulk",
        b"".join(orjson.dumps({"delete": {"_id": each}}) + b"\n" for each in ids),
        headers={"content-type": "application/x-ndjson"},
        params={"refresh": "true"},
    )
    outcomes = [item["delete"] for item in answer["items"]]
    if any(outcome["_index"] != index.name for outcome in outcomes):
        raise GuardViolation("an event in another index")
    if any(outcome["status"] not in {_DELETED, _GONE} for outcome in outcomes):
        raise opensearch_errors.unavailable()
    return sum(outcome["status"] == _DELETED for outcome in outcomes)


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
