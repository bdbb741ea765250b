"""The operations engine over a real table, with kinds of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from boundary.context import ACTIVE, Placement
from boundary.ids import TenantId
from boundary.regions import ByRegion
from services.resolver.changes import Changes
from services.resolver.directory import Directory, Tenant, now_micros
from services.resolver.guard import GuardedDirectoryTable
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.crash import CrashPoint
from services.resolver.lifecycle.feed import Feed
from services.resolver.lifecycle.kinds import Kind, Registry
from services.resolver.lifecycle.records import Operation
from services.resolver.lifecycle.runner import Pace, Runner
from services.resolver.lifecycle.services import Services
from services.resolver.lifecycle.store import OperationStore
from services.resolver.lifecycle.work import Tools
from services.resolver.minting import ContextMinter
from services.resolver.operations import Tenants
from services.resolver.placements import Placements, Places
from services.table.sqlite import SqliteTable
from tests.contexts import signing_keys

PACE = Pace(lease_seconds=0.6, poll_seconds=0.05, blocked_seconds=0.1)
A = TenantId("A")


class Crash(BaseException):
    """Ends a runner where a process would have ended: nothing is written or let go any more."""


class Crashing(CrashPoint):
    """A crash point that ends the runner's task and not the process."""

    def __init__(self, at: str, *, marker: Path) -> None:
        super().__init__(at, marker=marker)
        self.hit = asyncio.Event()
        self._once = at

    def reach(self, kind: str, step: str, moment: str) -> None:
        if self._once == f"{kind}/{step}:{moment}":
            self._once = ""
            self.hit.set()
            raise Crash


class Engine:
    """One resolver's part of the engine."""

    def __init__(self, table: SqliteTable, kinds: Iterable[Kind], *, crash: CrashPoint) -> None:
        guarded = GuardedDirectoryTable(ByRegion({"": table, "local": table}))
        self.directory = Directory(guarded, table_name="EmailPlatform", region="local")
        self.store = OperationStore(guarded, table_name="EmailPlatform")
        self.feed = Feed()
        self.changes = Changes()
        registry = Registry(kinds)
        tools = Tools(
            store=self.store,
            directory=self.directory,
            changes=self.changes,
            services=Services({}, minter=ContextMinter(signing_keys())),
        )
        self.runner = Runner(tools=tools, registry=registry, feed=self.feed, crash=crash, pace=PACE)
        self.operations = Operations(
            store=self.store, registry=registry, feed=self.feed, runner=self.runner
        )

    async def start(self, kind: str, tenant_id: TenantId = A, **arguments: Any) -> Operation:
        return await self.operations.start(
            kind, tenant_id, principal="root", **{"parameters": {}, **arguments}
        )

    async def until(
        self, operation: Operation, holds: Callable[[Operation], bool], *, seconds: float = 15
    ) -> Operation:
        """The operation once something holds of it."""
        async with asyncio.timeout(seconds):
            while True:
                now = await self.operations.get(operation.operation_id)
                if holds(now):
                    return now
                await asyncio.sleep(0.02)

    async def over(self, operation: Operation) -> Operation:
        return await self.until(operation, lambda now: now.over or now.state == "FAILED")


@asynccontextmanager
async def running(
    table: SqliteTable, *kinds: Kind, crash: CrashPoint | None = None
) -> AsyncIterator[Engine]:
    """An engine that runs within the block."""
    engine = Engine(table, kinds, crash=crash or CrashPoint("", marker=Path("/nowhere")))
    task = asyncio.create_task(engine.runner.run())
    try:
        yield engine
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def with_tenant(engine: Engine, *, standing: str = ACTIVE) -> None:
    """The tenant A is there."""
    now = now_micros()
    await engine.directory.add(
        Tenant(
            tenant_id=A,
            display_name="A",
            standing=standing,
            tier="BASIC",
            placement=Placement(
                region="local", table="EmailPlatform", bucket="b", search_cluster="local"
            ),
            max_object_bytes=0,
            counter_shards=0,
            generation=1,
            created_at=now,
            updated_at=now,
            etag="1",
            create_request_id="",
        )
    )


def tenants_of(engine: Engine, *, directory: Directory | None = None) -> Tenants:
    """What operators do with the tenants of an engine."""
    places = Places(tables=["EmailPlatform"], buckets=["b"], search_clusters=["local"])
    return Tenants(
        directory=directory or engine.directory,
        changes=engine.changes,
        placements=Placements({"local": places}, default_region="local"),
    )
