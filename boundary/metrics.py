"""What a server counts, in Prometheus' terms."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from boundary.interceptors.call import Call

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class _Durations:
    """How often calls of one method took how long."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        """Prometheus' cumulative buckets."""
        seen, cumulative = 0, []
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self.counts, strict=True):
            seen += count
            cumulative.append((bound, float(seen)))
        return cumulative


class CallMetrics(Collector):
    """Calls by method and status, and how long they took, in seconds.

    Calls are counted on the event loop's thread alone, in plain numbers; Prometheus' own counters, which lock,
    cost as much as verifying a context does. Tenants are not a label: their number has no bound, and their use
    is the audit trail's and the metering's.
    """

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], int] = {}
        self._durations: dict[str, _Durations] = {}
        self._capacity: dict[str, float] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def observe(self, call: Call) -> None:
        """Counts a call that has ended."""
        method = call.method.name
        key = (method, call.status)
        self._calls[key] = self._calls.get(key, 0) + 1
        durations = self._durations.get(method)
        if durations is None:
            durations = self._durations[method] = _Durations()
        durations.counts[bisect_left(_BOUNDS, call.seconds)] += 1
        durations.total += call.seconds

    def consumed(self, action: str, units: float) -> None:
        """Counts what a call of the table's engine took, in the engine's capacity units."""
        self._capacity[action] = self._capacity.get(action, 0.0) + units

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        """The families, as prometheus_client asks for them."""
        calls = CounterMetricFamily(
            "silo_calls", "Calls by method and status.", labels=("method", "status")
        )
        for labels, count in tuple(self._calls.items()):
            calls.add_metric(labels, count)
        yield calls
        capacity = CounterMetricFamily(
            "silo_table_capacity_units", "Capacity units that the table took.", labels=("action",)
        )
        for action, units in tuple(self._capacity.items()):
            capacity.add_metric((action,), units)
        yield capacity
        seconds = HistogramMetricFamily(
            "silo_call_seconds", "How long calls took.", labels=("method",)
        )
        for method, durations in tuple(self._durations.items()):
            seconds.add_metric((method,), durations.buckets(), durations.total)
        yield seconds

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
