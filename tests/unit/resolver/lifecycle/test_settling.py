"""A tenant that an operation keeps from being written to, while operators suspend and resume it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from boundary.context import ACTIVE, MOVING
from boundary.directory_scope import CONFIG_SORT_KEY, config_partition
from boundary.errors import FailedPrecondition
from services.resolver.directory import OFFBOARDING, ONBOARDING, PURGED, SUSPENDED
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.records import Operation
from services.resolver.lifecycle.settling import hold, let_go
from services.resolver.lifecycle.work import Work
from services.resolver.operations import TenantChange
from services.resolver.ports import Update
from services.table.sqlite import SqliteTable
from tests.unit.resolver.lifecycle.engine import A, Engine, running, tenants_of, with_tenant


class Held:
    """An operation that keeps a tenant from being written to until it is told to go on, or fails."""

    def __init__(self) -> None:
        self.holds = asyncio.Event()
        self.goes_on = asyncio.Event()
        self.fails = False
        steps = (
            Step(name="hold", do=hold, undo=let_go),
            Step(name="copying", do=self._wait),
            Step(name="release", do=let_go),
        )
        self.kind = Kind(name="held", steps=steps)

    async def _wait(self, _: Work) -> None:
        self.holds.set()
        await self.goes_on.wait()
        if self.fails:
            raise FailedPrecondition("NO", "it cannot be copied")

    @asynccontextmanager
    async def holding(
        self, table: SqliteTable, *, standing: str = ACTIVE
    ) -> AsyncIterator[tuple[Engine, Operation]]:
        async with running(table, self.kind) as engine:
            await with_tenant(engine, standing=standing)
            operation = await engine.start("held")
            async with asyncio.timeout(10):
                await self.holds.wait()
            assert await _is_read_only(engine)
            yield engine, operation

    async def end(self, engine: Engine, operation: Operation, *, taken_back: bool) -> None:
        """Lets it succeed, or fail and be rolled back."""
        self.fails = taken_back
        self.goes_on.set()
        over = await engine.over(operation)
        if taken_back:
            await engine.operations.cancel(over)
            over = await engine.until(operation, lambda now: now.over)
        assert over.state == ("CANCELLED" if taken_back else "SUCCEEDED")


async def _is_read_only(engine: Engine) -> bool:
    tenant = await engine.directory.find(A)
    assert tenant is not None
    return tenant.read_only


async def _status(engine: Engine) -> str:
    tenant = await engine.directory.find(A)
    assert tenant is not None
    return tenant.status


@pytest.mark.parametrize("taken_back", [False, True])
async def test_one_that_is_suspended_meanwhile_stays_suspended(
    table: SqliteTable, taken_back: bool
) -> None:
    held = Held()
    async with held.holding(table) as (engine, operation):
        assert await _status(engine) == MOVING
        suspended = await tenants_of(engine).suspend(A, etag="")
        assert (suspended.status, suspended.active) == (SUSPENDED, False)
        await held.end(engine, operation, taken_back=taken_back)
        assert await _status(engine) == SUSPENDED
        assert (await tenants_of(engine).resume(A, etag="")).status == ACTIVE


@pytest.mark.parametrize("taken_back", [False, True])
async def test_one_that_is_resumed_meanwhile_is_read_alone(
    table: SqliteTable, taken_back: bool
) -> None:
    held = Held()
    async with held.holding(table) as (engine, operation):
        await tenants_of(engine).suspend(A, etag="")
        assert (await tenants_of(engine).resume(A, etag="")).status == MOVING
        await held.end(engine, operation, taken_back=taken_back)
        assert await _status(engine) == ACTIVE


async def test_one_that_is_suspended_already_can_be_held(table: SqliteTable) -> None:
    held = Held()
    async with held.holding(table, standing=SUSPENDED) as (engine, operation):
        assert await _status(engine) == SUSPENDED
        assert (await tenants_of(engine).resume(A, etag="")).status == MOVING
        await tenants_of(engine).suspend(A, etag="")
        await held.end(engine, operation, taken_back=False)
        assert await _status(engine) == SUSPENDED


@pytest.mark.parametrize("standing", [ONBOARDING, OFFBOARDING, PURGED])
async def test_one_that_has_no_data_is_not_held(table: SqliteTable, standing: str) -> None:
    async with running(table, Held().kind) as engine:
        await with_tenant(engine, standing=standing)
        over = await engine.over(await engine.start("held"))
        assert over.state == "FAILED"
        assert await _status(engine) == standing
        assert not await _is_read_only(engine)


async def test_a_suspended_one_keeps_its_regions_while_it_is_held(table: SqliteTable) -> None:
    async with Held().holding(table, standing=SUSPENDED) as (engine, _):
        change = TenantChange(allowed_regions=["local"])
        with pytest.raises(FailedPrecondition, match=MOVING):
            await tenants_of(engine).update(A, change, etag="")


async def test_a_record_that_says_no_more_than_its_status_is_of_one_that_is_held(
    table: SqliteTable,
) -> None:
    async with running(table) as engine:
        await with_tenant(engine)
        former = Update(sort_key=CONFIG_SORT_KEY, set={"status": MOVING}, remove=("read_only",))
        await table.write(config_partition(A, table="EmailPlatform"), former)
        tenant = await engine.directory.find(A)
        assert tenant is not None
        assert (tenant.read_only, tenant.standing, tenant.status) == (True, ACTIVE, MOVING)
