"""For how long a tenant's audit trail is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from boundary.ids import TenantId
from services.resolver.audit import AuditRetention
from services.resolver.settings import ResolverSettings


@dataclass
class Archive:
    expired: list[tuple[str, int]] = field(default_factory=list)

    async def expire(self, chain: TenantId, *, days: int) -> int:
        self.expired.append((chain, days))
        return 1


@dataclass
class Tenant:
    tenant_id: str
    tier: str


class Directory:
    """Two pages of tenants."""

    async def page(
        self, *, limit: int, position: bytes | None
    ) -> tuple[list[Tenant], bytes | None]:
        if position is None:
            return [Tenant("A", "BASIC"), Tenant("B", "PREMIUM")], b"2"
        return [Tenant("C", "STANDARD")], None


async def test_each_tenants_trail_is_kept_as_its_tier_says() -> None:
    archive = Archive()
    settings = ResolverSettings(
        audit_days_basic=3, audit_days_standard=5, audit_days_premium=7, audit_days_platform=11
    )
    retention = AuditRetention(archive, Directory(), settings.audit_days)  # type: ignore[arg-type]
    assert await retention.sweep() == 4
    assert archive.expired == [("", 11), ("A", 3), ("B", 7), ("C", 5)]
