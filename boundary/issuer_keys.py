"""An issuer's public keys: a JSON Web Key Set from a file or a URL, cached and rotated.

A set is kept for a fixed lifetime. A key id that it lacks makes it be read again, at most once in a while, so
that a rotated key is found at once and a flood of made-up key ids costs nothing. One read is under way at a time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from pathlib import Path
from typing import Protocol

import aiohttp
import jwt

from boundary.errors import Unavailable

_log = logging.getLogger(__name__)

LIFETIME = 300.0
"""Seconds for which a key set is taken as current."""

MAX_STALE = 3600.0
"""Seconds for which a key set goes on serving where its source cannot be reached."""

_RETRY = 5.0
_FETCH_SECONDS = 5.0
_MAX_BYTES = 256 * 1024
_CHUNK_BYTES = 16 * 1024


class IssuerKeys(Protocol):
    """An issuer's public keys."""

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id, or None where the issuer has none.

        Raises:
            Unavailable: the keys cannot be had at present.
        """


class JwksKeys:
    """The keys of a key set at a file's path or an http(s) URL."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id, or None where the issuer has none.

        Raises:
            Unavailable: the key set cannot be read and none is held that is recent enough.
        """
        age = time.monotonic() - self._read_at
        if key_id not in self._keys or age > LIFETIME:
            await self._refresh()
        if time.monotonic() - self._read_at > MAX_STALE:
            raise Unavailable("ISSUER_KEYS_UNAVAILABLE", "the issuer's keys cannot be read")
        return self._keys.get(key_id)

    async def _refresh(self) -> None:
        """Waits for the read that is under way, or for a new one where the last is long enough ago.

        The read is a task of its own: a caller that goes away does not take it from the others.
        """
        if self._reading is None or self._reading.done():
            if time.monotonic() - self._tried_at < _RETRY:
                return
            self._tried_at = time.monotonic()
            self._reading = asyncio.create_task(self._load())
        await asyncio.shield(self._reading)

    async def _load(self) -> None:
        try:
            self._keys = parse_jwks(await self._read())
            self._read_at = time.monotonic()
        except (OSError, ValueError, aiohttp.ClientError, TimeoutError) as error:
            _log.warning("key set %s cannot be read: %s", self._source, error)

    async def _read(self) -> str:
        if not self._source.startswith(("http://", "https://")):
            return await asyncio.to_thread(Path(self._source).read_text)
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(self._source, allow_redirects=False) as response,
        ):
            response.raise_for_status()
            body = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                body += chunk
                if len(body) > _MAX_BYTES:
                    raise ValueError("the key set is too large")
            return body.decode()


def parse_jwks(document: str) -> dict[str, jwt.PyJWK]:
    """The asymmetric signing keys of a key set by id; keys of other kinds are passed over.

    Raises:
        ValueError: the document is not a key set.
    """
    parsed = json.loads(document)
    if not isinstance(parsed, dict) or not isinstance(parsed.get("keys"), list):
        raise ValueError("not a JSON Web Key Set")
    keys = {}
    for entry in parsed["keys"]:
        usable = isinstance(entry, dict) and entry.get("kty") in ("EC", "RSA", "OKP")
        if not usable or entry.get("use", "sig") != "sig" or not entry.get("kid"):
            continue
        try:
            keys[str(entry["kid"])] = jwt.PyJWK(entry)
        except jwt.InvalidKeyError:
            _log.warning("a key of the key set is of a kind that is not supported")
    return keys
