"""Whose capacity it was."""

from __future__ import annotations

import pytest

from boundary.directory_scope import slug_partition
from boundary.ids import TenantId, TenantSlug
from services.table import capacity
from services.table.capacity import CapacityMeter, Consumed
from tests.contexts import make_context


def consumed(tenant_id: str, action: str, units: float) -> Consumed:
    return Consumed(tenant_id=TenantId(tenant_id), action=action, units=units)


def meter_and_told() -> tuple[CapacityMeter, list[tuple[str, float]]]:
    told: list[tuple[str, float]] = []
    return CapacityMeter(on_action=lambda action, units: told.append((action, units))), told


def test_units_are_added_up_by_tenant_and_action_and_told_by_action() -> None:
    meter, told = meter_and_told()
    a, b = make_context("A").partition, make_context("B").partition
    for partition, action, units in ((a, "GetItem", 0.5), (b, "GetItem", 1.0), (a, "GetItem", 2.0)):
        meter.consumed(partition, action, units)
    meter.consumed(a, "PutItem", 3.0)
    assert meter.drain() == [
        consumed("A", "GetItem", 2.5),
        consumed("A", "PutItem", 3.0),
        consumed("B", "GetItem", 1.0),
    ]
    assert told == [("GetItem", 0.5), ("GetItem", 1.0), ("GetItem", 2.0), ("PutItem", 3.0)]


def test_a_drain_takes_away_what_it_gives() -> None:
    meter, _ = meter_and_told()
    meter.consumed(make_context("A").partition, "GetItem", 0.5)
    meter.drain()
    assert meter.drain() == []


def test_the_directorys_own_items_are_nobodys() -> None:
    meter, _ = meter_and_told()
    meter.consumed(slug_partition(TenantSlug("a"), table="EmailPlatform"), "GetItem", 1.0)
    assert meter.drain() == [consumed("", "GetItem", 1.0)]


def test_memory_is_bounded_and_no_unit_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity, "MOST_TENANTS", 2)
    meter, _ = meter_and_told()
    for name in ("A", "B", "A", "C", "D"):  # B and then A were seen longest ago
        meter.consumed(make_context(name).partition, "GetItem", 1.0)
    assert meter.drain() == [
        consumed("", "GetItem", 3.0),
        consumed("C", "GetItem", 1.0),
        consumed("D", "GetItem", 1.0),
    ]
