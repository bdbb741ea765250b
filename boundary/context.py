"""The tenant context: what the resolver mints and everyone else verifies.

It travels as a compact EdDSA JWT (RFC 8037) in exactly one `x-silo-context` metadata value. This module is
the only one that can build a TenantContext, and it builds one only from a token whose signature, issuer,
audience and times hold and whose partition, prefix and index are those of its tenant.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import jwt

from boundary import scope
from boundary.errors import Unauthenticated, tenant_read_only
from boundary.ids import PrincipalId, TenantId, TenantSlug, is_tenant_id, slug_of
from boundary.permissions import Permissions
from boundary.regions import require_allowed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

CONTEXT_KEY = "x-silo-context"
"""The metadata key that carries a context."""

CONTEXT_ISSUER = "silo-resolver"
"""The `iss` of every context."""

CONTEXT_LIFETIME = 60
"""Seconds that a context lives at the most."""

CLOCK_SKEW = 5
"""Seconds by which clocks of the platform may differ. It is granted to the start of a context, not its end."""

ACTIVE = "ACTIVE"
MOVING = "MOVING"
WORKING = (ACTIVE, MOVING)
"""The statuses in which a tenant's callers are served: in the second, they read."""

LIFECYCLE_PRINCIPAL = PrincipalId("service:resolver")
"""Who works on a tenant in the platform's name, whatever the tenant's status."""

READ = ".read"
"""What the permissions end in that change nothing."""

_CACHE_SIZE = 20_000
_SEAL = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a tenant's data lives: region, table, bucket and search cluster by name."""

    region: str
    table: str
    bucket: str
    search_cluster: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantContext:
    """A verified tenant context. Only ContextVerifier makes one.

    Attributes:
        tenant_id: the tenant.
        slug: its lower-cased id.
        name: the organisation's name.
        status: `ACTIVE` or `MOVING` for a caller's context; any for the platform's own work.
        tier: `BASIC`, `STANDARD` or `PREMIUM`.
        permissions: what the principal may do.
        principal: who calls.
        issuer: who vouched for the principal: the JWT's `iss`, or `silo` for a platform service.
        actor: the platform service that acts for the principal, or empty.
        placement: where the data lives.
        generation: the tenant's generation at minting.
        audience: the one service that may accept this context.
        issued_at: seconds since the epoch.
        expires_at: seconds since the epoch.
        key_id: the signing key.
        max_object_bytes: the tenant's largest object, or 0 for the service's own bound.
        counter_shards: over how many items each counter is spread; 0 as 1.
        partition: the tenant's partition of the table.
        objects: the tenant's part of the bucket.
        index: the tenant's search index.
        key: the tenant's key.
        key_version: the version of the data keys under which the tenant's data is written; 0 without encryption.
        key_destroyed: whether the tenant's key is destroyed, and what was encrypted under it gone for good.
        token: the context as it travelled, for asking the resolver to delegate it.
        lifecycle: whether this is the platform's own work on the tenant (onboarding, purge, moving): it holds
            `lifecycle.` permissions alone, which no caller's context can, and is valid in every status.
        allowed_regions: where the tenant's data may be; anywhere where empty.
    """

    seal: object
    tenant_id: TenantId
    slug: TenantSlug
    name: str
    status: str
    tier: str
    permissions: Permissions
    principal: PrincipalId
    issuer: str
    actor: str
    placement: Placement
    generation: int
    audience: str
    issued_at: int
    expires_at: int
    key_id: str
    max_object_bytes: int
    counter_shards: int
    partition: scope.Partition
    objects: scope.ObjectPrefix
    index: scope.SearchIndex
    key: scope.TenantKey
    token: str = field(repr=False)
    lifecycle: bool = False
    key_version: int = 0
    key_destroyed: bool = False
    allowed_regions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.seal is not _SEAL:
            raise TypeError("a TenantContext comes from ContextVerifier.verify")

    def require(self, permission: str) -> None:
        """Returns where the principal may do what the permission says, in the tenant's present status.

        Raises:
            PermissionDenied: the principal lacks the permission.
            Unavailable: the tenant's data is being moved, and the permission is not one to read.
        """
        self.permissions.require(permission)
        if self.status == MOVING and not self.lifecycle and not permission.endswith(READ):
            raise tenant_read_only()


class ContextKeys(Protocol):
    """Where the verifying keys come from."""

    async def find(self, key_id: str) -> Ed25519PublicKey | None:
        """The key of that id, or None where there is none.

        Raises:
            Unavailable: the keys cannot be had at present.
        """


