"""How long an index's events are kept, which stands in the index as a document of its own.

It is no event: it has no tenant, so no query of the adapter matches it, and its id holds a character that no
event's id may hold. It goes with the index. The mapping's `_meta` would not do: it is written without conditions.

Read and written with the service's own rights, as what an index is: a tenant's do not reach single documents.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search import opensearch_errors
from services.search.opensearch_cluster import Cluster, pause
from services.search.retention import Change

DOCUMENT_ID = "\u00a7retention"
_TRIES = 6
_NOT_STARTED = "no_shard_available_action_exception"
_PATH = f"_doc/{quote(DOCUMENT_ID)}"


async def read(cluster: Cluster, index: SearchIndex) -> int:
    """The days; 0 for good.

    Raises:
        IndexMissing: the index is not there.
    """
    return _days_in(await _found(cluster, index))


async def change(cluster: Cluster, index: SearchIndex, make: Change) -> int:
    """The days that make makes of the present ones, kept.

    Raises:
        IndexMissing: the index is not there.
        VersionConflict: somebody else changed them meanwhile.
    """
    found = await _found(cluster, index)
    days = make(_days_in(found))
    condition = (
        {"if_seq_no": str(found["_seq_no"]), "if_primary_term": str(found["_primary_term"])}
        if found["found"]
        else {"op_type": "create"}
    )
    answer: Any = await cluster.change(
        "PUT",
        f"/{index.alias}/{_PATH}",
        # Metadata is kept as it is and not indexed, and so there is room for it in every mapping.
        {"metadata": {"retentionDays": days}},
        headers={},
        params={**condition, "require_alias": "true"},
    )
    if answer["_index"] != index.name:
        raise GuardViolation("a retention in another index")
    return days


async def _found(cluster: Cluster, index: SearchIndex) -> Any:
    """What the engine says of the document, by id and so as it was last written."""
    for attempt in range(_TRIES):
        answer: Any = await cluster.read(
            "POST", f"/{index.name}/_mget", {"ids": [DOCUMENT_ID]}, headers={}
        )
        (found,) = answer["docs"]
        if "error" not in found:
            return found
        if (kind := found["error"]["type"]) != _NOT_STARTED:
            raise opensearch_errors.error_of(404, frozenset({kind}))
        await pause(attempt)  # the index was made by somebody else this moment
    raise opensearch_errors.unavailable()


def _days_in(found: Any) -> int:
    return int(found["_source"]["metadata"]["retentionDays"]) if found["found"] else 0
