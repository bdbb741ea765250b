"""Offboarding where it meets what comes between: roll backs, tries that were cut off, operators."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from boundary.context import ACTIVE
from boundary.errors import FailedPrecondition, Unavailable
from services.resolver.directory import OFFBOARDING, SUSPENDED, Tenant
from services.resolver.lifecycle import offboarding, removal
from services.resolver.lifecycle import work as work_module
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.work import Work
from services.table.sqlite import SqliteTable
from tests.unit.resolver.lifecycle.engine import A, Engine, running, tenants_of, with_tenant


async def test_what_is_taken_back_before_anything_was_changed_leaves_the_tenant_as_it_is(
    table: SqliteTable,
) -> None:
    async def never(_: Work) -> None:
        raise FailedPrecondition("NO", "before the former status was remembered")

    step = Step(name="suspension", do=never, undo=offboarding._reinstate)
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine)
        failed = await engine.over(await engine.start("offboarding"))
        assert failed.state == "FAILED"
        await engine.operations.cancel(failed)
        over = await engine.until(failed, lambda now: now.over)
        assert over.state == "CANCELLED"
        tenant = await engine.directory.find(A)
        assert tenant is not None
        assert tenant.status == ACTIVE


async def test_what_each_try_has_removed_is_counted_once(
    table: SqliteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Any] = [(500, True), (300, False)]

    async def remove(work: Work, _place: object) -> None:
        removed, cut_off = tries.pop(0)
        work.progress(removed, unit="items")
        if cut_off:
            raise Unavailable("SERVICE_UNAVAILABLE", "the data service is gone")

    replaced = removal.Removal(remove=remove, left=removal.items_left)
    monkeypatch.setitem(removal.STORES, "items", replaced)  # type: ignore[arg-type]
    step = Step(name="items", do=offboarding._purging("items"))
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, standing=OFFBOARDING)
        over = await engine.over(await engine.start("offboarding"))
        assert over.state == "SUCCEEDED"
        assert (over.memory["removed_items"], over.memory["tries_items"]) == (800, 2)


async def set_hold(engine: Engine, why: str, *, told: bool = True) -> None:
    """Holds or releases the tenant at this resolver or, where nobody here is told, at another one."""
    tenant = await engine.directory.find(A)
    assert tenant is not None
    changed = tenant.changed(legal_hold=why)
    await engine.directory.replace(changed, etag=tenant.etag)
    if told:
        engine.changes.publish(changed)


@pytest.mark.parametrize("told", [True, False])
async def test_a_hold_ends_the_removal_that_is_under_way(
    table: SqliteTable, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    monkeypatch.setattr(work_module, "_LOOK_SECONDS", 60.0 if told else 0.1)
    ended: list[str] = []

    async def remove(work: Work, _place: object) -> None:
        if ended:
            work.progress(60, unit="items")
            return
        work.progress(40, unit="items")
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("removal")

    replaced = removal.Removal(remove=remove, left=removal.items_left)
    monkeypatch.setitem(removal.STORES, "items", replaced)  # type: ignore[arg-type]
    step = Step(name="items", do=offboarding._purging("items"))
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, standing=OFFBOARDING)
        started = await engine.start("offboarding")
        await engine.until(started, lambda now: now.steps[0].done == 40)
        await set_hold(engine, "case 9", told=told)
        blocked = await engine.until(started, lambda now: now.state == "BLOCKED")
        assert ended == ["removal"]
        assert blocked.error is not None
        assert blocked.error.reason == "LEGAL_HOLD"
        with pytest.raises(FailedPrecondition, match="no return"):
            await engine.operations.cancel(blocked)
        await set_hold(engine, "")
        over = await engine.over(started)
        assert over.state == "SUCCEEDED"
        assert (over.memory["removed_items"], over.memory["tries_items"]) == (100, 2)


@pytest.mark.parametrize("last_moment", [False, True])
async def test_what_is_held_before_anything_has_gone_can_be_taken_back(
    table: SqliteTable, monkeypatch: pytest.MonkeyPatch, last_moment: bool
) -> None:
    async def remove(_: Work, _place: object) -> None:
        raise AssertionError("something that is held is removed")

    replaced = removal.Removal(remove=remove, left=removal.items_left)
    monkeypatch.setitem(removal.STORES, "items", replaced)  # type: ignore[arg-type]
    step = Step(name="items", do=offboarding._purging("items"))
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, standing=OFFBOARDING)
        forbid = Work.leave_no_way_back

        async def forbid_and_hold(work: Work, **values: Any) -> None:
            await forbid(work, **values)
            assert not work.operation.cancellable
            await set_hold(engine, "case 10")

        monkeypatch.setattr(Work, "leave_no_way_back", forbid_and_hold)
        if not last_moment:
            await set_hold(engine, "case 10")
        started = await engine.start("offboarding")
        first = await engine.until(started, lambda now: now.state == "BLOCKED")
        assert first.cancellable
        await engine.until(started, lambda now: now.fence > first.fence + 1)  # it looks again
        await engine.operations.cancel(await engine.operations.get(first.operation_id))
        over = await engine.until(started, lambda now: now.over)
        assert over.state == "CANCELLED"


async def test_what_is_to_be_taken_back_is_not_removed(
    table: SqliteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def remove(_: Work, _place: object) -> None:
        raise AssertionError("something that is to be taken back is removed")

    replaced = removal.Removal(remove=remove, left=removal.items_left)
    monkeypatch.setitem(removal.STORES, "items", replaced)  # type: ignore[arg-type]
    step = Step(name="items", do=offboarding._purging("items"))
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, standing=OFFBOARDING)
        forbid = Work.leave_no_way_back

        async def cancel_and_forbid(work: Work, **values: Any) -> None:
            await engine.operations.cancel(work.operation)
            await forbid(work, **values)

        monkeypatch.setattr(Work, "leave_no_way_back", cancel_and_forbid)
        started = await engine.start("offboarding")
        over = await engine.until(started, lambda now: now.over)
        assert over.state == "CANCELLED"


async def test_a_removal_that_fails_for_good_is_told_and_can_be_resumed(
    table: SqliteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def remove(_: Work, _place: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise FailedPrecondition("NO", "it cannot be removed")

    replaced = removal.Removal(remove=remove, left=removal.items_left)
    monkeypatch.setitem(removal.STORES, "items", replaced)  # type: ignore[arg-type]
    step = Step(name="items", do=offboarding._purging("items"))
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, standing=OFFBOARDING)
        started = await engine.start("offboarding")
        failed = await engine.over(started)
        assert failed.error is not None
        assert failed.error.reason == "NO"
        await engine.operations.resume(failed)
        assert (await engine.until(started, lambda now: now.over)).state == "SUCCEEDED"


class Between:
    """A directory in which something happens right after a tenant was read."""

    def __init__(self, inner: Any, happens: Callable[[], Awaitable[None]]) -> None:
        self._inner = inner
        self._happens: list[Callable[[], Awaitable[None]]] = [happens]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def find(self, tenant_id: Any) -> Tenant | None:
        tenant: Tenant | None = await self._inner.find(tenant_id)
        while self._happens:
            await self._happens.pop()()
        return tenant


async def test_an_operator_cannot_resume_a_tenant_that_began_to_leave_meanwhile(
    table: SqliteTable,
) -> None:
    engine = Engine(table, [], crash=None)  # type: ignore[arg-type]  # nothing runs
    await with_tenant(engine, standing=SUSPENDED)

    async def leaves() -> None:
        tenant = await engine.directory.find(A)
        assert tenant is not None
        await engine.directory.replace(tenant.changed(standing=OFFBOARDING), etag=tenant.etag)

    between: Any = Between(engine.directory, leaves)
    tenants = tenants_of(engine, directory=between)
    with pytest.raises(FailedPrecondition, match="OFFBOARDING"):
        await tenants.resume(A, etag="")
    tenant = await engine.directory.find(A)
    assert tenant is not None
    assert tenant.status == OFFBOARDING
