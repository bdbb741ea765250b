"""Works on operations: takes over what is due, does step by step, records each before and after.

Every resolver of a deployment runs one. An operation is held by one of them under a lease with a fence; when that
one is gone, the lease ends and another goes on with the step that the record says was begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Any

from boundary.errors import Internal, SiloError
from boundary.ids import TenantId
from services.resolver.directory import now_micros
from services.resolver.lifecycle.crash import CrashPoint
from services.resolver.lifecycle.feed import Feed
from services.resolver.lifecycle.holding import Holding
from services.resolver.lifecycle.kinds import Action, Kind, Registry, Step
from services.resolver.lifecycle.pauses import Blocked, WaitUntil
from services.resolver.lifecycle.records import (
    BLOCKED,
    CANCELLED,
    DONE,
    FAILED,
    OPEN,
    PENDING,
    ROLLING_BACK,
    RUNNING,
    STEP_FAILED,
    SUCCEEDED,
    UNDOING,
    UNDONE,
    WAITING,
    Failure,
    Operation,
    StepRecord,
)
from services.resolver.lifecycle.store import CancelRequested, LeaseLost
from services.resolver.lifecycle.work import Tools, Work, is_transient

_log = logging.getLogger(__name__)

_ATTEMPTS = 8
_FIRST_BACKOFF = 0.2
_MAX_BACKOFF = 10.0
_BATCH = 50
_LET_GO_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast things are looked at.

    Attributes:
        lease_seconds: how long an operation is held by a resolver that is no longer heard of.
        poll_seconds: how often operations that are due are looked for.
        blocked_seconds: how often a blocked operation looks whether it may go on.
        at_once: how many operations this resolver works on at the same time.
        of_tenant: how many of them may be one tenant's, so that the others get their turn.
    """

    lease_seconds: float = 15.0
    poll_seconds: float = 2.0
    blocked_seconds: float = 60.0
    at_once: int = 8
    of_tenant: int = 2


