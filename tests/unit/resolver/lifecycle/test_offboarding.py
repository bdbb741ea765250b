"""Offboarding where it meets what comes between: roll backs, tries that were cut off, operators."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from boundary.context import ACTIVE, Placement
from boundary.errors import FailedPrecondition, Unavailable
from services.resolver.changes import Changes
from services.resolver.directory import OFFBOARDING, SUSPENDED, Tenant, now_micros
from services.resolver.lifecycle import offboarding
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.work import Work
from services.resolver.operations import Tenants
from services.resolver.placements import Placements, Places
from services.table.sqlite import SqliteTable, open_table
from tests.unit.resolver.lifecycle.engine import A, Engine, running

PLACEMENT = Placement(region="local", table="EmailPlatform", bucket="b", search_cluster="local")


@pytest.fixture
def table(tmp_path: Path) -> Iterator[SqliteTable]:
    table = open_table(tmp_path / "table.db")
    yield table
    table.close()


async def with_tenant(engine: Engine, *, status: str = ACTIVE) -> None:
    now = now_micros()
    await engine.directory.add(
        Tenant(
            tenant_id=A,
            display_name="A",
            status=status,
            tier="BASIC",
            placement=PLACEMENT,
            max_object_bytes=0,
            counter_shards=0,
            generation=1,
            created_at=now,
            updated_at=now,
            etag="1",
            create_request_id="",
        )
    )


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

    async def remove(work: Work) -> None:
        removed, cut_off = tries.pop(0)
        work.progress(removed, unit="items")
        if cut_off:
            raise Unavailable("SERVICE_UNAVAILABLE", "the data service is gone")

    monkeypatch.setitem(offboarding._STORES, "items", (remove, offboarding.removal.items_left))
    step = Step(name="items", do=offboarding._purging("items"), final=True)
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, status=OFFBOARDING)
        over = await engine.over(await engine.start("offboarding"))
        assert over.state == "SUCCEEDED"
        assert (over.memory["removed_items"], over.memory["tries_items"]) == (800, 2)


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
    await with_tenant(engine, status=SUSPENDED)

    async def leaves() -> None:
        tenant = await engine.directory.find(A)
        assert tenant is not None
        await engine.directory.replace(tenant.changed(status=OFFBOARDING), etag=tenant.etag)

    places = Places(tables=["EmailPlatform"], buckets=["b"], search_clusters=["local"])
    tenants = Tenants(
        directory=Between(engine.directory, leaves),  # type: ignore[arg-type]  # as a directory
        changes=Changes(),
        placements=Placements({"local": places}, default_region="local"),
    )
    with pytest.raises(FailedPrecondition, match="OFFBOARDING"):
        await tenants.resume(A, etag="")
    tenant = await engine.directory.find(A)
    assert tenant is not None
    assert tenant.status == OFFBOARDING


async def hold(engine: Engine, why: str) -> None:
    tenant = await engine.directory.find(A)
    assert tenant is not None
    await engine.directory.replace(tenant.changed(legal_hold=why), etag=tenant.etag)


async def test_a_hold_that_comes_while_items_go_keeps_the_others(
    table: SqliteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1, 2, 3]
    going, ended = asyncio.Event(), asyncio.Event()

    async def remove(work: Work) -> None:
        try:
            while left:
                left.pop()
                work.progress(3 - len(left), unit="items")
                going.set()
                if not engine_released:
                    await asyncio.Event().wait()
        finally:
            ended.set()

    engine_released: list[bool] = []
    monkeypatch.setattr(offboarding, "_HOLD_SECONDS", 0.01)
    monkeypatch.setitem(offboarding._STORES, "items", (remove, offboarding.removal.items_left))
    step = Step(name="items", do=offboarding._purging("items"))
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, status=OFFBOARDING)
        begun = await engine.start("offboarding")
        await asyncio.wait_for(going.wait(), 5)
        await hold(engine, "case 9")
        blocked = await engine.until(begun, lambda now: now.state == "BLOCKED")
        assert ended.is_set()
        assert left == [1, 2]
        assert blocked.error is not None
        assert blocked.error.reason == "LEGAL_HOLD"
        with pytest.raises(FailedPrecondition, match="no return"):
            await engine.operations.cancel(blocked)
        engine_released.append(True)
        await hold(engine, "")
        await engine.operations.look_again(A)
        over = await engine.over(begun)
        assert (over.state, left) == ("SUCCEEDED", [])
        assert (over.memory["removed_items"], over.memory["tries_items"]) == (1 + 3, 2)


async def test_what_a_hold_blocks_before_anything_is_gone_can_be_taken_back(
    table: SqliteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def remove(_: Work) -> None:
        raise AssertionError("the tenant is held")

    monkeypatch.setitem(offboarding._STORES, "items", (remove, offboarding.removal.items_left))
    step = Step(name="items", do=offboarding._purging("items"))
    async with running(table, Kind(name="offboarding", steps=(step,))) as engine:
        await with_tenant(engine, status=OFFBOARDING)
        await hold(engine, "case 10")
        begun = await engine.start("offboarding")
        blocked = await engine.until(begun, lambda now: now.state == "BLOCKED")
        assert blocked.cancellable
        await engine.operations.cancel(blocked)
        over = await engine.until(begun, lambda now: now.over)
        assert over.state == "CANCELLED"
