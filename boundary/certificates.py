"""Certificates that the platform signs: what was done, in sections, checkable by anyone without the platform.

    {"version": 1, "type": "erasure", "sections": {name: {...}}, "digests": {name: SHA-256},
     "key_id": ..., "public_key": base64url, "signature": base64url}

The signature is over type, key id and the digests of the sections, so that a section which was changed is named
and not only missed. The public key comes along to check the file by itself; that it is the platform's is for
whoever checks to know, by its key id or its key set.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

VERSION = 1
_PURPOSE = b"silo-certificate-v1\n"
_FIELDS = {"version", "type", "sections", "digests", "key_id", "public_key", "signature"}

Sections = Mapping[str, Mapping[str, Any]]


class CertificateError(Exception):
    """A document is no certificate, or not as it was signed.

    Attributes:
        place: what is wrong, for example `sections.storage` or `signature`.
    """

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


def sign(sections: Sections, *, kind: str, key_id: str, key: Ed25519PrivateKey) -> str:
    """The certificate of some sections, as text."""
    digests = {name: _digest(section) for name, section in sections.items()}
    public = key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    signature = key.sign(_signed(kind, key_id, digests))
    return json.dumps(
        {
            "version": VERSION,
            "type": kind,
            "sections": sections,
            "digests": digests,
            "key_id": key_id,
            "public_key": _encoded(public),
            "signature": _encoded(signature),
        },
        indent=2,
        ensure_ascii=False,
    )


def verify(
    text: str, *, keys: Mapping[str, bytes] | None = None, kind: str = ""
) -> dict[str, dict[str, Any]]:
    """The sections of a certificate, each as it was signed.

    Args:
        keys: the platform's public keys by id, raw; where given, the certificate's must be one of them.
        kind: what type of certificate it must be; any where empty.

    Raises:
        CertificateError: it is not a certificate of the platform's, and where it is not.
    """
    document = _parsed(text)
    key_id, public = document["key_id"], _decoded(document["public_key"], "public_key")
    if keys is not None and keys.get(key_id) != public:
        raise CertificateError("public_key", f"is not the platform's key {key_id}")
    if kind and document["type"] != kind:
        raise CertificateError("type", f"is not {kind}")
    digests, sections = document["digests"], document["sections"]
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            _decoded(document["signature"], "signature"),
            _signed(document["type"], key_id, digests),
        )
    except (InvalidSignature, ValueError) as error:
        raise CertificateError(
            "signature", "is not the key's over these digests, type and key id"
        ) from error
    for name in sorted({*digests, *sections}):
        if name not in sections or name not in digests:
            raise CertificateError(f"sections.{name}", "is missing or was added")
        if _digest(sections[name]) != digests[name]:
            raise CertificateError(f"sections.{name}", "is not what was signed")
    return dict(sections)


def keys_in(jwks: str) -> dict[str, bytes]:
    """The raw public keys by id in a JSON Web Key Set (RFC 7517) of Ed25519 keys (RFC 8037).

    Raises:
        ValueError: it is none.
    """
    try:
        keys = json.loads(jwks)["keys"]
        return {key["kid"]: _raw(key) for key in keys}
    except (ValueError, KeyError, TypeError, RecursionError, CertificateError) as error:
        raise ValueError("this is no JSON Web Key Set of Ed25519 keys") from error


def _raw(key: Mapping[str, Any]) -> bytes:
    raw = _decoded(key["x"], "x")
    if (key["kty"], key["crv"], len(raw)) != ("OKP", "Ed25519", 32):
        raise ValueError("not an Ed25519 key")
    return raw


def _parsed(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CertificateError("document", "is not JSON") from error
    if not isinstance(document, dict) or set(document) != _FIELDS:
        raise CertificateError("document", "does not have a certificate's fields")
    try:
        _canonical(document)
    except (ValueError, RecursionError) as error:
        raise CertificateError("document", "holds what is no text") from error
    if document["version"] != VERSION or isinstance(document["version"], bool):
        raise CertificateError("version", "is not one that is known here")
    for name in ("type", "key_id", "public_key", "signature"):
        if not isinstance(document[name], str):
            raise CertificateError(name, "is not a string")
    for name in ("sections", "digests"):
        if not isinstance(document[name], dict):
            raise CertificateError(name, "is not an object")
    return document


def _signed(kind: str, key_id: str, digests: Mapping[str, str]) -> bytes:
    return _PURPOSE + _canonical({"type": kind, "key_id": key_id, "digests": digests})


def _digest(section: object) -> str:
    return hashlib.sha256(_canonical(section)).hexdigest()


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str, place: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CertificateError(place, "is not base64url") from error