class ContextVerifier:
    """Verifies contexts for one audience.

    A context that was verified is remembered until it expires, under the whole token: equal bytes have an
    equal signature. The memory is bounded and its entries never slide.
    """

    def __init__(self, *, audience: str, keys: ContextKeys) -> None:
        self._audience = audience
        self._keys = keys
        self._verified: OrderedDict[str, TenantContext] = OrderedDict()

    def verified(self, token: str) -> TenantContext | None:
        """The context in a token that was verified before and has not ended; else None."""
        known = self._verified.get(token)
        if known is None or time.time() < known.expires_at:
            return known
        del self._verified[token]
        return None

    async def verify(self, token: str) -> TenantContext:
        """The context in token.

        Raises:
            Unauthenticated: the token is not a context for this audience, or no longer.
            PermissionDenied: the tenant's data may not be in its region; it may be removed there.
            Unavailable: the verifying keys cannot be had at present.
        """
        known = self.verified(token)
        if known is not None:
            return known
        context = self._build(await self._claims(token), token)
        if not context.permissions.removal_alone:
            require_allowed(context.placement.region, context.allowed_regions)
        if len(self._verified) >= _CACHE_SIZE:
            self._verified.popitem(last=False)
        self._verified[token] = context
        return context

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise _refused("CONTEXT_INVALID") from error
        key = await self._keys.find(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise _refused("CONTEXT_INVALID")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key=key,
                algorithms=["EdDSA"],
                audience=self._audience,
                issuer=CONTEXT_ISSUER,
                options={
                    "require": ["exp", "iat", "aud", "iss", "sub"],
                    "strict_aud": True,
                    "verify_iat": False,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise _refused("CONTEXT_EXPIRED") from error
        except jwt.InvalidAudienceError as error:
            raise _refused("CONTEXT_AUDIENCE") from error
        except (jwt.PyJWTError, ValueError, TypeError) as error:
            raise _refused("CONTEXT_INVALID") from error
        claims["kid"] = key_id
        return claims

    def _build(self, claims: Mapping[str, Any], token: str) -> TenantContext:
        try:
            return _context_of(claims, token)
        except (KeyError, TypeError, ValueError) as error:
            raise _refused("CONTEXT_INVALID") from error


def _context_of(claims: Mapping[str, Any], token: str) -> TenantContext:
    """The context that verified claims describe.

    Raises:
        KeyError, TypeError, ValueError: the claims are incomplete or contradict each other.
    """
    tenant_id = TenantId(claims["tid"])
    slug = slug_of(tenant_id)
    places = claims["placement"]
    placement = Placement(
        region=places["region"],
        table=places["table"],
        bucket=places["bucket"],
        search_cluster=places["search_cluster"],
    )
    names = (claims["partition"], claims["object_prefix"], claims["search_index"])
    derived = (scope.partition_key(tenant_id), scope.object_prefix(slug), scope.index_name(slug))
    issued_at, expires_at = int(claims["iat"]), int(claims["exp"])
    if not is_tenant_id(tenant_id) or claims["slug"] != slug or names != derived:
        raise ValueError("the context's names are not its tenant's")
    if expires_at - issued_at > CONTEXT_LIFETIME or issued_at > time.time() + CLOCK_SKEW:
        raise ValueError("the context's times are out of bounds")
    permissions, status = Permissions(claims["permissions"]), str(claims["status"])
    lifecycle = permissions.lifecycle_alone and claims["sub"] == LIFECYCLE_PRINCIPAL
    if permissions.lifecycle and not lifecycle:
        raise ValueError("the context mixes the platform's own work with a caller's")
    if status not in WORKING and not lifecycle:
        raise ValueError("the context's tenant may not work")
    seal = scope._SEAL  # noqa: SLF001 - contexts are where tenant-scoped handles come from
    return TenantContext(
        seal=_SEAL,
        tenant_id=tenant_id,
        slug=slug,
        name=str(claims["name"]),
        status=status,
        tier=str(claims["tier"]),
        permissions=permissions,
        principal=PrincipalId(claims["sub"]),
        issuer=str(claims["auth_issuer"]),
        actor=str(claims["actor"]),
        placement=placement,
        generation=int(claims["gen"]),
        audience=str(claims["aud"]),
        issued_at=issued_at,
        expires_at=expires_at,
        key_id=str(claims["kid"]),
        max_object_bytes=int(claims["max_object_bytes"]),
        counter_shards=int(claims["counter_shards"]),
        partition=scope.Partition(
            seal=seal,
            tenant_id=tenant_id,
            region=placement.region,
            table=placement.table,
            key=derived[0],
        ),
        objects=scope.ObjectPrefix(
            seal=seal,
            tenant_id=tenant_id,
            region=placement.region,
            bucket=placement.bucket,
            prefix=derived[1],
        ),
        index=scope.SearchIndex(
            seal=seal,
            tenant_id=tenant_id,
            region=placement.region,
            cluster=placement.search_cluster,
            name=derived[2],
            alias=scope.index_alias(slug),
        ),
        key=scope.TenantKey(
            seal=seal,
            tenant_id=tenant_id,
            region=placement.region,
            name=scope.key_name(slug),
        ),
        token=token,
        lifecycle=lifecycle,
        key_version=int(claims.get("key_version", 0)),
        key_destroyed=bool(claims.get("key_destroyed", False)),
        allowed_regions=tuple(str(region) for region in claims.get("regions", ())),
    )


_current: ContextVar[TenantContext | None] = ContextVar("silo_tenant_context", default=None)


def current_context() -> TenantContext | None:
    """The verified context of the call that is being served, or None outside of one."""
    return _current.get()


def make_current(context: TenantContext | None) -> None:
    """Makes a context the current one for the rest of the task; every gRPC call has a task of its own."""
    _current.set(context)


class serving:  # noqa: N801 - reads as what it does: `with serving(context):`
    """Makes a context the current one within the block, where the task goes on to do other things."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: TenantContext) -> None:
        self._context = context

    def __enter__(self) -> None:
        self._token = _current.set(self._context)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def _refused(reason: str) -> Unauthenticated:
    return Unauthenticated(reason, "the tenant context is not valid here")
