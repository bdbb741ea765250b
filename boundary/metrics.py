"""What a server counts, in Prometheus' terms."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

if TYPE_CHECKING:
    from boundary.interceptors.call import Call

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60)


class CallMetrics:
    """Calls by method and status, and how long they took, in seconds.

    Tenants are not a label: their number has no bound, and their use is the audit trail's and the metering's.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "silo_calls",
            "Calls by method and status.",
            ("method", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "silo_call_seconds",
            "How long calls took.",
            ("method",),
            registry=self.registry,
            buckets=_BUCKETS,
        )
        self._counters: dict[tuple[str, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def observe(self, call: Call) -> None:
        """Counts a call that has ended."""
        method, status = call.method.name, call.status
        counter = self._counters.get((method, status))
        if counter is None:
            counter = self._counters[method, status] = self._calls.labels(method, status)
        counter.inc()
        histogram = self._histograms.get(method)
        if histogram is None:
            histogram = self._histograms[method] = self._seconds.labels(method)
        histogram.observe(time.monotonic() - call.started)

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
