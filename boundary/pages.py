"""Sealed page tokens (AIP-158).

A token carries an engine's position, encrypted and authenticated (AES-256-GCM, NIST SP 800-38D) over tenant,
method, query and expiry. It opens only for the same tenant, at the same method, with the same query, until it
expires; anything else reads as one and the same INVALID_ARGUMENT.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import struct
import time

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import Message

from boundary.errors import InvalidArgument
from boundary.ids import TenantId

PAGE_TOKEN_LIFETIME = 24 * 3600
"""Seconds for which a page token opens."""

_NONCE_BYTES = 12
_EXPIRY = struct.Struct(">Q")


class PageSealer:
    """Seals and opens page tokens with one 32-byte key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, position: bytes, *, tenant_id: TenantId, method: str, query: bytes) -> str:
        """The token for a position in the answer to a query.

        Args:
            position: where the engine goes on.
            tenant_id: whose answer it is; empty for the operator's.
            method: the method's full name.
            query: the request's other fields, in a deterministic form.
        """
        nonce = os.urandom(_NONCE_BYTES)
        expiry = _EXPIRY.pack(int(time.time()) + PAGE_TOKEN_LIFETIME)
        sealed = self._cipher.encrypt(nonce, position, _bound(expiry, tenant_id, method, query))
        return base64.urlsafe_b64encode(nonce + expiry + sealed).rstrip(b"=").decode()

    def open(self, token: str, *, tenant_id: TenantId, method: str, query: bytes) -> bytes:
        """The position in token.

        Raises:
            InvalidArgument: the token was not sealed here for this tenant, method and query, or is expired.
        """
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            nonce, rest = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
            expiry, sealed = rest[: _EXPIRY.size], rest[_EXPIRY.size :]
            (expires_at,) = _EXPIRY.unpack(expiry)
            position = self._cipher.decrypt(nonce, sealed, _bound(expiry, tenant_id, method, query))
        except (binascii.Error, ValueError, struct.error, InvalidTag) as error:
            raise _refused() from error
        if time.time() >= expires_at:
            raise _refused()
        return position


def _bound(expiry: bytes, tenant_id: TenantId, method: str, query: bytes) -> bytes:
    parts = (expiry, tenant_id.encode(), method.encode(), hashlib.sha256(query).digest())
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _refused() -> InvalidArgument:
    return InvalidArgument(
        "page_token", "is not a token for this request", reason="INVALID_PAGE_TOKEN"
    )


def page_size(requested: int, *, default: int, maximum: int) -> int:
    """How many results a page holds (AIP-158): the default where unset, never more than the maximum.

    Raises:
        InvalidArgument: requested is negative.
    """
    if requested < 0:
        raise InvalidArgument("page_size", "must not be negative")
    return min(requested or default, maximum)


def query_of(request: Message) -> bytes:
    """A list request without its page fields, in a deterministic form: what a token is bound to."""
    query = type(request)()
    query.CopyFrom(request)
    query.ClearField("page_token")
    query.ClearField("page_size")
    return query.SerializeToString(deterministic=True)
