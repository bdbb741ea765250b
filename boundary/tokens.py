"""Callers' JWTs: who may issue them, and what a verified one says.

The gateway verifies them at the edge and the resolver verifies them again: it does not take the gateway's word.
The claims are those of Amazon Cognito in the domain spec: `custom:tenantId` and `custom:permissions`, the latter
a list or a space-separated string. Signature, algorithm, issuer, audience and times follow RFC 7519 and RFC 8725
(allow-listed algorithms, keys bound to their issuer).
"""

from __future__ import annotations

import base64
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
import orjson

from boundary.errors import SiloError, Unauthenticated
from boundary.ids import PrincipalId, is_principal_id
from boundary.issuer_keys import LIFETIME, IssuerKeys
from boundary.permissions import Permissions

AUTHORIZATION_KEY = "authorization"
"""The metadata key that carries a caller's JWT, as `Bearer {token}`."""

OWN_PRINCIPALS = ("service:", "signed-url:")
"""What the names of the platform's own principals begin with: no issuer's subject may be taken for one."""

TENANT_CLAIM = "custom:tenantId"
PERMISSIONS_CLAIM = "custom:permissions"

ASYMMETRIC_ALGORITHMS = frozenset(
    {"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"}
)
"""What an issuer may be allowed to sign with. `none` and the HMAC family can never be."""

_MAX_TOKEN = 8192
_CACHE_SIZE = 10_000
_SKEW = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Somebody whose JWTs are accepted.

    Attributes:
        issuer: the `iss`, compared exactly.
        audiences: the accepted `aud`; for a Cognito access token, which has none, the accepted `client_id`.
        algorithms: what it may sign with.
        keys: its public keys.
    """

    issuer: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]
    keys: IssuerKeys

    def __post_init__(self) -> None:
        if not self.audiences or not self.algorithms:
            raise ValueError(f"issuer {self.issuer} needs audiences and algorithms")
        if not set(self.algorithms) <= ASYMMETRIC_ALGORITHMS:
            raise ValueError(f"issuer {self.issuer} allows an algorithm that is not asymmetric")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """What a verified JWT says.

    Attributes:
        principal: the `sub`.
        issuer: the `iss`.
        tenant_id: the tenant claim as it came, or empty for a platform operator.
        permissions: what the caller may do.
        expires_at: seconds since the epoch.
        token: the JWT itself.
    """

    principal: PrincipalId
    issuer: str
    tenant_id: str
    permissions: Permissions
    expires_at: int
    token: str = field(repr=False)


class TokenVerifier:
    """Verifies callers' JWTs against the configured issuers.

    A token that was verified is remembered until it expires or its issuer's keys would be read again, whichever
    is sooner; the memory is bounded and never slides.
    """

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._verified: OrderedDict[str, tuple[float, Caller]] = OrderedDict()

    def verified(self, authorization: str | None) -> Caller | None:
        """The caller of a value that was verified before and still holds; else None."""
        known = self._verified.get(authorization or "")
        if known is None:
            return None
        remembered_until, caller = known
        if time.time() < remembered_until:
            return caller
        del self._verified[authorization or ""]
        return None

    async def verify(self, authorization: str | None) -> Caller:
        """The caller that an `authorization` value proves.

        Raises:
            Unauthenticated: the value is missing, malformed, expired, or not from an accepted issuer, or its
                claims contradict each other.
            Unavailable: the issuer's keys cannot be had at present.
        """
        known = self.verified(authorization)
        if known is not None:
            return known
        token = _bearer(authorization)
        caller = _caller_of(await self._claims(token), token)
        if len(self._verified) >= _CACHE_SIZE:
            self._verified.popitem(last=False)
        self._verified[authorization or ""] = (
            min(caller.expires_at, time.time() + LIFETIME),
            caller,
        )
        return caller

    async def _claims(self, token: str) -> dict[str, Any]:
        header, issuer = self._unverified(token)
        algorithm = header.get("alg")
        if algorithm not in issuer.algorithms:
            raise _refused("TOKEN_ALGORITHM", "the token's algorithm is not accepted")
        key = await issuer.keys.find(str(header.get("kid", "")))
        if key is None:
            raise _refused("TOKEN_SIGNATURE", "the token's key is not known")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key.key,
                algorithms=[str(algorithm)],
                issuer=issuer.issuer,
                leeway=0,
                options={
                    "require": ["exp", "iss", "sub"],
                    "verify_aud": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise _refused("TOKEN_EXPIRED", "the token is expired") from error
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            raise _refused("TOKEN_SIGNATURE", "the token does not verify") from error
        _check_times(claims)
        _check_audience(claims, issuer)
        return claims

    def _unverified(self, token: str) -> tuple[Mapping[str, Any], Issuer]:
        """Header and issuer of a token that nothing is known of yet; they only choose what verifies it."""
        try:
            header, payload, _ = token.split(".")
            named, claims = _unverified_part(header), _unverified_part(payload)
        except ValueError as error:
            raise _refused("TOKEN_MALFORMED", "the token is not a JWT") from error
        issuer = self._issuers.get(str(claims.get("iss", "")))
        if issuer is None:
            raise _refused("TOKEN_ISSUER", "the token's issuer is not accepted")
        return named, issuer


def _unverified_part(part: str) -> Mapping[str, Any]:
    """A part of a token as JSON, read once and cheaply; PyJWT reads it again when it verifies.

    Raises:
        ValueError: it is not an object in base64url.
    """
    parsed = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(parsed, dict):
        raise ValueError("not a JSON object")
    return parsed


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise _refused("TOKEN_MISSING", "no token was sent")
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > _MAX_TOKEN:
        raise _refused("TOKEN_MALFORMED", "the authorization is not a bearer token")
    return token


def _check_times(claims: Mapping[str, Any]) -> None:
    """Neither nbf nor iat may not lie ahead by more than clocks differ (RFC 7519, 4.1.5)."""
    for name in ("nbf", "iat"):
        value = claims.get(name, 0)
        if not isinstance(value, int | float) or value > time.time() + _SKEW:
            raise _refused("TOKEN_NOT_YET_VALID", "the token is not valid yet")


def _check_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Cognito's access tokens name their client in `client_id` and have no `aud` (Cognito developer guide)."""
    if claims.get("token_use") == "access" and "aud" not in claims:
        audience = claims.get("client_id")
    else:
        audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(isinstance(name, str) and name in issuer.audiences for name in named):
        raise _refused("TOKEN_AUDIENCE", "the token is for another audience")


