"""The content of an encrypted object on its way in: cut into frames and encrypted as it comes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Self

from boundary.errors import InvalidArgument
from services.storage.frames import FrameCipher, Sealing, SealLabel
from services.storage.ports import CHUNK_BYTES, Upload
from services.storage.sealed_content import computed

LABEL = "silo-encryption"
"""The metadata key that says that and how an object is encrypted."""


class SealedUpload:
    """One upload.

    Attributes:
        upload: what the engine is told of it.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        asked: Upload,
        *,
        label: SealLabel,
        cipher: FrameCipher,
        late: Callable[[float], Awaitable[None]],
    ) -> None:
        self.upload = replace(asked, sha256="", metadata={**asked.metadata, LABEL: str(label)})
        self._content = content
        self._expected = asked.sha256
        self._label = label
        self._cipher = cipher
        self._late = late
        self._sealing = Sealing(cipher)

    @classmethod
    async def begin(
        cls,
        content: AsyncIterator[bytes],
        asked: Upload,
        *,
        version: int,
        salt: bytes,
        cipher: FrameCipher,
        late: Callable[[float], Awaitable[None]],
    ) -> Self:
        """An upload whose digest is known where it is announced or the content is short.

        Args:
            asked: what the caller said of it.
            late: called with the seconds that it took, before its end; what that raises ends it.
        """
        begun, digest = await _begun(content, asked.sha256)
        label = SealLabel(
            version=version, salt=salt, digest=cipher.seal_digest(digest) if digest else b""
        )
        return cls(_chain(begun, content), asked, label=label, cipher=cipher, late=late)

    @property
    def size(self) -> int:
        """The bytes of content so far."""
        return self._sealing.size

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content so far, in lower-case hexadecimal."""
        return self._sealing.digest.hex()

    async def content(self) -> AsyncIterator[bytes]:
        """The encrypted content, with its digest behind it where the label has none.

        Raises:
            InvalidArgument: the content's digest is not the announced one.
        """
        began = time.monotonic()
        async for chunk in self._content:
            sealed = await computed(partial(self._sealing.take, chunk), size=len(chunk))
            if sealed:
                yield sealed
        if self._expected and self.sha256 != self._expected:
            raise InvalidArgument(
                "sha256", "is not the content's SHA-256", reason="CHECKSUM_MISMATCH"
            )
        await self._late(time.monotonic() - began)
        yield self._sealing.finish()
        if self._label.trailer:
            yield self._cipher.seal_digest(self._sealing.digest)


async def _begun(content: AsyncIterator[bytes], announced: str) -> tuple[list[bytes], bytes]:
    """The first chunks of content, and its digest where that is announced or the content ends with them."""
    if announced:
        return [], bytes.fromhex(announced)
    begun: list[bytes] = []
    size = 0
    async for chunk in content:
        begun.append(chunk)
        size += len(chunk)
        if size >= CHUNK_BYTES:
            return begun, b""
    whole = b"".join(begun)
    return [whole], await computed(lambda: hashlib.sha256(whole).digest(), size=size)


async def _chain(begun: list[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    while begun:
        yield begun.pop(0)
    async for chunk in rest:
        yield chunk
