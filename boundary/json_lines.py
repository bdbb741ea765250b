"""JSON lines on their way between services: packed into messages, cut out of a stream again, and added up.

What is read out travels as bytes of whole lines; whoever pipes them parses nothing, and whoever writes them in
cuts them at their ends. Memory is one message or one line, whichever is larger.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from boundary.errors import InvalidArgument

CHUNK_BYTES = 1024 * 1024
"""The most bytes in a message, but for a single line that is longer."""

MAX_LINE_BYTES = 3 * 1024 * 1024
"""The longest line: the largest item as JSON, with room for escapes; below what a message may have."""

_MODULUS = 2**256
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line without its end, and the position behind it."""

    text: bytes
    position: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Whole lines with their ends, how many, and the position behind them; empty where there is nothing more."""

    lines: bytes
    count: int
    position: bytes


async def packed(lines: AsyncIterator[Line], *, max_bytes: int = 0) -> AsyncIterator[Packed]:
    """The lines in messages of at most CHUNK_BYTES, or of one line.

    The last message has an empty position where the lines ended, which it may hold none of, and another one where
    max_bytes ended it.

    Args:
        lines: what is packed.
        max_bytes: after about how many bytes to stop; never where 0.
    """
    held: list[bytes] = []
    size = total = 0
    position = b""
    async for line in lines:
        length = len(line.text) + 1
        over = bool(max_bytes) and total >= max_bytes
        if held and (over or size + length > CHUNK_BYTES):
            yield _packed(held, position)
            held, size = [], 0
        if over:
            return
        held.append(line.text)
        size += length
        total += length
        position = line.position
    yield _packed(held, b"")


def _packed(held: list[bytes], position: bytes) -> Packed:
    return Packed(lines=b"".join(line + b"\n" for line in held), count=len(held), position=position)


async def cut(chunks: AsyncIterator[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """The lines in chunks that are cut anywhere, with their numbers from 1.

    Raises:
        InvalidArgument: a line is longer than MAX_LINE_BYTES, or the last one has no end.
    """
    number = 0
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            number += 1
            yield number, line
        if len(rest) > MAX_LINE_BYTES:
            raise bad_line(number + 1, "is too long")
    if rest:
        raise bad_line(number + 1, "has no end")


def bad_line(number: int, description: str) -> InvalidArgument:
    """The error for a line that is not what it should be; it names the line."""
    return InvalidArgument(f"lines[{number}]", description, reason="ARCHIVE_LINE_INVALID")


class Sum:
    """How many lines there were and the sum of their digests: the same in whatever order they came.

    Equal sums of lines that differ would take a collision of SHA-256 sums, which nobody looks for here: both sides
    are the platform's own.
    """

    def __init__(self) -> None:
        self.count = 0
        self._total = 0

    def add(self, line: bytes) -> None:
        """Adds a line."""
        self.count += 1
        self._total += int.from_bytes(hashlib.sha256(line).digest())

    @property
    def digest(self) -> bytes:
        """The sum modulo 2^256, big-endian."""
        return (self._total % _MODULUS).to_bytes(_DIGEST_BYTES)
