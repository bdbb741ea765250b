"""Points in time: the state of an index that the pages of one search share.

The engine holds one for a few minutes after each page, so a client that turns pages must not pause for longer. It
is closed a little after the last page, and not at once, because that page may be asked for again by a client that
lost the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from boundary.errors import InvalidArgument, SiloError
from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search.opensearch_cluster import Cluster
from services.search.opensearch_errors import IndexMissing, SnapshotMissing

KEEP_ALIVE = "5m"
_LINGER_SECONDS = 10.0
_MOST_LINGERING = 1_000
_BREAK = "|"


def packed(index: SearchIndex, pit_id: str) -> str:
    """The snapshot that a position carries: whose it is and the point in time."""
    return index.name + _BREAK + pit_id


def unpacked(index: SearchIndex, snapshot: str) -> str:
    """The point in time of a snapshot of this index.

    Raises:
        GuardViolation: it is another index's.
        InvalidArgument: it is no snapshot of this engine.
    """
    name, _, pit_id = snapshot.partition(_BREAK)
    if not pit_id:
        raise expired()
    if name != index.name:
        raise GuardViolation("a snapshot of another tenant's index")
    return pit_id


def expired() -> InvalidArgument:
    """The error for a snapshot that is no more."""
    return InvalidArgument(
        "page_token", "is no longer valid; search again", reason="INVALID_PAGE_TOKEN"
    )


async def opened(cluster: Cluster, index: SearchIndex, headers: Mapping[str, str]) -> str:
    """A new point in time of the index.

    Raises:
        IndexMissing: there is no such index.
    """
    answer: Mapping[str, Any] = await cluster.read(
        "POST",
        f"/{index.name}/_search/point_in_time",
        headers=headers,
        params={"keep_alive": KEEP_ALIVE, "allow_partial_pit_creation": "false"},
    )
    return str(answer["pit_id"])


class LateCloser:
    """Closes points in time a little later."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    def close_later(self, cluster: Cluster, pit_id: str, headers: Mapping[str, str]) -> None:
        """Closes the point in time after a while; where too many wait already, the engine forgets it itself."""
        if len(self._tasks) >= _MOST_LINGERING or self._ending.is_set():
            return
        task = asyncio.create_task(self._close(cluster, pit_id, headers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Closes all that wait, now."""
        self._ending.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close(self, cluster: Cluster, pit_id: str, headers: Mapping[str, str]) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), _LINGER_SECONDS)
        try:
            await cluster.change(
                "DELETE", "/_search/point_in_time", {"pit_id": [pit_id]}, headers=headers
            )
        except (SiloError, SnapshotMissing, IndexMissing):
            return  # the engine forgets it itself
