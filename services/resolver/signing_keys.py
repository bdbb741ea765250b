"""The resolver's Ed25519 signing keys on disk, and their rotation.

Each key is a PEM file, named after its id and readable by its owner alone. The newest one signs. A key that has
been superseded goes on verifying until every context that it signed is over, and is then deleted.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from jwt.algorithms import OKPAlgorithm

from boundary.context import CLOCK_SKEW, CONTEXT_LIFETIME

_RETENTION = CONTEXT_LIFETIME + 2 * CLOCK_SKEW


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key, its id, and when it was made in seconds since the epoch."""

    key_id: str
    private: Ed25519PrivateKey
    created_at: float


class SigningKeys:
    """The keys in a folder; makes the first one where there is none."""

    def __init__(self, folder: Path, *, prefix: str = "ctx", for_good: bool = False) -> None:
        """Takes the folder.

        Args:
            prefix: what key ids begin with.
            for_good: whether what the keys sign never ends, so that none of them may go.
        """
        self._prefix = prefix
        self._for_good = for_good
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keys = sorted(
            (_load(path) for path in folder.glob("*.pem")), key=lambda key: key.created_at
        )
        if not self._keys:
            self.rotate()

    def current(self) -> SigningKey:
        """The key that signs."""
        return self._keys[-1]

    def public(self, key_id: str) -> Ed25519PublicKey | None:
        """The public key of that id, or None where there is none."""
        for key in self._keys:
            if key.key_id == key_id:
                return key.private.public_key()
        return None

    def rotate(self) -> SigningKey:
        """Makes a new key, which signs from now on, and deletes those whose contexts are over."""
        created_at = time.time()
        key = SigningKey(
            key_id=f"{self._prefix}-{int(created_at * 1000):x}-{secrets.token_hex(4)}",
            private=Ed25519PrivateKey.generate(),
            created_at=created_at,
        )
        _store(self._folder / f"{key.key_id}.pem", key.private)
        self._keys.append(key)
        self._drop_retired(created_at)
        return key

    def jwks(self) -> str:
        """The public keys as a JSON Web Key Set (RFC 7517, RFC 8037)."""
        keys = [
            {
                **OKPAlgorithm.to_jwk(key.private.public_key(), as_dict=True),
                "kid": key.key_id,
                "use": "sig",
                "alg": "EdDSA",
            }
            for key in self._keys
        ]
        return json.dumps({"keys": keys})

    def _drop_retired(self, now: float) -> None:
        """A key retires when its successor is made, and is kept for as long as its contexts live."""
        if self._for_good:
            return
        kept = []
        for key, successor in zip(self._keys, self._keys[1:], strict=False):
            if successor.created_at + _RETENTION > now:
                kept.append(key)
            else:
                (self._folder / f"{key.key_id}.pem").unlink(missing_ok=True)
        self._keys = [*kept, self._keys[-1]]


def _load(path: Path) -> SigningKey:
    private = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ValueError(f"{path} is not an Ed25519 key")
    return SigningKey(
        key_id=path.stem, private=private, created_at=int(path.stem.split("-")[1], 16) / 1000
    )


def _store(path: Path, private: Ed25519PrivateKey) -> None:
    """Writes the key under a temporary name first, so that a crash leaves no half of one."""
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
