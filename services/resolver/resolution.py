"""Which tenant a caller belongs to, and what a platform service may do in one: contexts, minted for them."""

from __future__ import annotations

import time

from boundary.context import ContextVerifier
from boundary.errors import InvalidArgument, PermissionDenied, tenant_unavailable
from boundary.ids import PrincipalId, TenantId, is_tenant_id
from boundary.permissions import Permissions
from boundary.tokens import Caller
from services.resolver.directory import Directory, Tenant
from services.resolver.minting import ContextMinter, Minted, Subject

AUDIENCES = frozenset({"data", "storage", "search"})
"""The services that take contexts."""

DELEGATIONS: dict[tuple[str, str], Permissions] = {
    ("data", "storage"): Permissions(("objects.read", "objects.write")),
    ("data", "data"): Permissions(
        ("templates.read", "templates.write", "analytics.read", "analytics.write")
    ),
    ("storage", "storage"): Permissions(
        ("objects.read", "objects.write", "backups.read", "backups.write")
    ),
    ("search", "search"): Permissions(("events.read", "events.write")),
}
"""What a platform service (first) may do in another, or in itself without a caller (second)."""

MIN_DELEGATED_SECONDS = 10
"""A delegated context lives at least this long, so that work begun just before its caller's context ends can be
finished."""


class Resolution:
    """Mints contexts for callers and for platform services."""

    def __init__(
        self, *, directory: Directory, minter: ContextMinter, verifiers: dict[str, ContextVerifier]
    ) -> None:
        """Takes its parts; verifiers holds, for each audience, what verifies contexts for it."""
        self._directory = directory
        self._minter = minter
        self._verifiers = verifiers

    async def resolve(self, caller: Caller, audience: str) -> tuple[Tenant, Minted]:
        """The caller's tenant and a context for it.

        Raises:
            PermissionDenied: there is no such tenant, it is suspended, or the caller has none.
            InvalidArgument: the audience is not a service that takes contexts.
        """
        if audience not in AUDIENCES:
            raise InvalidArgument("audience", f"must be one of {', '.join(sorted(AUDIENCES))}")
        tenant = await self._active(caller.tenant_id)
        minted = self._minter.mint(
            subject_of(tenant),
            audience=audience,
            principal=caller.principal,
            issuer=caller.issuer,
            permissions=caller.permissions,
            not_after=caller.expires_at,
        )
        return tenant, minted

    async def delegate_call(self, peer: str, audience: str, context_token: str) -> Minted:
        """A context with which peer works at audience for the call that context_token stands for.

        Raises:
            PermissionDenied: the pair has no delegation, or the tenant may not work.
            Unauthenticated: context_token is not a context for peer.
        """
        permissions = _delegation(peer, audience)
        verifier = self._verifiers.get(peer)
        if verifier is None:
            raise tenant_unavailable()
        context = await verifier.verify(context_token)
        return self._minter.mint(
            subject_of(await self._active(context.tenant_id)),
            audience=audience,
            principal=context.principal,
            issuer=context.issuer,
            permissions=permissions,
            not_after=max(context.expires_at, time.time() + MIN_DELEGATED_SECONDS),
            actor=peer,
        )

    async def delegate_work(self, peer: str, audience: str, tenant_id: str) -> Minted:
        """A context with which peer works at audience for a tenant without a caller.

        Raises:
            PermissionDenied: the pair has no delegation, or the tenant may not work.
        """
        permissions = _delegation(peer, audience)
        return self._minter.mint(
            subject_of(await self._active(tenant_id)),
            audience=audience,
            principal=PrincipalId(f"service:{peer}"),
            issuer="silo",
            permissions=permissions,
            not_after=float("inf"),
            actor=peer,
        )

    async def _active(self, tenant_id: str) -> Tenant:
        tenant = None
        if is_tenant_id(tenant_id):
            tenant = await self._directory.find(TenantId(tenant_id))
        if tenant is None or not tenant.active:
            raise tenant_unavailable()
        return tenant


def subject_of(tenant: Tenant) -> Subject:
    """What contexts say of a tenant."""
    return Subject(
        tenant_id=tenant.tenant_id,
        name=tenant.display_name,
        status=tenant.status,
        tier=tenant.tier,
        placement=tenant.placement,
        generation=tenant.generation,
        max_object_bytes=tenant.max_object_bytes,
        counter_shards=tenant.counter_shards,
        key_version=tenant.key_version,
        key_destroyed=tenant.key_destroyed,
        allowed_regions=tenant.allowed_regions,
    )


def _delegation(peer: str, audience: str) -> Permissions:
    permissions = DELEGATIONS.get((peer, audience))
    if permissions is None:
        raise PermissionDenied("DELEGATION_DENIED", f"{peer} does no work of its own at {audience}")
    return permissions
