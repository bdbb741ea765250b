"""Operations: recorded before and after each step, taken over, rolled back, watched."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from boundary.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from boundary.ids import TenantId
from services.resolver.directory import now_micros
from services.resolver.lifecycle.kinds import Kind, Registry, Step
from services.resolver.lifecycle.pauses import Blocked, WaitUntil
from services.resolver.lifecycle.records import Operation
from services.resolver.lifecycle.store import LeaseLost, Listing
from services.resolver.lifecycle.work import Work
from services.table.sqlite import SqliteTable
from tests.unit.resolver.lifecycle.engine import A, Crashing, running

MOMENTS = ("begun", "worked", "done")
BACK = ("undoing", "unworked", "undone")


class Diary:
    """Steps that note what was done, and can be made to fail."""

    def __init__(self) -> None:
        self.entries: list[str] = []
        self.failing: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = {"one", "two"}

    def step(self, name: str, *, final: bool = False) -> Step:
        async def do(work: Work) -> None:
            self.entries.append(f"do {name}")
            work.progress(1, total=2, unit="things")
            if name in self.held:
                await self.gate.wait()
            if self.failing:
                raise self.failing.pop(0)
            await work.remember(**{name: len(self.entries)})

        async def undo(_: Work) -> None:
            self.entries.append(f"undo {name}")

        return Step(name=name, do=do, undo=undo, final=final)

    def kind(self, name: str = "walk", **more: bool) -> Kind:
        return Kind(name=name, steps=(self.step("one"), self.step("two")), **more)


def states(operation: Operation) -> list[str]:
    return [step.state for step in operation.steps]


async def test_steps_are_done_in_order_and_recorded(table: SqliteTable) -> None:
    diary = Diary()
    async with running(table, diary.kind()) as engine:
        operation = await engine.over(await engine.start("walk", parameters={"far": True}))
        assert (operation.state, states(operation)) == ("SUCCEEDED", ["DONE", "DONE"])
        assert diary.entries == ["do one", "do two"]
        assert operation.memory == {"one": 1, "two": 2}
        assert operation.steps[0].done == 1
        assert operation.ended_at >= operation.steps[1].ended_at > 0
        stored = await engine.store.get(operation.operation_id)
        assert stored == operation


async def test_what_may_pass_is_tried_again_and_what_may_not_fails(table: SqliteTable) -> None:
    diary = Diary()
    diary.failing = [Unavailable("ENGINE_DOWN", "down"), FailedPrecondition("NO", "no")]
    async with running(table, diary.kind()) as engine:
        failed = await engine.over(await engine.start("walk"))
        assert failed.state == "FAILED"
        assert failed.error is not None
        assert failed.error.reason == "NO"
        assert diary.entries == ["do one", "do one"]
        with pytest.raises(FailedPrecondition, match="not over yet"):
            await engine.start("walk")
        resumed = await engine.operations.resume(failed)
        assert (await engine.over(resumed)).state == "SUCCEEDED"
        assert diary.entries[2:] == ["do one", "do two"]
        with pytest.raises(FailedPrecondition):
            await engine.operations.resume(await engine.operations.get(failed.operation_id))


async def test_a_defect_fails_the_operation_and_tells_nothing_of_itself(table: SqliteTable) -> None:
    diary = Diary()
    diary.failing = [KeyError("hunter2")]
    async with running(table, diary.kind()) as engine:
        failed = await engine.over(await engine.start("walk"))
        assert failed.error is not None
        assert failed.error.code == "INTERNAL"
        assert "hunter2" not in failed.error.message


async def test_cancelling_undoes_what_was_begun_in_reverse(table: SqliteTable) -> None:
    diary = Diary()
    diary.gate.clear()
    diary.held = {"two"}
    async with running(table, diary.kind()) as engine:
        started = await engine.start("walk")
        await engine.until(started, lambda _: diary.entries == ["do one", "do two"])
        await engine.operations.cancel(await engine.operations.get(started.operation_id))
        over = await engine.over(started)
        assert (over.state, states(over)) == ("CANCELLED", ["UNDONE", "UNDONE"])
        assert diary.entries == ["do one", "do two", "undo two", "undo one"]
        assert await engine.operations.cancel(over) == over
        diary.gate.set()
        again = await engine.over(await engine.start("walk"))  # the tenant is free
        assert again.state == "SUCCEEDED"


async def test_there_is_no_way_back_from_a_final_step(table: SqliteTable) -> None:
    diary = Diary()
    kind = Kind(name="walk", steps=(diary.step("one"), diary.step("two", final=True)))
    async with running(table, kind) as engine:
        diary.gate.clear()
        started = await engine.start("walk")
        await engine.until(started, lambda _: diary.entries == ["do one"])
        diary.gate.set()
        diary.failing = []
        await engine.until(started, lambda now: now.over)
        with pytest.raises(FailedPrecondition, match="no return"):
            await engine.operations.cancel(await engine.operations.get(started.operation_id))


async def test_waiting_goes_on_in_time_and_blocked_once_it_is_cleared(table: SqliteTable) -> None:
    cleared = asyncio.Event()
    waited: list[int] = []

    async def wait(_: Work) -> None:
        waited.append(now_micros())
        if len(waited) == 1:
            raise WaitUntil(now_micros() + 200_000, "for the sun")

    async def hold(_: Work) -> None:
        if not cleared.is_set():
            raise Blocked(FailedPrecondition("HELD", "held"))

    kind = Kind(name="walk", steps=(Step(name="wait", do=wait), Step(name="hold", do=hold)))
    async with running(table, kind) as engine:
        started = await engine.start("walk")
        waiting = await engine.until(started, lambda now: now.state == "WAITING")
        assert waiting.steps[0].detail == "for the sun"
        blocked = await engine.until(started, lambda now: now.state == "BLOCKED")
        assert blocked.error is not None
        assert blocked.error.reason == "HELD"
        assert waited[1] - waited[0] >= 200_000
        cleared.set()
        await engine.operations.look_again(A)
        assert (await engine.over(started)).state == "SUCCEEDED"


async def test_a_waiting_operation_is_cancelled_at_once(table: SqliteTable) -> None:
    async def wait(_: Work) -> None:
        raise WaitUntil(now_micros() + 3_600_000_000, "for an hour")

    kind = Kind(name="walk", steps=(Step(name="wait", do=wait),))
    async with running(table, kind) as engine:
        started = await engine.start("walk")
        waiting = await engine.until(started, lambda now: now.state == "WAITING")
        await engine.operations.cancel(waiting)
        assert (await engine.over(started)).state == "CANCELLED"


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", ["one", "two"])
async def test_another_resolver_goes_on_after_a_crash_at_any_moment(
    table: SqliteTable, tmp_path: Path, step: str, moment: str
) -> None:
    diary = Diary()
    crash = Crashing(f"walk/{step}:{moment}", marker=tmp_path / "crashed")
    async with running(table, diary.kind(), crash=crash) as first:
        started = await first.start("walk")
        await asyncio.wait_for(crash.hit.wait(), 10)
    async with running(table, diary.kind()) as second:
        over = await second.over(started)
    assert over.state == "SUCCEEDED"
    assert over.fence >= 2
    assert diary.entries.count(f"do {step}") == (2 if moment == "worked" else 1)


@pytest.mark.parametrize("moment", BACK)
async def test_rolling_back_goes_on_after_a_crash(
    table: SqliteTable, tmp_path: Path, moment: str
) -> None:
    diary = Diary()
    diary.failing = [FailedPrecondition("NO", "no")]
    crash = Crashing(f"walk/one:{moment}", marker=tmp_path / "crashed")
    async with running(table, diary.kind(), crash=crash) as first:
        failed = await first.over(await first.start("walk"))
        await first.operations.cancel(failed)
        await asyncio.wait_for(crash.hit.wait(), 10)
    async with running(table, diary.kind()) as second:
        over = await second.over(failed)
    assert over.state == "CANCELLED"
    assert "undo one" in diary.entries


async def test_who_has_lost_the_lease_writes_nothing(table: SqliteTable) -> None:
    diary = Diary()
    async with running(table, diary.kind()) as engine:
        started = await engine.over(await engine.start("walk"))
        stale = await engine.store.get(started.operation_id)
        assert stale is not None
        await engine.store.claim(stale, owner="another", lease_micros=1000)
        with pytest.raises(LeaseLost):
            await engine.store.save(stale)
        with pytest.raises(LeaseLost):
            await engine.store.claim(stale, owner="third", lease_micros=1000)


async def test_an_operation_asked_for_twice_is_one(table: SqliteTable) -> None:
    diary = Diary()
    async with running(table, diary.kind()) as engine:
        first = await engine.start("walk", request_id="mine")
        assert (await engine.over(first)).state == "SUCCEEDED"
        again = await engine.start("walk", request_id="mine")
        assert again.operation_id == first.operation_id
        other = await engine.start("walk", TenantId("B"), request_id="mine")
        assert other.operation_id != first.operation_id
        with pytest.raises(InvalidArgument):
            await engine.start("walk", request_id="not in grammar!")


async def test_operations_side_by_side_need_kinds_that_allow_it(table: SqliteTable) -> None:
    diary = Diary()
    diary.gate.clear()
    alone, shared = diary.kind("alone"), diary.kind("shared", exclusive=False)
    async with running(table, alone, shared) as engine:
        first = await engine.start("shared")
        second = await engine.start("shared")
        with pytest.raises(FailedPrecondition) as refused:
            await engine.start("alone")
        assert refused.value.reason == "OPERATION_UNDER_WAY"
        await engine.start("alone", TenantId("B"))
        diary.gate.set()
        for operation in (first, second):
            assert (await engine.over(operation)).state == "SUCCEEDED"
        assert (await engine.over(await engine.start("alone"))).state == "SUCCEEDED"


async def test_a_watcher_sees_the_end_also_of_what_another_resolver_does(
    table: SqliteTable,
) -> None:
    diary = Diary()
    diary.gate.clear()
    async with running(table, diary.kind()) as engine, running(table) as other:
        started = await engine.start("walk")
        seen: list[str] = []

        async def watch() -> None:
            watched = other.operations.watch(started.operation_id)
            seen.extend([operation.state async for operation in watched])

        watching = asyncio.create_task(watch())
        await engine.until(started, lambda _: bool(diary.entries))
        diary.gate.set()
        await asyncio.wait_for(watching, 10)
        assert seen[-1] == "SUCCEEDED"


async def test_a_tenants_people_see_their_own_and_no_other(table: SqliteTable) -> None:
    diary = Diary()
    hidden, shown = diary.kind("hidden"), diary.kind("shown", tenant_visible=True)
    async with running(table, hidden, shown) as engine:
        theirs = await engine.over(await engine.start("shown"))
        not_theirs = await engine.over(await engine.start("hidden"))
        of_b = await engine.over(await engine.start("shown", TenantId("B")))
        assert await engine.operations.get(theirs.operation_id, tenant_id=A) == theirs
        for other in (not_theirs, of_b):
            with pytest.raises(NotFound):
                await engine.operations.get(other.operation_id, tenant_id=A)
        listing = Listing(tenant_id="A", tenant_visible=True)
        found, _ = await engine.operations.page(listing, limit=10, position=None)
        assert [operation.operation_id for operation in found] == [theirs.operation_id]
        everything, position = await engine.operations.page(Listing(), limit=2, position=None)
        rest, _ = await engine.operations.page(Listing(), limit=2, position=position)
        ids = {operation.operation_id for operation in (*everything, *rest)}
        assert ids == {o.operation_id for o in (theirs, not_theirs, of_b)}


def test_kinds_and_steps_have_names_of_their_own() -> None:
    step = Step(name="one", do=lambda _: asyncio.sleep(0))
    with pytest.raises(ValueError, match="twice"):
        Registry((Kind(name="walk", steps=(step,)), Kind(name="walk", steps=(step,))))
    with pytest.raises(ValueError, match="distinct"):
        Registry((Kind(name="walk", steps=(step, step)),))


async def test_a_cancel_that_was_decided_before_the_final_step_began_comes_too_late(
    table: SqliteTable,
) -> None:
    may, undone = {"one": asyncio.Event(), "two": asyncio.Event()}, []

    def step(name: str, *, final: bool = False) -> Step:
        async def do(_: Work) -> None:
            await may[name].wait()

        async def undo(_: Work) -> None:
            undone.append(name)

        return Step(name=name, do=do, undo=undo, final=final)

    async with running(
        table, Kind(name="walk", steps=(step("one"), step("two", final=True)))
    ) as engine:
        started = await engine.start("walk")
        seen = await engine.until(started, lambda now: states(now)[0] == "RUNNING")
        assert seen.cancellable
        may["one"].set()
        await engine.until(started, lambda now: states(now)[1] == "RUNNING")
        with pytest.raises(FailedPrecondition, match="no return"):
            await engine.operations.cancel(seen)  # what its caller saw a moment before
        may["two"].set()
        assert (await engine.over(started)).state == "SUCCEEDED"
        assert undone == []


async def test_one_tenants_operations_leave_room_for_the_others(table: SqliteTable) -> None:
    diary = Diary()
    diary.gate.clear()
    async with running(table, diary.kind(exclusive=False)) as engine:
        mine = [await engine.start("walk") for _ in range(4)]
        with pytest.raises(ResourceExhausted) as refused:
            await engine.start("walk")
        assert refused.value.reason == "OPERATIONS_FULL"
        theirs = await engine.start("walk", TenantId("B"))
        await engine.until(theirs, lambda now: now.steps[0].state == "RUNNING")
        begun = [await engine.operations.get(each.operation_id) for each in mine]
        assert sum(each.steps[0].state == "RUNNING" for each in begun) == 2
        diary.gate.set()
        for each in (*mine, theirs):
            assert (await engine.over(each)).state == "SUCCEEDED"
        await engine.start("walk")  # there is room again


async def test_what_failed_and_shares_its_tenant_gives_way(table: SqliteTable) -> None:
    diary = Diary()
    kinds = (diary.kind("shared", exclusive=False), diary.kind("alone"))
    async with running(table, *kinds) as engine:
        diary.failing = [InvalidArgument("x", "is wrong")]
        failed = await engine.over(await engine.start("shared"))
        assert failed.state == "FAILED"
        alone = await engine.start("alone")
        assert (await engine.over(failed)).state == "CANCELLED"
        assert "undo one" in diary.entries
        assert (await engine.over(alone)).state == "SUCCEEDED"
        diary.failing = [InvalidArgument("x", "is wrong")]
        failed = await engine.over(await engine.start("alone"))
        with pytest.raises(FailedPrecondition) as refused:  # its failure is for somebody to look at
            await engine.start("alone")
        assert refused.value.reason == "OPERATION_UNDER_WAY"


async def test_a_step_that_loses_what_it_waited_for_is_not_begun_again_and_again(
    table: SqliteTable,
) -> None:
    diary = Diary()
    diary.failing = [asyncio.CancelledError()]  # type: ignore[list-item]
    async with running(table, diary.kind()) as engine:
        over = await engine.over(await engine.start("walk"))
        assert over.state == "FAILED"
        assert over.error is not None
        assert over.error.code == "INTERNAL"
        assert diary.entries == ["do one"]
