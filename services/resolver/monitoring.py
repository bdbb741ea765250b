"""What the resolver's metrics tell of tenants: who is to be watched, for dashboards and alerts to join by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from boundary.ids import TenantId
from services.resolver.directory import Tenant
from services.resolver.operations import Tenants

MAX_NAMED = 10_000
"""The most tenants that are named; the counts by status are of all."""


class TenantMetrics(Collector):
    """Counts tenants by status, and names those that onboarding has put under monitoring until they leave."""

    def __init__(self, tenants: Tenants) -> None:
        """Takes what tells of every tenant and change; `run` listens to it."""
        self._tenants = tenants
        self._known: dict[TenantId, Tenant] = {}

    async def run(self) -> None:
        """Follows the tenants until it is cancelled or the process stops."""
        async for tenant in self._tenants.watch():
            known = tenant and self._known.get(tenant.tenant_id)
            if tenant is not None and (known is None or known.generation < tenant.generation):
                self._known[tenant.tenant_id] = tenant

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        counts = Counter(tenant.status for tenant in self._known.values())
        by_status = GaugeMetricFamily("silo_tenants", "Tenants by status.", labels=["status"])
        for status, count in sorted(counts.items()):
            by_status.add_metric([status], count)
        yield by_status
        named = GaugeMetricFamily(
            "silo_tenant_info",
            "1 for each tenant under monitoring.",
            labels=["tenant", "tier", "region", "status"],
        )
        monitored = [tenant for tenant in self._known.values() if tenant.monitored]
        for tenant in monitored[:MAX_NAMED]:
            labels = [tenant.tenant_id, tenant.tier, tenant.placement.region, tenant.status]
            named.add_metric(labels, 1)
        yield named
