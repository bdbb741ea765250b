"""Mints tenant contexts. Signing lives here alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import jwt

from boundary import scope
from boundary.context import (
    CONTEXT_ISSUER,
    CONTEXT_LIFETIME,
    LIFECYCLE_PRINCIPAL,
    Placement,
)
from boundary.ids import PrincipalId, TenantId, slug_of
from boundary.permissions import Permissions
from boundary.regions import require_allowed
from services.resolver.signing_keys import SigningKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The tenant facts that a context carries."""

    tenant_id: TenantId
    name: str
    status: str
    tier: str
    placement: Placement
    generation: int
    max_object_bytes: int
    counter_shards: int = 0
    key_version: int = 0
    key_destroyed: bool = False
    allowed_regions: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """A context and when it ends, in seconds since the epoch."""

    token: str
    expires_at: int


class ContextMinter:
    """Signs contexts with the current signing key."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    def mint(
        self,
        subject: Subject,
        *,
        audience: str,
        principal: PrincipalId,
        issuer: str,
        permissions: Permissions,
        not_after: float,
        actor: str = "",
    ) -> Minted:
        """A context for one audience that ends after CONTEXT_LIFETIME, or at not_after if that is sooner.

        Args:
            issuer: who vouched for the principal.
            not_after: seconds since the epoch, the end of what the caller proved itself with.
            actor: the platform service that acts for the principal, or empty.

        Raises:
            PermissionDenied: the tenant's data may not be where it is placed (`REGION_NOT_ALLOWED`).
        """
        if not permissions.removal_alone:  # what may not be there may be removed
            require_allowed(subject.placement.region, subject.allowed_regions)
        issued_at = int(time.time())
        expires_at = int(min(issued_at + CONTEXT_LIFETIME, not_after))
        slug = slug_of(subject.tenant_id)
        key = self._keys.current()
        claims = {
            "iss": CONTEXT_ISSUER,
            "aud": audience,
            "sub": principal,
            "iat": issued_at,
            "exp": expires_at,
            "tid": subject.tenant_id,
            "slug": slug,
            "name": subject.name,
            "status": subject.status,
            "tier": subject.tier,
            "permissions": permissions.grants,
            "auth_issuer": issuer,
            "actor": actor,
            "placement": {
                "region": subject.placement.region,
                "table": subject.placement.table,
                "bucket": subject.placement.bucket,
                "search_cluster": subject.placement.search_cluster,
            },
            "partition": scope.partition_key(subject.tenant_id),
            "object_prefix": scope.object_prefix(slug),
            "search_index": scope.index_name(slug),
            "gen": subject.generation,
            "max_object_bytes": subject.max_object_bytes,
            "counter_shards": subject.counter_shards,
        }
        if subject.key_version:  # left out where it is not: most contexts are sent with every call
            claims["key_version"] = subject.key_version
            claims["key_destroyed"] = subject.key_destroyed
        if subject.allowed_regions:
            claims["regions"] = list(subject.allowed_regions)
        token = jwt.encode(claims, key.private, algorithm="EdDSA", headers={"kid": key.key_id})
        return Minted(token=token, expires_at=expires_at)

    def mint_lifecycle(
        self, subject: Subject, *, audience: str, permissions: Permissions
    ) -> Minted:
        """A context for the resolver's own work on a tenant, whatever the tenant's status.

        The subject's placement may be another than the tenant's present one, as when its data is moved.

        Raises:
            ValueError: a permission is not a `lifecycle.` one.
        """
        if not permissions.lifecycle_alone:
            raise ValueError("the platform's own work holds lifecycle permissions alone")
        return self.mint(
            subject,
            audience=audience,
            principal=LIFECYCLE_PRINCIPAL,
            issuer="silo",
            permissions=permissions,
            not_after=float("inf"),
            actor="resolver",
        )
