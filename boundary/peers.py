"""Peer tokens: how platform services prove themselves to the resolver.

Each service has a token of its own in a file, `{name}.{secret}`; the resolver has the folder of all of them. The
storage service, which archives what every process has recorded, has their SHA-256 digests: with them it knows a
token and has none. A token holds 256 random bits, so its digest gives nothing away.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from boundary.errors import Unauthenticated

PEERS = ("gateway", "resolver", "data", "storage", "search")
"""The platform services that call one another."""


class PeerVerifier:
    """Verifies peer tokens against the folder's files: tokens, or the digests of tokens."""

    def __init__(self, folder: Path) -> None:
        self._digests = {path.stem: path.read_text().strip() for path in folder.glob("*.digest")}
        for path in folder.glob("*.token"):
            self._digests[path.stem] = _digest(path.read_text().strip())

    def verify(self, token: str | None) -> str:
        """The name of the service whose token it is.

        Raises:
            Unauthenticated: it is nobody's.
        """
        name = (token or "").partition(".")[0]
        expected = self._digests.get(name, "")
        if not expected or not hmac.compare_digest(expected, _digest(token or "")):
            raise Unauthenticated("PEER_UNKNOWN", "the caller is not a platform service")
        return name


def read_peer_token(folder: Path, name: str) -> str:
    """A service's own token.

    Raises:
        OSError: the file cannot be read.
    """
    return (folder / f"{name}.token").read_text().strip()


def ensure_peer_tokens(folder: Path) -> None:
    """Makes the tokens that are not there yet, readable by their owner alone."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in PEERS:
        path = folder / f"{name}.token"
        if not path.exists():
            temporary = path.with_suffix(".tmp")
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(f"{name}.{secrets.token_urlsafe(32)}\n")
            temporary.rename(path)


def write_peer_digests(folder: Path, *, of: Path) -> None:
    """Writes the digests of the tokens in one folder into another; what is right stays as it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for token in of.glob("*.token"):
        path, digest = folder / f"{token.stem}.digest", _digest(token.read_text().strip()) + "\n"
        if not path.exists() or path.read_text() != digest:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(digest)
            temporary.rename(path)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
