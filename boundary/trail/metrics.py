"""What a process counts of its part of the audit trail, for alerts."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from boundary.audit import AuditLog
from boundary.trail.shipping import Shipper


class TrailMetrics(Collector):
    """Whether records can be written, and for how long closed segments have not all been archived."""

    def __init__(self, audit: AuditLog, shipper: Shipper) -> None:
        self._audit = audit
        self._shipper = shipper

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The families, as prometheus_client asks for them."""
        yield GaugeMetricFamily(
            "silo_audit_writable",
            "1 while audit records can be written, 0 while calls are refused because they cannot.",
            value=float(not self._audit.behind),
        )
        yield GaugeMetricFamily(
            "silo_audit_unarchived_seconds",
            "Seconds since every closed segment of the audit trail was archived.",
            value=self._shipper.unarchived_seconds,
        )
