"""Peer tokens: how platform services prove themselves to the resolver.

Each service has a token of its own in a file, `{name}.{secret}`; the resolver has the folder of all of them.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path

from boundary.errors import Unauthenticated

PEERS = ("gateway", "data", "storage", "search")
"""The platform services that call the resolver."""


class PeerVerifier:
    """Verifies peer tokens against the folder's files."""

    def __init__(self, folder: Path) -> None:
        self._tokens = {path.stem: path.read_text().strip() for path in folder.glob("*.token")}

    def verify(self, token: str | None) -> str:
        """The name of the service whose token it is.

        Raises:
            Unauthenticated: it is nobody's.
        """
        name = (token or "").partition(".")[0]
        expected = self._tokens.get(name, "")
        if not expected or not hmac.compare_digest(expected.encode(), (token or "").encode()):
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
