"""What went wrong in OpenSearch, as the port's callers are told.

The engine's own words go nowhere: the log names the status and the types of the errors.
"""

from __future__ import annotations

import logging
from typing import Any

import aiohttp
import opensearchpy

from boundary.errors import Internal, ResourceExhausted, Unavailable

_log = logging.getLogger(__name__)

_TOO_MANY_REQUESTS = 429
_FULL = "cluster_block_exception"
_OVERLOADED = frozenset(
    {
        "circuit_breaking_exception",
        "opensearch_rejected_execution_exception",
        "rejected_execution_exception",
        "too_many_buckets_exception",
    }
)


class IndexMissing(Exception):
    """There is no such index."""


class IndexExists(Exception):
    """The index that was to be made is there."""


class SnapshotMissing(Exception):
    """The point in time is no more, or never was."""


class VersionConflict(Exception):
    """The document that was to be written has changed meanwhile."""


class ResourceMissing(Internal):
    """Something else is not there than an index or a snapshot; a defect where nobody expects it."""


def translated(error: opensearchpy.OpenSearchException) -> Exception:
    """The error that stands for a client's error."""
    if not isinstance(error, opensearchpy.TransportError):
        _log.error("the search engine's answer cannot be read: %s", type(error).__name__)
        return unavailable()
    if isinstance(error, opensearchpy.ConnectionError):
        _log.warning("the search engine does not answer: %s", type(error.info).__name__)
        return unavailable()
    return error_of(_status(error), _types(error.info))


def error_of(status: int, types: frozenset[str]) -> Exception:
    """The error that stands for a status and the types of errors that came with it."""
    known = {
        "index_not_found_exception": IndexMissing,
        "search_context_missing_exception": SnapshotMissing,
        "resource_already_exists_exception": IndexExists,
        "version_conflict_engine_exception": VersionConflict,
    }
    for name, kind in known.items():
        if name in types:
            return kind()
    if status == _TOO_MANY_REQUESTS or types & _OVERLOADED:
        return full() if _FULL in types else overloaded()
    if status >= 500:
        _log.warning("the search engine failed: %s %s", status, sorted(types))
        return unavailable()
    if status == 404:
        _log.warning("the search engine does not know what it is asked for: %s", sorted(types))
        return ResourceMissing()
    if status in {401, 403}:
        _log.error("the search engine refuses this service: %s %s", status, sorted(types))
        return full() if _FULL in types else unavailable()
    _log.error("the search engine does not take a request: %s %s", status, sorted(types))
    return Internal()


def may_pass(error: opensearchpy.OpenSearchException) -> bool:
    """Whether the same request may succeed a moment later."""
    if isinstance(error, opensearchpy.ConnectionTimeout):
        return False  # the time that a call may take is used up
    if isinstance(error, opensearchpy.ConnectionError):
        return True
    return isinstance(error, opensearchpy.TransportError) and _status(error) in {429, 502, 503}


def was_not_sent(error: opensearchpy.OpenSearchException) -> bool:
    """Whether the request surely did not reach the engine."""
    return isinstance(error, opensearchpy.ConnectionError) and isinstance(
        error.info, aiohttp.ClientConnectorError
    )


def unavailable() -> Unavailable:
    """The engine does not answer."""
    return Unavailable("ENGINE_UNAVAILABLE", "the search engine does not answer")


def overloaded() -> ResourceExhausted:
    """The engine takes no more for now."""
    return ResourceExhausted("ENGINE_BUSY", "the search engine is overloaded", retry_after=1.0)


def full() -> ResourceExhausted:
    """The engine's disks are full."""
    return ResourceExhausted("STORAGE_FULL", "the engine has no space left", retry_after=30.0)


def _status(error: opensearchpy.TransportError) -> int:
    status = error.status_code
    return status if isinstance(status, int) else 0


def _types(info: Any) -> frozenset[str]:
    """Every type of error that an answer names, causes included."""
    found: set[str] = set()
    rest = [info]
    while rest:
        part = rest.pop()
        if isinstance(part, dict):
            name = part.get("type")
            if isinstance(name, str):
                found.add(name)
            rest += part.values()
        elif isinstance(part, list):
            rest += part
    return frozenset(found)
