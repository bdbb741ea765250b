"""Reads a tenant's events out and writes them in, a line of JSON each: an Event in protobuf's JSON.

Events have one form: what is indexed is what was sent. A position is the time and the id of the last event, and
holds whatever snapshot the engine has meanwhile forgotten. Memory is a page of events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
from google.protobuf import json_format

from boundary.errors import InvalidArgument
from boundary.json_lines import Line, Packed, Sum, bad_line, cut, packed
from boundary.scope import SearchIndex
from services.search.documents import document_of, event_of
from services.search.ports import Document, Filter, Indexes, Position
from silo.search.v1 import event_pb2

_PAGE = 200
_BATCH = 500
"""How many events are written at once."""


@dataclass(slots=True, kw_only=True)
class Written:
    """How many lines were read, and how many events were new."""

    lines: int = 0
    events: int = 0


class EventTransport:
    """Carries the events of tenants."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def read(self, index: SearchIndex, *, position: bytes, max_bytes: int) -> AsyncIterator[Packed]:
        """The events behind a position, the oldest first, ties by id.

        Raises:
            InvalidArgument: the position is none.
        """
        return packed(self._lines(index, _place_in(position)), max_bytes=max_bytes)

    async def write(self, index: SearchIndex, chunks: AsyncIterator[bytes]) -> Written:
        """Takes the events of lines, checked like what callers send.

        Raises:
            InvalidArgument: a line is no event; the error names it. Those before it may be written.
        """
        written = Written()
        waiting: list[Document] = []
        async for number, line in cut(chunks):
            waiting.append(_document_in(index, number, line))
            written.lines = number
            if len(waiting) == _BATCH:
                written.events += sum(await self._indexes.bulk(index, waiting))
                waiting = []
        if waiting:
            written.events += sum(await self._indexes.bulk(index, waiting))
        return written

    async def summarize(self, index: SearchIndex) -> Sum:
        """The count and the digest of all events."""
        total = Sum()
        async for line in self._lines(index, None):
            total.add(line.text)
        return total

    async def _lines(
        self, index: SearchIndex, after: tuple[int, str] | None
    ) -> AsyncIterator[Line]:
        """The lines of the events behind a place.

        The engine is asked from the time of the place on, and what was read before of that one millisecond is
        passed over.
        """
        filter_ = Filter(start_ms=None if after is None else after[0])
        position: Position | None = None
        while True:
            page = await self._indexes.search(
                index, filter=filter_, limit=_PAGE, position=position, ascending=True
            )
            for document in page.documents:
                place = (document.timestamp_ms, document.event_id)
                if after is None or place > after:
                    yield Line(text=_text(document), position=json.dumps(place).encode())
            if not page.more:
                return
            last = page.documents[-1]
            position = Position(
                snapshot=page.snapshot, timestamp_ms=last.timestamp_ms, event_id=last.event_id
            )
            await asyncio.sleep(0)  # a page was turned into text; others get their turn


def _text(document: Document) -> bytes:
    event = event_of(document)
    shown = json_format.MessageToDict(event, preserving_proto_field_name=True)
    # With sorted keys, so that metadata in another order makes the same line.
    return orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)


def _document_in(index: SearchIndex, number: int, line: bytes) -> Document:
    try:
        event = json_format.ParseDict(orjson.loads(line), event_pb2.Event())
        return document_of(event, index.tenant_id)
    except InvalidArgument as error:
        raise bad_line(number, error.message) from error
    except (orjson.JSONDecodeError, json_format.ParseError, AttributeError, TypeError) as error:
        raise bad_line(number, "is no event") from error


def _place_in(position: bytes) -> tuple[int, str] | None:
    if not position:
        return None
    try:
        timestamp_ms, event_id = json.loads(position)
        return int(timestamp_ms), str(event_id)
    except (ValueError, TypeError) as error:
        raise InvalidArgument("position", "is not one of an earlier call") from error
