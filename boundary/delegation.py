"""Contexts for a platform service's own work, from the resolver.

A service that works in another (data keeps template content in storage), or in itself without a caller
(recovery, presigned URLs), asks the resolver for a context. It proves itself with its peer token; what such a
context may do is decided by the resolver's delegation table.
"""

from __future__ import annotations

from typing import Protocol

from boundary.context import TenantContext
from boundary.ids import TenantId


class ContextSource(Protocol):
    """Where a service gets contexts for its own work. Both answers are cached until shortly before they end."""

    async def on_behalf_of(self, context: TenantContext, *, audience: str) -> str:
        """A context token for the same tenant and principal at another service.

        Raises:
            PermissionDenied: the tenant is no longer available, or the delegation is not allowed.
            Unavailable: the resolver does not answer.
        """

    async def for_tenant(self, tenant_id: TenantId, *, audience: str) -> str:
        """A context token for the service's own work in a tenant.

        Raises:
            PermissionDenied: the tenant is not available, or the delegation is not allowed.
            Unavailable: the resolver does not answer.
        """