class Runner:
    """The background work of a resolver that carries operations on."""

    def __init__(
        self, *, tools: Tools, registry: Registry, feed: Feed, crash: CrashPoint, pace: Pace
    ) -> None:
        self._tools = tools
        self._registry = registry
        self._feed = feed
        self._crash = crash
        self._pace = pace
        self._owner = uuid.uuid4().hex
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tenants: list[TenantId] = []  # whose operations are worked on, once for each
        self._holdings: dict[str, Holding] = {}
        self._wake = asyncio.Event()

    def wake(self, operation_id: str = "") -> None:
        """Lets the runner look at once for what is due, and at an operation that it holds for what was asked."""
        self._wake.set()
        holding = self._holdings.get(operation_id)
        if holding is not None:
            holding.look()

    async def run(self) -> None:
        """Carries operations on until it is cancelled; what is under way is then let go, for another to take."""
        try:
            while True:
                self._wake.clear()
                await self._sweep()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pace.poll_seconds):
                        await self._wake.wait()
        finally:
            tasks = tuple(self._running.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _sweep(self) -> None:
        for state in OPEN:
            for operation in await self._tools.store.due(state, limit=_BATCH):
                if len(self._running) >= self._pace.at_once:
                    return
                await self._take(operation)

    async def _take(self, operation: Operation) -> None:
        kind = self._registry.find(operation.kind)
        if kind is None or operation.operation_id in self._running:
            return
        if self._tenants.count(operation.tenant_id) >= self._pace.of_tenant:
            return
        try:
            claimed = await self._tools.store.claim(
                operation, owner=self._owner, lease_micros=round(self._pace.lease_seconds * 1e6)
            )
        except LeaseLost:
            return
        if claimed.owner != self._owner or claimed.state not in OPEN:
            return
        task = asyncio.create_task(self._carry_on(claimed, kind))
        self._running[operation.operation_id] = task
        self._tenants.append(operation.tenant_id)
        task.add_done_callback(lambda _: self._ended(operation))

    def _ended(self, operation: Operation) -> None:
        self._running.pop(operation.operation_id, None)
        self._tenants.remove(operation.tenant_id)
        self._feed.forget(operation.operation_id)
        self._wake.set()

    async def _carry_on(self, operation: Operation, kind: Kind) -> None:
        """Holds the operation and advances it until it is over, waits, or is taken over."""
        holding = Holding(
            operation,
            store=self._tools.store,
            feed=self._feed,
            lease_seconds=self._pace.lease_seconds,
        )
        self._holdings[operation.operation_id] = holding
        renewing = asyncio.create_task(holding.renew())
        try:
            await self._advance(holding, kind)
        except LeaseLost:
            _log.warning("%s is taken over by another resolver", operation.name)
        except SiloError as error:
            _log.warning("%s is put off: its record: %s", operation.name, error.reason)
        except asyncio.CancelledError:
            if (
                not _is_cancelled()
            ):  # a step lost what it waited for; to begin it again at once would not end
                _log.exception("%s has a defect", operation.name)
                await self._fail(holding, Failure.of(Internal()))
                return
            with contextlib.suppress(LeaseLost, SiloError, TimeoutError):
                async with asyncio.timeout(_LET_GO_SECONDS):
                    await holding.let_go(due_at=now_micros())
            raise
        except Exception:  # noqa: BLE001 - a defect in a step must not end the others
            _log.exception("%s has a defect", operation.name)
            await self._fail(holding, Failure.of(Internal()))
        finally:
            del self._holdings[operation.operation_id]
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _advance(self, holding: Holding, kind: Kind) -> None:
        work = Work(holding, self._tools)
        try:
            if not holding.operation.cancel_requested:
                await self._go_forward(holding, kind, work)
                return
        except CancelRequested:
            pass
        holding.roll_back()
        await self._go_back(holding, kind, work)

    async def _go_forward(self, holding: Holding, kind: Kind, work: Work) -> None:
        for step in kind.steps:
            record = _record(holding.operation, step)
            if record.state == DONE:
                continue
            begun = replace(
                record,
                state=RUNNING,
                started_at=record.started_at or now_micros(),
                ended_at=0,
                detail="",
            )
            changes: dict[str, Any] = {"state": RUNNING, "error": None}
            if step.final:
                changes["cancellable"] = False
            holding.work_on(step.name)
            await holding.write(
                steps=_with(holding.operation, begun), unless_cancelled=True, **changes
            )
            self._crash.reach(kind.name, step.name, "begun")
            if not await self._done(holding, step, work):
                return
            self._crash.reach(kind.name, step.name, "worked")
            record = replace(_record(holding.operation, step), state=DONE, ended_at=now_micros())
            await holding.write(steps=_with(holding.operation, record))
            self._crash.reach(kind.name, step.name, "done")
        await holding.finish(kept=kind.kept, state=SUCCEEDED, error=None)

    async def _done(self, holding: Holding, step: Step, work: Work) -> bool:
        """Does a step, with retries; False where the operation does not go on for now.

        Raises:
            CancelRequested: the operation is to be rolled back.
            LeaseLost: somebody else holds it.
        """
        try:
            await _retried(holding, step.do, work)
        except WaitUntil as wait:
            holding.progress(detail=wait.detail)
            await holding.let_go(state=WAITING, due_at=wait.moment)
            return False
        except Blocked as blocked:
            due_at = now_micros() + round(self._pace.blocked_seconds * 1e6)
            changes: dict[str, Any] = {"cancellable": True} if blocked.untouched else {}
            await holding.let_go(
                state=BLOCKED, error=Failure.of(blocked.error), due_at=due_at, **changes
            )
            return False
        except SiloError as error:
            await self._fail(holding, Failure.of(error))
            return False
        return True

    async def _go_back(self, holding: Holding, kind: Kind, work: Work) -> None:
        """Undoes what was begun, the last step first, and ends the operation as cancelled."""
        for step in reversed(kind.steps):
            record = _record(holding.operation, step)
            if record.state in (PENDING, UNDONE):
                continue
            holding.work_on(step.name)
            undoing = replace(record, state=UNDOING, detail="")
            steps = _with(holding.operation, undoing)
            await holding.write(steps=steps, state=ROLLING_BACK, error=None)
            self._crash.reach(kind.name, step.name, "undoing")
            if step.undo is not None and not await self._undone(holding, step.undo, work):
                return
            self._crash.reach(kind.name, step.name, "unworked")
            record = replace(_record(holding.operation, step), state=UNDONE, ended_at=now_micros())
            await holding.write(steps=_with(holding.operation, record))
            self._crash.reach(kind.name, step.name, "undone")
        await holding.finish(kept=kind.kept, state=CANCELLED, error=None)

    async def _undone(self, holding: Holding, undo: Action, work: Work) -> bool:
        try:
            await _retried(holding, undo, work)
        except SiloError as error:
            await self._fail(holding, Failure.of(error))
            return False
        return True

    async def _fail(self, holding: Holding, failure: Failure) -> None:
        """Records that the operation failed; it stays so until somebody resumes or cancels it."""
        _log.warning("%s failed: %s", holding.operation.name, failure.reason)
        steps = tuple(
            replace(step, state=STEP_FAILED) if step.state in (RUNNING, UNDOING) else step
            for step in holding.operation.steps
        )
        with contextlib.suppress(LeaseLost):
            await holding.let_go(state=FAILED, error=failure, steps=steps, due_at=now_micros())


def _is_cancelled() -> bool:
    """Whether somebody has asked this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _retried(holding: Holding, action: Action, work: Work) -> None:
    """Does a step's action, and again where what failed may pass.

    Raises:
        SiloError: it failed for good, or too often.
        WaitUntil, Blocked: it does not go on for now.
        CancelRequested: the operation is to be rolled back.
        LeaseLost: somebody else holds it.
    """
    backoff = _FIRST_BACKOFF
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await _uninterrupted(holding, action(work))
        except SiloError as error:
            if attempt == _ATTEMPTS or not is_transient(error):
                raise
            holding.progress(detail=f"{error.reason}; it is tried again")
        else:
            return
        wait = asyncio.sleep(backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        await _uninterrupted(holding, wait)
        backoff = min(_MAX_BACKOFF, backoff * 2)


async def _uninterrupted(holding: Holding, work: Awaitable[None]) -> None:
    """Awaits work, and ends it where the operation is taken over or is to be rolled back.

    Raises:
        CancelRequested, LeaseLost: it was ended.
    """
    working = asyncio.ensure_future(work)
    interrupted = asyncio.ensure_future(holding.interrupted.wait())
    try:
        await asyncio.wait((working, interrupted), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return
    finally:
        for task in (working, interrupted):
            task.cancel()
        await asyncio.gather(working, interrupted, return_exceptions=True)
    raise LeaseLost if holding.lost else CancelRequested


def _record(operation: Operation, step: Step) -> StepRecord:
    """What is recorded of a step; one that came with a later version has nothing yet."""
    found = (record for record in operation.steps if record.name == step.name)
    return next(found, StepRecord(name=step.name))


def _with(operation: Operation, record: StepRecord) -> tuple[StepRecord, ...]:
    """The operation's steps with one of them as it is now."""
    if all(step.name != record.name for step in operation.steps):
        return (*operation.steps, record)
    return tuple(record if step.name == record.name else step for step in operation.steps)
