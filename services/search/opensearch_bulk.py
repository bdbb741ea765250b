"""Writing events in bulk: what each one came to, and backing off from an engine that has no room.

Events are created by their id and never replaced, so a write that is repeated changes nothing. Still, a request
whose outcome is not known is not repeated here: the repetition could no longer tell the events that are new.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from boundary.errors import ResourceExhausted
from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search import opensearch_errors
from services.search.opensearch_cluster import Cluster, pause
from services.search.opensearch_documents import source_of
from services.search.opensearch_errors import IndexMissing
from services.search.ports import Document

_CREATED = 201
_CONFLICT = 409
_MOST_BYTES = 5 * 1024 * 1024
"""A request has no more than this, unless one event alone has."""

_FEWEST = 20
"""How many events a request has at least, however little room the engine has."""

_SLICE = 200
"""How many events are encoded before other calls get their turn on the event loop."""

_PARAMETERS = {
    "require_alias": "true",
    "filter_path": "errors,items.*.status,items.*._index,items.*.error.type",
}


class Batch:
    """Documents to be written, and for each whether it is new as soon as that is known."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = documents
        self._new: list[bool | None] = [None] * len(documents)
        first: set[str] = set()
        for place, document in enumerate(documents):
            if document.event_id in first:
                self._new[place] = False
            first.add(document.event_id)
        self.pending = [place for place, new in enumerate(self._new) if new is None]
        self._lines: dict[int, bytes] = {}

    async def encode(self) -> None:
        """Makes the lines of the documents that have none yet."""
        for number, place in enumerate(self.pending, 1):
            if place not in self._lines:
                self._lines[place] = _line_of(self._documents[place])
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def next_places(self, most: int) -> list[int]:
        """The documents of the next request: at most so many, and no more bytes than one may have."""
        places: list[int] = []
        held = 0
        for place in self.pending[:most]:
            held += len(self._lines[place])
            if places and held > _MOST_BYTES:
                break
            places.append(place)
        return places

    def body(self, places: Sequence[int]) -> bytes:
        """The body of a request that writes these documents."""
        return b"".join([self._lines[place] for place in places])

    def settle(self, outcomes: Mapping[int, bool]) -> None:
        """Takes note of what documents came to."""
        for place, new in outcomes.items():
            self._new[place] = new
            del self._lines[place]
        self.pending = [place for place in self.pending if place not in outcomes]

    def outcome(self) -> list[bool]:
        """For each document whether it is new."""
        return [bool(new) for new in self._new]


async def write(
    cluster: Cluster, index: SearchIndex, batch: Batch, headers: Mapping[str, str]
) -> None:
    """Writes what is pending in the batch, in as many requests as the engine has room for.

    A request that is refused is halved and tried again after a pause, until the limit's patience ends.

    Raises:
        IndexMissing: the index is not there, or was dropped meanwhile; what is still pending was not written.
        Unavailable: the engine does not answer; what is pending may have been written.
        ResourceExhausted: it has no room.
    """
    await batch.encode()
    most = len(batch.pending)
    refusals = 0
    patient_until = time.monotonic() + cluster.limits.patience_seconds
    while batch.pending:
        places = batch.next_places(most)
        refused = await _write_once(cluster, index, batch, places, headers)
        if refused is None:
            continue
        if time.monotonic() >= patient_until or not cluster.budget.take():
            raise refused
        most = max(_FEWEST, len(places) // 2)
        await pause(refusals)
        refusals += 1


async def _write_once(
    cluster: Cluster,
    index: SearchIndex,
    batch: Batch,
    places: Sequence[int],
    headers: Mapping[str, str],
) -> ResourceExhausted | None:
    """Sends one request and settles what it did; the error where the engine had no room for all of it."""
    async with cluster.writing:
        try:
            answer = await cluster.change(
                "POST",
                f"/{index.alias}/_bulk",
                batch.body(places),
                headers={**headers, "content-type": "application/x-ndjson"},
                params=_PARAMETERS,
            )
        except ResourceExhausted as error:
            return error
    outcomes: dict[int, bool] = {}
    failures: list[Exception] = []
    for place, item in zip(places, answer["items"], strict=True):
        result = item["create"]
        if result["status"] in {_CREATED, _CONFLICT}:
            if result["_index"] != index.name:
                raise GuardViolation("an event in another index")
            outcomes[place] = result["status"] == _CREATED
        else:
            failures.append(_failure_of(result))
    batch.settle(outcomes)
    return _worst(failures)


def _failure_of(result: Mapping[str, Any]) -> Exception:
    return opensearch_errors.error_of(result["status"], frozenset({result["error"]["type"]}))


def _worst(failures: Sequence[Exception]) -> ResourceExhausted | None:
    """The refusal among the failures, if there is nothing worse.

    Raises:
        IndexMissing: the index is gone.
        SiloError: the engine failed in another way.
    """
    for failure in failures:
        if not isinstance(failure, ResourceExhausted | IndexMissing):
            raise failure
    for failure in failures:
        if isinstance(failure, IndexMissing):
            raise failure
    return next((each for each in failures if isinstance(each, ResourceExhausted)), None)


def _line_of(document: Document) -> bytes:
    """The two lines that create a document. They name no index: that stands in the URL alone."""
    action = orjson.dumps({"create": {"_id": document.event_id}})
    return b"".join((action, b"\n", orjson.dumps(source_of(document)), b"\n"))
