"""Finds records in the audit archive, newest first, in bounded work.

A page reads parts from the newest on. A record is given out once no part that was not read yet can hold a newer
one, so that the records of several writers come in the order of their times.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from boundary.errors import InvalidArgument, NotFound
from boundary.trail.records import parse
from services.storage.audit_archive import ArchivedPart, AuditArchive

Record = Mapping[str, object]

MAX_READ_BYTES = 16 * 1024 * 1024
"""How much a page reads; where that does not fill it, it is shorter and says where to go on."""

MAX_LISTS = 50
"""How many hours and days a page looks at."""

_AFTER_ALL = "~"


class Key(NamedTuple):
    """A record's place in the order of all: by time, and within a millisecond by writer and number."""

    time: str
    writer: str
    seq: int

    def position(self) -> bytes:
        """The key as a page's position."""
        return orjson.dumps(tuple(self))


def key_in(position: bytes) -> Key:
    """The key that a position stands for.

    Raises:
        InvalidArgument: it stands for none.
    """
    try:
        time, writer, seq = orjson.loads(position)
        return Key(str(time), str(writer), int(seq))
    except (ValueError, TypeError) as error:
        raise InvalidArgument("position", "is not a position") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which records are wanted. What is empty excludes nothing.

    Attributes:
        start: not before this time, RFC 3339.
        end: before this time.
        principal: exactly.
        method: in full, or the RPC's name alone.
        resource: exactly, or what it begins with where this ends in `*`.
        decision: `ALLOWED` or `REFUSED`.
    """

    start: str
    end: str
    principal: str = ""
    method: str = ""
    resource: str = ""
    decision: str = ""

    def takes(self, record: Record) -> bool:
        """Whether a record is one of them."""
        return (
            self.start <= str(record["time"]) < self.end
            and self.principal in ("", record.get("principal"))
            and self.decision in ("", record.get("decision"))
            and self._takes_method(str(record.get("method")))
            and self._takes_resource(record)
        )

    def _takes_method(self, method: str) -> bool:
        return self.method in ("", method, method.rpartition("/")[2])

    def _takes_resource(self, record: Record) -> bool:
        if not self.resource:
            return True
        several = record.get("resources")
        names = [str(record.get("resource")), *(several if isinstance(several, list) else ())]
        if self.resource.endswith("*"):
            return any(name.startswith(self.resource[:-1]) for name in names)
        return self.resource in names


class Page(NamedTuple):
    """A page of records, newest first, and from where to go on; None where there is nothing more."""

    records: Sequence[Record]
    position: bytes | None


async def find(
    archive: AuditArchive, chain: str, wanted: Wanted, *, limit: int, position: bytes
) -> Page:
    """A page of a tenant's records.

    Raises:
        InvalidArgument: the position is none.
    """
    below = Key(wanted.end, "", 0)
    if position:
        below = min(below, key_in(position))
    search = _Search(archive, chain, wanted, limit=limit, below=below)
    return await search.run()


class _Search:
    def __init__(
        self, archive: AuditArchive, chain: str, wanted: Wanted, *, limit: int, below: Key
    ) -> None:
        self._archive = archive
        self._chain = chain
        self._wanted = wanted
        self._limit = limit
        self._below = below
        self._found: list[tuple[Key, Record]] = []
        self._read = 0
        self._lists = 1

    async def run(self) -> Page:
        async for day, hour in self._hours():
            if self._lists >= MAX_LISTS:
                return self._stop(f"{day}T{hour}:59:60")
            self._lists += 1
            page = await self._search_hour(await self._archive.parts(self._chain, day, hour))
            if page is not None:
                return page
        return Page(self._sorted(self._found), None)

    async def _hours(self) -> AsyncIterator[tuple[str, str]]:
        """The hours that can hold what is wanted, from the last to the first."""
        first, last = self._wanted.start, self._below.time
        for day in reversed(await self._archive.days(self._chain)):
            if not first[:10] <= day <= last[:10]:
                continue
            self._lists += 1
            for hour in reversed(await self._archive.hours(self._chain, day)):
                if first[:13] <= f"{day}T{hour}" <= last[:13]:
                    yield day, hour

    async def _search_hour(self, parts: list[ArchivedPart]) -> Page | None:
        parts = [
            p for p in parts if p.started <= self._below.time and p.ended >= self._wanted.start
        ]
        parts.sort(key=lambda part: part.ended, reverse=True)
        for number, part in enumerate(parts):
            await self._read_part(part)
            rest = parts[number + 1 :]
            frontier = rest[0].ended if rest else part.started[:13]
            safe = [pair for pair in self._found if pair[0].time > frontier]
            if len(safe) >= self._limit:
                return self._full(safe)
            if self._read >= MAX_READ_BYTES and rest and frontier < self._below.time:
                return self._stop(frontier)
        return None

    async def _read_part(self, part: ArchivedPart) -> None:
        try:
            content = await self._archive.content(part)
        except NotFound:
            return  # its time was over meanwhile
        self._read += len(content)
        self._found += await asyncio.to_thread(_matches, content, self._wanted.takes, self._below)

    def _full(self, safe: list[tuple[Key, Record]]) -> Page:
        safe.sort(key=lambda pair: pair[0], reverse=True)
        kept = safe[: self._limit]
        return Page([record for _, record in kept], kept[-1][0].position())

    def _stop(self, frontier: str) -> Page:
        """What is certain so far, all of which is newer than the frontier."""
        safe = [pair for pair in self._found if pair[0].time > frontier]
        return Page(self._sorted(safe), Key(frontier, _AFTER_ALL, 0).position())

    @staticmethod
    def _sorted(found: list[tuple[Key, Record]]) -> list[Record]:
        return [record for _, record in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _matches(
    content: bytes, takes: Callable[[Record], bool], below: Key
) -> list[tuple[Key, Record]]:
    found = []
    for line in content.splitlines():
        if line.startswith(b'{"kind"'):
            continue
        record = parse(line)
        if takes(record):
            key = Key(str(record["time"]), str(record["writer"]), int(str(record["seq"])))
            if key < below:
                found.append((key, record))
    return found