def _caller_of(claims: Mapping[str, Any], token: str) -> Caller:
    subject, tenant_id = claims["sub"], claims.get(TENANT_CLAIM, "")
    if not isinstance(subject, str) or not is_principal_id(subject):
        raise _refused("TOKEN_CLAIMS", "the token's subject is not accepted")
    if subject.startswith(OWN_PRINCIPALS):
        raise _refused("TOKEN_CLAIMS", "the token's subject is one of the platform's own")
    if not isinstance(tenant_id, str):
        raise _refused("TOKEN_CLAIMS", "the token's tenant is not a string")
    permissions = _permissions(claims.get(PERMISSIONS_CLAIM, ()))
    if permissions.platform and tenant_id:
        raise _refused("TOKEN_CLAIMS", "platform permissions cannot be held with a tenant")
    if permissions.lifecycle:
        raise _refused("TOKEN_CLAIMS", "lifecycle permissions are the platform's own")
    return Caller(
        principal=PrincipalId(subject),
        issuer=str(claims["iss"]),
        tenant_id=tenant_id,
        permissions=permissions,
        expires_at=int(claims["exp"]),
        token=token,
    )


def _permissions(claim: object) -> Permissions:
    grants = claim.split() if isinstance(claim, str) else claim
    if not isinstance(grants, list | tuple):
        raise _refused("TOKEN_CLAIMS", "the token's permissions are not a list or a string")
    try:
        return Permissions(grants)
    except (TypeError, ValueError) as error:
        raise _refused("TOKEN_CLAIMS", "the token's permissions are out of grammar") from error


def _refused(reason: str, message: str) -> SiloError:
    return Unauthenticated(reason, message)
