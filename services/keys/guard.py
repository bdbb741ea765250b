"""The key port behind the port guard."""

from __future__ import annotations

from boundary.guard import GuardViolation, require_context
from boundary.regions import ByRegion, engine_by_region
from boundary.scope import TenantKey
from services.keys.ports import DataKey, DataKeys


class GuardedDataKeys:
    """Data keys whose every call is for the current tenant's key.

    Each method raises GuardViolation, before the keeper is asked, where that does not hold; else it is the inner
    port's.
    """

    def __init__(self, inner: DataKeys | ByRegion[DataKeys]) -> None:
        """Takes the keeper to guard: one, or one for each region."""
        self._keeper = engine_by_region(inner)

    async def generate(self, key: TenantKey, *, purpose: str) -> DataKey:
        """See DataKeys.generate."""
        _require_key(key)
        return await self._keeper(key.region).generate(key, purpose=purpose)

    async def wrap(self, key: TenantKey, plaintext: bytes, *, purpose: str) -> bytes:
        """See DataKeys.wrap."""
        _require_key(key)
        return await self._keeper(key.region).wrap(key, plaintext, purpose=purpose)

    async def unwrap(self, key: TenantKey, wrapped: bytes, *, purpose: str) -> bytes:
        """See DataKeys.unwrap."""
        _require_key(key)
        return await self._keeper(key.region).unwrap(key, wrapped, purpose=purpose)


def _require_key(key: TenantKey) -> None:
    if key != require_context().key:
        raise GuardViolation("a tenant's key of another context")
