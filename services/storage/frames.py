"""Encrypted content: frames of AES-256-GCM under a key that each object has for itself.

The object's key is derived from the tenant's data key and a random salt (HKDF, RFC 5869). Content is cut into
frames of FRAME_BYTES; a frame's nonce is its number and whether it is the last one, which never comes twice
under one key (the STREAM construction: Hoang, Reyhanitabar, Rogaway and Vizar, 2015). So a frame opens in its
own place of its own object alone: content that is cut short, reordered or put together from several objects
does not open, and a range needs the frames that it touches and no more. Where the digest of the content was not
known when its upload began, it stands behind the last frame.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from boundary.errors import DataLoss
from boundary.ids import TenantId
from services.keys.refusals import damaged

FRAME_BYTES = 64 * 1024
TAG_BYTES = 16
SEALED_FRAME_BYTES = FRAME_BYTES + TAG_BYTES

_DIGEST_BYTES = 32
TRAILER_BYTES = _DIGEST_BYTES + TAG_BYTES
"""The digest behind the last frame."""

_SALT_BYTES = 16
_LABEL = re.compile(r"1\.([1-9][0-9]{0,8})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{64}|-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealLabel:
    """What the metadata of an encrypted object says.

    Attributes:
        version: of the tenant's data key.
        salt: what the object's key is derived with.
        digest: the content's SHA-256, encrypted; empty where it stands behind the last frame.
    """

    version: int
    salt: bytes
    digest: bytes = b""

    def __str__(self) -> str:
        digest = base64.urlsafe_b64encode(self.digest).decode() or "-"
        return f"1.{self.version}.{self.salt.hex()}.{digest}"

    @property
    def trailer(self) -> int:
        """How many bytes stand behind the last frame."""
        return 0 if self.digest else TRAILER_BYTES

    def sealed_size(self, size: int) -> int:
        """How many bytes content of a size takes."""
        return size + frames_in(size) * TAG_BYTES + self.trailer

    def size(self, sealed: int, *, path: str) -> int:
        """The size of the content that takes so many bytes.

        Raises:
            DataLoss: no content does.
        """
        frames = -(-(sealed - self.trailer) // SEALED_FRAME_BYTES)
        size = sealed - self.trailer - frames * TAG_BYTES
        if size < 0 or self.sealed_size(size) != sealed:
            raise content_damaged(f"{path}, length")
        return size


def new_salt() -> bytes:
    """A salt that no other object has."""
    return secrets.token_bytes(_SALT_BYTES)


def parse_label(text: str, *, path: str) -> SealLabel:
    """The label in an object's metadata.

    Raises:
        DataLoss: it is none.
    """
    match = _LABEL.fullmatch(text)
    if match is None:
        raise content_damaged(f"{path}, label")
    version, salt, digest = match.groups()
    try:
        sealed = b"" if digest == "-" else base64.urlsafe_b64decode(digest)
    except binascii.Error as error:
        raise content_damaged(f"{path}, label") from error
    return SealLabel(version=int(version), salt=bytes.fromhex(salt), digest=sealed)


def frames_in(size: int) -> int:
    """How many frames content of a size has; empty content has one, which says that it is the last."""
    return max(1, -(-size // FRAME_BYTES))


class FrameCipher:
    """Seals and opens the frames of one object."""

    def __init__(
        self, data_key: bytes, salt: bytes, *, tenant_id: TenantId, version: int, path: str
    ) -> None:
        """Takes what the object's key is derived from, and the object's path, for errors alone."""
        info = f"silo objects 1\0{tenant_id}\0{version}".encode()
        key = HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(data_key)
        self._cipher = AESGCM(key)
        self._path = path

    def seal(self, content: bytes, *, first: int, ends: bool) -> bytes:
        """Whole frames of content, of which the last may be shorter where the content ends with it.

        Args:
            first: the number of the first frame.
            ends: whether the last of them is the content's last.
        """
        count, view = frames_in(len(content)), memoryview(content)
        return b"".join(
            self._cipher.encrypt(
                _nonce(first + index, last=ends and index == count - 1),
                view[index * FRAME_BYTES : (index + 1) * FRAME_BYTES],
                None,
            )
            for index in range(count)
        )

    def open(self, sealed: bytes, *, first: int, ends: bool) -> bytes:
        """What `seal` made of content.

        Raises:
            DataLoss: it is not what was sealed for this place.
        """
        count, view = max(1, -(-len(sealed) // SEALED_FRAME_BYTES)), memoryview(sealed)
        opened = []
        for index in range(count):
            nonce = _nonce(first + index, last=ends and index == count - 1)
            frame = view[index * SEALED_FRAME_BYTES : (index + 1) * SEALED_FRAME_BYTES]
            try:
                opened.append(self._cipher.decrypt(nonce, frame, None))
            except InvalidTag as error:
                raise content_damaged(f"{self._path}, frame {first + index}") from error
        return b"".join(opened)

    def seal_digest(self, digest: bytes) -> bytes:
        """The content's SHA-256, encrypted: in the clear it would tell who guesses the content right."""
        return self._cipher.encrypt(_DIGEST_NONCE, digest, None)

    def open_digest(self, sealed: bytes) -> bytes:
        """The content's SHA-256.

        Raises:
            DataLoss: it is not what was sealed.
        """
        try:
            return self._cipher.decrypt(_DIGEST_NONCE, sealed, None)
        except InvalidTag as error:
            raise content_damaged(f"{self._path}, digest") from error


class Sealing:
    """Seals content as it comes; its methods work on the content and may be called from any thread, in order."""

    def __init__(self, cipher: FrameCipher) -> None:
        self._cipher = cipher
        self._hash = hashlib.sha256()
        self._rest = bytearray()
        self._frames = 0
        self.size = 0

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the content so far."""
        return self._hash.digest()

    def take(self, content: bytes) -> bytes:
        """The frames that are whole with this content, of which none can be the last."""
        self._hash.update(content)
        self.size += len(content)
        self._rest += content
        count = (len(self._rest) - 1) // FRAME_BYTES
        if count <= 0:
            return b""
        ready = bytes(memoryview(self._rest)[: count * FRAME_BYTES])
        del self._rest[: count * FRAME_BYTES]
        sealed = self._cipher.seal(ready, first=self._frames, ends=False)
        self._frames += count
        return sealed

    def finish(self) -> bytes:
        """The last frame."""
        return self._cipher.seal(bytes(self._rest), first=self._frames, ends=True)


def content_damaged(place: str) -> DataLoss:
    """The error for encrypted content that is not as it was stored."""
    return damaged("CONTENT_DAMAGED", "the object's content is not what was stored", place)


def _nonce(index: int, *, last: bool) -> bytes:
    return bytes((1 if last else 0, 0, 0, 0)) + index.to_bytes(8, "big")


_DIGEST_NONCE = bytes((2, *([0] * 11)))
