"""The key port behind the port guard."""

from __future__ import annotations

from boundary.guard import GuardViolation, require_context
from boundary.scope import TenantKey
from services.keys.ports import DataKey, DataKeys


class GuardedDataKeys:
    """Data keys whose every call is for the current tenant's key.

    Each method raises GuardViolation, before the keeper is asked, where that does not hold; else it is the inner
    port's.
    """

    def __init__(self, inner: DataKeys) -> None:
        self._inner = inner

    async def generate(self, key: TenantKey, *, purpose: str) -> DataKey:
        """See DataKeys.generate."""
        _require_key(key)
        return await self._inner.generate(key, purpose=purpose)

    async def wrap(self, key: TenantKey, plaintext: bytes, *, purpose: str) -> bytes:
        """See DataKeys.wrap."""
        _require_key(key)
        return await self._inner.wrap(key, plaintext, purpose=purpose)

    async def unwrap(self, key: TenantKey, wrapped: bytes, *, purpose: str) -> bytes:
        """See DataKeys.unwrap."""
        _require_key(key)
        return await self._inner.unwrap(key, wrapped, purpose=purpose)


def _require_key(key: TenantKey) -> None:
    if key != require_context().key:
        raise GuardViolation("a tenant's key of another context")
