"""Parts of a chain, as the archive keeps them: records of one hour as JSON lines, then the last one's signed head.

Parts are cut from closed segments. The same segment always gives the same parts, byte for byte, so that sending
them again changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boundary.trail.folder import lines_of
from boundary.trail.records import Link, digest_of, link_of, parse
from boundary.trail.statements import Signer, Statement, statement_of

MAX_BYTES = 1024 * 1024
"""How many bytes a part has at the most, give or take a record."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_HOUR = len("2024-01-15T09")


class BrokenPart(ValueError):
    """A part is not in the form, or does not chain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a chain.

    Attributes:
        writer: whose chain.
        chain: the tenant's id; empty for the records of no known tenant.
        first: the number of the first record.
        last: the number of the last.
        prev: the hash of the record before the first.
        head: the signed head of the last.
        started: the earliest time of a record.
        ended: the latest.
    """

    writer: str
    chain: str
    first: int
    last: int
    prev: str
    head: Statement
    started: str
    ended: str

    @property
    def name(self) -> str:
        """What it is called below its tenant's folder: day, hour, times within the hour, writer, numbers."""
        day, hour = self.started[:10], self.started[11:13]
        times = f"{_within_hour(self.started)}-{_within_hour(self.ended)}"
        return f"{day}/{hour}/{times}-{self.writer}-{self.first:016d}-{self.last:016d}.jsonl"


def cut(segment: Path, signer: Signer) -> Iterator[tuple[str, bytes]]:
    """The parts of a closed segment with their chains, those of each chain in order.

    Raises:
        ValueError: a line is not a record; the trail was tampered with.
        OSError: the segment cannot be read.
    """
    gathered: dict[str, _Gathered] = {}
    for line in lines_of(segment):
        parsed = parse(line)
        link, time = link_of(parsed), str(parsed["time"])
        own = gathered.get(link.chain)
        if own is not None and (own.hour != time[:_HOUR] or own.size + len(line) > MAX_BYTES):
            yield link.chain, own.part(signer)
            own = None
        if own is None:
            own = gathered[link.chain] = _Gathered(time[:_HOUR])
        own.add(line, link, time)
    for chain, own in gathered.items():
        yield chain, own.part(signer)


class _Gathered:
    """Lines that become a part."""

    def __init__(self, hour: str) -> None:
        self.hour = hour
        self.size = 0
        self._lines: list[bytes] = []
        self._last: Link | None = None
        self._time = ""

    def add(self, line: bytes, link: Link, time: str) -> None:
        self._lines.append(line)
        self.size += len(line)
        self._last, self._time = link, time

    def part(self, signer: Signer) -> bytes:
        if self._last is None:
            raise ValueError("a part of no records")
        head = signer.sign(
            "head",
            chain=self._last.chain,
            seq=self._last.seq,
            digest=digest_of(self._lines[-1].rstrip(b"\n")),
            time=self._time,  # and not this moment, so that the part is the same each time
        )
        return b"".join((*self._lines, head.line()))


def read_part(content: bytes) -> Part:
    """The part in content, once everything that can be seen in it alone is right.

    Raises:
        BrokenPart: something is not.
    """
    *lines, last_line = content.removesuffix(b"\n").split(b"\n")
    if not lines or not content.endswith(b"\n"):
        raise BrokenPart("a part is records and their head, a line each")
    head = _head_in(last_line)
    first: Link | None = None
    link: Link | None = None
    digest, times = "", []
    for line in lines:
        try:
            parsed = parse(line)
            here = link_of(parsed)
        except ValueError as error:
            raise BrokenPart("a line is not an audit record") from error
        time = str(parsed["time"])
        if (here.writer, here.chain) != (head.writer, head.chain):
            raise BrokenPart(f"record {here.seq} is of another chain than the head")
        if here.chain and parsed.get("tenant") != here.chain:
            raise BrokenPart(f"record {here.seq} is of another tenant than its chain")
        if _TIME.fullmatch(time) is None:
            raise BrokenPart(f"record {here.seq} has no time")
        if link is not None and (here.seq, here.prev) != (link.seq + 1, digest):
            raise BrokenPart(f"record {here.seq} does not go on from the one before it")
        first = first or here
        link, digest = here, digest_of(line)
        times.append(time)
    if first is None or link is None or (head.seq, head.hash) != (link.seq, digest):
        raise BrokenPart("the head is not that of the last record")
    if len({time[:_HOUR] for time in times}) != 1:
        raise BrokenPart("the records are of several hours")
    return Part(
        writer=head.writer,
        chain=head.chain,
        first=first.seq,
        last=link.seq,
        prev=first.prev,
        head=head,
        started=min(times),
        ended=max(times),
    )


def _head_in(line: bytes) -> Statement:
    try:
        head = statement_of(parse(line))
    except ValueError as error:
        raise BrokenPart("the last line is not a head") from error
    if head.kind != "head" or head.signer != head.writer or not head.holds():
        raise BrokenPart("the head is not signed by the records' writer")
    return head


def _within_hour(time: str) -> str:
    return time[14:16] + time[17:19] + time[20:23]
