"""Bodies of searches, built from typed values alone.

Nothing that a caller sends is ever a part of the query language: values stand where OpenSearch takes a value, and
no clause is used that could read another index (`terms` lookup, `more_like_this`, scripts).
"""

from __future__ import annotations

from typing import Any

from boundary.ids import TenantId
from services.search.opensearch_documents import words_of
from services.search.ports import Filter, Position


def query_of(filter_: Filter, tenant_id: TenantId) -> dict[str, Any]:
    """The query that matches what the filter means among the tenant's own events."""
    clauses: list[dict[str, Any]] = [{"term": {"tenantId": tenant_id}}]
    if filter_.event_types:
        names = [event_type.name for event_type in sorted(filter_.event_types)]
        clauses.append({"terms": {"eventType": names}})
    if filter_.campaign_ids:
        clauses.append({"terms": {"campaignId": sorted(filter_.campaign_ids)}})
    if filter_.recipient_key is not None:
        clauses.append({"term": {"recipientKey": filter_.recipient_key}})
    bounds: dict[str, int] = {}
    if filter_.start_ms is not None:
        bounds["gte"] = filter_.start_ms
    if filter_.end_ms is not None:
        bounds["lt"] = filter_.end_ms
    if bounds:
        clauses.append({"range": {"timestamp": bounds}})
    clauses += [{"match_phrase": {"words": words_of(phrase)}} for phrase in filter_.phrases]
    return {"bool": {"filter": clauses}}


def page_body(
    filter_: Filter,
    tenant_id: TenantId,
    *,
    size: int,
    ascending: bool,
    position: Position | None,
    snapshot: tuple[str, str] | None,
) -> dict[str, Any]:
    """The body of a page of a search, by time and then by id.

    Args:
        snapshot: a point in time's id and how long it is kept from now on; None for the index as it is.
    """
    order = "asc" if ascending else "desc"
    body: dict[str, Any] = {
        "query": query_of(filter_, tenant_id),
        "sort": [{"timestamp": {"order": order}}, {"eventId": {"order": order}}],
        "size": size,
        "track_total_hits": False,
    }
    if position is not None:
        body["search_after"] = [position.timestamp_ms, position.event_id]
    if snapshot is not None:
        pit_id, keep_alive = snapshot
        body["pit"] = {"id": pit_id, "keep_alive": keep_alive}
    return body


def count_body(filter_: Filter, tenant_id: TenantId) -> dict[str, Any]:
    """The body of an exact count."""
    return {"query": query_of(filter_, tenant_id), "size": 0, "track_total_hits": True}
