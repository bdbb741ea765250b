"""Signed statements about a chain of the audit trail: where it stands, and what was removed of it.

A head says which record is a chain's last and what its hash is, so that a tail that is cut off is missed. An
expiry says that everything up to a record was removed when its time was over, so that this gap is not taken for a
loss.

A writer is named after its key: the name ends in the key's fingerprint, and every statement brings the key along.
Whoever has a writer's name from the platform can therefore check its statements without anything else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

Kind = Literal["head", "expiry"]

_PURPOSE = b"silo-audit-statement-v1\n"
_FINGERPRINT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A signed statement.

    Attributes:
        kind: `head`: the record is the chain's last at that time. `expiry`: all up to it was removed.
        writer: whose chain.
        chain: the tenant's id; empty for the records of no known tenant.
        seq: the record's number in the chain.
        hash: the record's SHA-256 in lower-case hexadecimal.
        time: when it was said, RFC 3339.
        signer: who says so: the writer itself, or the archive for what it removed.
        key: the signer's Ed25519 public key, base64url.
        sig: the signature over all of the above, base64url.
    """

    kind: Kind
    writer: str
    chain: str
    seq: int
    hash: str
    time: str
    signer: str
    key: str
    sig: str

    def line(self) -> bytes:
        """The statement as a line of JSON, with its newline."""
        return orjson.dumps({**self._said(), "sig": self.sig}) + b"\n"

    def holds(self) -> bool:
        """Whether the signature is the signer's, whose key is the one that its name names."""
        try:
            key = _decoded(self.key)
            if fingerprint_of(self.signer) != _fingerprint(key):
                return False
            Ed25519PublicKey.from_public_bytes(key).verify(
                _decoded(self.sig), _PURPOSE + orjson.dumps(self._said())
            )
        except (InvalidSignature, ValueError, binascii.Error):
            return False
        return True

    def _said(self) -> dict[str, str | int]:
        return {
            "kind": self.kind,
            "writer": self.writer,
            "chain": self.chain,
            "seq": self.seq,
            "hash": self.hash,
            "time": self.time,
            "signer": self.signer,
            "key": self.key,
        }


class Signer:
    """Signs statements.

    Attributes:
        name: who signs, `{service}-{fingerprint of the key}`.
    """

    def __init__(self, service: str, seed: bytes) -> None:
        """Takes the service of the suite, and the 32 bytes of the private key (RFC 8032)."""
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        self._key = _encoded(public)
        self.name = f"{service}-{_fingerprint(public)}"

    def sign(
        self, kind: Kind, *, chain: str, seq: int, digest: str, time: str, writer: str = ""
    ) -> Statement:
        """A statement about a chain of writer's, or of this signer's own where none is named."""
        unsigned = Statement(
            kind=kind,
            writer=writer or self.name,
            chain=chain,
            seq=seq,
            hash=digest,
            time=time,
            signer=self.name,
            key=self._key,
            sig="",
        )
        signature = self._private.sign(_PURPOSE + orjson.dumps(unsigned._said()))  # noqa: SLF001
        return Statement(
            **{name: getattr(unsigned, name) for name in Statement.__slots__ if name != "sig"},
            sig=_encoded(signature),
        )


def statement_of(parsed: Mapping[str, object]) -> Statement:
    """The statement in a parsed line.

    Raises:
        ValueError: it is none.
    """
    names = Statement.__slots__
    if set(parsed) != set(names) or parsed["kind"] not in ("head", "expiry"):
        raise ValueError("not a statement about an audit chain")
    if not isinstance(parsed["seq"], int) or isinstance(parsed["seq"], bool):
        raise ValueError("a statement's number is not a number")
    if any(not isinstance(parsed[name], str) for name in names if name != "seq"):
        raise ValueError("a field of a statement is not a string")
    return Statement(**cast("dict[str, str]", parsed))  # type: ignore[arg-type]  # checked above


def service_of(writer: str) -> str:
    """The service of the suite that a writer belongs to."""
    return writer.rpartition("-")[0]


def fingerprint_of(writer: str) -> str:
    """The fingerprint of the key that a writer's name names."""
    return writer.rpartition("-")[2]


def _fingerprint(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()[:_FINGERPRINT]


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
