"""Backups by the clock: one for each slot, whoever looks and however often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from boundary.errors import FailedPrecondition
from boundary.ids import TenantId
from services.resolver.directory import Tenant
from services.resolver.lifecycle.archives.schedule import BackupSchedule
from tests.contexts import PLACEMENT

HOUR = 3600
TENANT = Tenant(
    tenant_id=TenantId("A"),
    display_name="A",
    standing="ACTIVE",
    tier="STANDARD",
    placement=PLACEMENT,
    max_object_bytes=0,
    counter_shards=0,
    generation=1,
    created_at=0,
    updated_at=0,
    etag="e",
    create_request_id="",
    backup_hours=6,
)


class World:
    """A directory in pages of one tenant, what was begun, and the time."""

    def __init__(self, *tenants: Tenant) -> None:
        self.tenants = list(tenants)
        self.begun: list[tuple[str, str]] = []
        self.now = 100 * 6 * HOUR
        self.busy = False

    async def page(self, *, limit: int, position: bytes | None = None) -> Any:
        at = int(position or b"0")
        following = at + 1
        return self.tenants[at:following], (
            b"%d" % following if following < len(self.tenants) else None
        )

    async def start(self, kind: str, tenant_id: str, *, request_id: str, **_: Any) -> None:
        if self.busy:
            raise FailedPrecondition("OPERATION_UNDER_WAY", "busy")
        assert kind == "backup"
        if (tenant_id, request_id) not in self.begun:  # as the store does
            self.begun.append((tenant_id, request_id))

    def schedule(self) -> BackupSchedule:
        parts: Any = self
        return BackupSchedule(directory=parts, operations=parts, clock=lambda: self.now)


async def test_one_backup_for_each_slot_whoever_looks() -> None:
    world = World(TENANT)
    one, other = world.schedule(), world.schedule()
    for schedule in (one, one, other):
        await schedule.look()
    assert len(world.begun) == 1
    world.now += 6 * HOUR - 1
    await one.look()
    assert len(world.begun) == 1
    world.now += 1
    for schedule in (other, one):
        await schedule.look()
    assert len(world.begun) == 2


async def test_one_that_could_not_begin_is_tried_again() -> None:
    world = World(TENANT)
    schedule = world.schedule()
    world.busy = True
    await schedule.look()
    world.busy = False
    await schedule.look()
    assert len(world.begun) == 1


@pytest.mark.parametrize("change", [{"backup_hours": 0}, {"standing": "SUSPENDED"}])
async def test_only_tenants_that_work_and_want_it(change: dict[str, Any]) -> None:
    other = replace(TENANT, tenant_id=TenantId("B"))
    world = World(replace(TENANT, **change), other)
    await world.schedule().look()
    assert [tenant for tenant, _ in world.begun] == ["B"]
