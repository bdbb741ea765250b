"""The development issuer: an ES256 key of this machine's own that signs callers' JWTs.

Only processes with `SILO_ENVIRONMENT=development` accept what it signs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

ISSUER = "https://dev.silo.local"
"""The `iss`."""

AUDIENCE = "silo"
"""The `aud`."""

KEY_ID = "dev-1"
"""The `kid`."""

ALGORITHM = "ES256"
"""What it signs with."""

OPERATOR_PERMISSIONS = ("platform.*",)
"""What a platform operator holds; never together with a tenant."""


class IssuerMissing(Exception):
    """There is no development issuer under this home yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevIssuer:
    """Signs JWTs for development.

    Attributes:
        private_key: the private key, in PEM.
    """

    private_key: bytes = field(repr=False)

    @classmethod
    def load(cls, home: Path) -> DevIssuer:
        """The issuer under home.

        Raises:
            IssuerMissing: there is none, or its key cannot be read.
        """
        path = private_key_path(home)
        try:
            return cls(private_key=path.read_bytes())
        except OSError as error:
            raise IssuerMissing(f"{path} cannot be read: {error.strerror}") from error

    def sign(
        self,
        *,
        subject: str,
        permissions: Iterable[str],
        tenant_id: str = "",
        ttl: float = 3600,
        **claims: Any,
    ) -> str:
        """A JWT with the claims of the domain spec.

        Args:
            tenant_id: the tenant; empty for a platform operator.
            ttl: seconds until it expires.
            claims: further claims, or others than the usual ones.
        """
        body = claims_of(
            subject=subject, permissions=permissions, tenant_id=tenant_id, ttl=ttl, **claims
        )
        return jwt.encode(body, self.private_key, algorithm=ALGORITHM, headers={"kid": KEY_ID})

    def sign_operator(self, *, subject: str = "operator", ttl: float = 3600) -> str:
        """A JWT for a platform operator."""
        return self.sign(subject=subject, permissions=OPERATOR_PERMISSIONS, ttl=ttl)

    def public_key(self) -> bytes:
        """The public key, in PEM."""
        return (
            _loaded(self.private_key)
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        )


def claims_of(
    *,
    subject: str,
    permissions: Iterable[str],
    tenant_id: str = "",
    ttl: float = 3600,
    **claims: Any,
) -> dict[str, Any]:
    """The claims of a JWT, before anyone signs it."""
    now = int(time.time())
    body: dict[str, Any] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "iat": now,
        "exp": now + int(ttl),
        "custom:permissions": list(permissions),
    }
    if tenant_id:
        body["custom:tenantId"] = tenant_id
    return body | claims


def private_key_path(home: Path) -> Path:
    """Where the private key is."""
    return home / "dev-issuer" / "private.pem"


def ensure_dev_issuer(home: Path) -> DevIssuer:
    """The issuer under home, made first where there is none: private key and public key set.

    Raises:
        OSError: the files can be neither read nor made.
    """
    path = private_key_path(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        _write(path, _new_key(), mode=0o600)
    # The key set is derived anew each time, so that the two can never disagree.
    _write(path.parent / "jwks.json", _key_set(path.read_bytes()), mode=0o644)
    return DevIssuer.load(home)


def _new_key() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _key_set(private_key: bytes) -> bytes:
    """The public half as a JSON Web Key Set (RFC 7517)."""
    jwk = ECAlgorithm.to_jwk(_loaded(private_key).public_key(), as_dict=True)
    jwk.update(kid=KEY_ID, use="sig", alg=ALGORITHM)
    return json.dumps({"keys": [jwk]}, indent=2).encode() + b"\n"


def _loaded(private_key: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(private_key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the development issuer's key is not an elliptic-curve key")
    return key


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Writes a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)
