"""The content of an encrypted object on its way out: frames are opened as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeVar

from services.storage.frames import (
    FRAME_BYTES,
    SEALED_FRAME_BYTES,
    TAG_BYTES,
    FrameCipher,
    content_damaged,
    frames_in,
)
from services.storage.ports import CHUNK_BYTES, Content, Span, StoredObject

T = TypeVar("T")

_BATCH = CHUNK_BYTES // FRAME_BYTES
"""How many frames are opened at once: as many as a chunk has."""


_SMALL = 2 * FRAME_BYTES
"""What is encrypted on the event loop: the way to a thread and back takes as long."""


async def computed(work: Callable[[], T], *, size: int) -> T:
    """What work on so many bytes returns, done on a thread where they are many."""
    return work() if size <= _SMALL else await asyncio.to_thread(work)


def sealed_span(start: int, length: int, size: int) -> Span:
    """The range of the encrypted bytes that holds a range of content of a size: the frames that it touches."""
    first, end = _frames(start, length)
    beyond = size + frames_in(size) * TAG_BYTES
    at = first * SEALED_FRAME_BYTES
    return Span(offset=at, length=min(end * SEALED_FRAME_BYTES, beyond) - at)


class SealedContent:
    """See services.storage.ports.Content."""

    def __init__(
        self, stored: StoredObject, start: int, length: int, *, inner: Content, cipher: FrameCipher
    ) -> None:
        """Takes a range of an object's content.

        Args:
            stored: the object as callers know it.
            inner: the encrypted bytes from the range's first frame on; what follows the last one is passed over.
        """
        self.object = stored
        self.start = start
        self.length = length
        self._inner = inner
        self._cipher = cipher

    async def chunks(self) -> AsyncIterator[bytes]:
        """See Content.chunks.

        Raises:
            DataLoss: the content is not what was stored; what came before is.
        """
        at, _ = _frames(self.start, self.length)
        frames = frames_in(self.object.size)
        left = sealed_span(self.start, self.length, self.object.size).length
        skip, give = self.start - at * FRAME_BYTES, self.length
        buffer = bytearray()
        async for chunk in self._inner.chunks():
            buffer += chunk[:left]
            left -= min(left, len(chunk))
            while (count := _ready(len(buffer), ended=not left)) > 0:
                sealed = bytes(memoryview(buffer)[: count * SEALED_FRAME_BYTES])
                del buffer[: count * SEALED_FRAME_BYTES]
                opened = await computed(
                    partial(self._cipher.open, sealed, first=at, ends=at + count == frames),
                    size=len(sealed),
                )
                at += count
                piece = opened[skip : skip + give]
                skip = 0
                give -= len(piece)
                if piece:
                    yield piece
            if not left:
                break
        if left or buffer:
            raise content_damaged(f"{self.object.path}, end")

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._inner.__aexit__(kind, error, traceback)


def _frames(start: int, length: int) -> tuple[int, int]:
    """The number of the first frame of a range, and of the one after the last."""
    first = start // FRAME_BYTES
    return first, first + 1 if not length else (start + length - 1) // FRAME_BYTES + 1


def _ready(held: int, *, ended: bool) -> int:
    """How many frames can be opened now."""
    whole = -(-held // SEALED_FRAME_BYTES) if ended else held // SEALED_FRAME_BYTES
    return min(_BATCH, whole) if ended or whole >= _BATCH else 0
