"""What another resolver over the same directory has changed is told here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from boundary.errors import Unavailable
from boundary.ids import TenantId
from boundary.regions import ByRegion
from services.resolver.changes import Changes
from services.resolver.directory import SUSPENDED, Directory, Tenant, now_micros
from services.resolver.following import Following
from services.resolver.guard import GuardedDirectoryTable
from services.resolver.operations import NewTenant, Tenants
from services.resolver.placements import Placements, Places
from services.table.sqlite import SqliteTable, open_table

SECOND = 1_000_000
A, B = TenantId("A"), TenantId("B")


@pytest.fixture
def table(tmp_path: Path) -> Iterator[SqliteTable]:
    table = open_table(tmp_path / "table.db")
    yield table
    table.close()


def _directory(table: SqliteTable) -> Directory:
    guarded = GuardedDirectoryTable(ByRegion({"": table, "local": table}))
    return Directory(guarded, table_name="EmailPlatform", region="local")


@pytest.fixture
def there(table: SqliteTable) -> Tenants:
    """The other resolver's tenants, with changes of its own."""
    places = Places(tables=["EmailPlatform"], buckets=["b"], search_clusters=["local"])
    return Tenants(
        directory=_directory(table),
        changes=Changes(),
        placements=Placements({"local": places}, default_region="local"),
    )


class Here:
    """This resolver, whose clock is the test's, and what its watchers hear."""

    def __init__(self, table: SqliteTable) -> None:
        self.now = now_micros()
        self.directory = _directory(table)
        self.changes = Changes()
        self.following = Following(self.directory, self.changes, clock=lambda: self.now)

    async def hears(self) -> list[tuple[str, str]]:
        """What is heard of at a look that is taken now."""
        with self.changes.subscribe() as subscription:
            await self.following.look()
            subscription.end()
            return [(each.tenant_id, each.status) async for each in subscription.changes()]


@pytest.fixture
def here(table: SqliteTable) -> Here:
    return Here(table)


async def _create(tenants: Tenants, tenant_id: TenantId) -> Tenant:
    return await tenants.create(NewTenant(tenant_id=tenant_id, display_name=tenant_id))


async def test_every_change_is_told_once(here: Here, there: Tenants) -> None:
    await _create(there, A)
    await _create(there, B)
    assert await here.hears() == [("A", "ACTIVE"), ("B", "ACTIVE")]
    assert await here.hears() == []
    await there.suspend(A, etag="")
    assert await here.hears() == [("A", "SUSPENDED")]
    here.now += 20 * SECOND
    assert await here.hears() == []
    await there.resume(A, etag="")
    assert await here.hears() == [("A", "ACTIVE")]


@pytest.mark.parametrize("difference", [-20, 20])
async def test_clocks_may_differ(here: Here, there: Tenants, difference: int) -> None:
    for _ in range(3):
        here.now += SECOND
        await here.hears()
    here.now += difference * SECOND
    await here.hears()
    await _create(there, A)
    assert await here.hears() == [("A", "ACTIVE")]


async def test_what_was_changed_while_the_directory_was_away_is_told_when_it_is_back(
    here: Here, there: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.hears()

    async def away(_: int) -> list[Tenant]:
        raise Unavailable("TABLE_UNAVAILABLE", "the table does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(here.directory, "changed_since", away)
        await _create(there, A)
        for _ in range(100):
            here.now += SECOND
            with pytest.raises(Unavailable):
                await here.hears()
    assert await here.hears() == [("A", "ACTIVE")]


async def test_an_index_that_gives_an_older_state_is_not_believed(
    here: Here, there: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await _create(there, A)
    await there.suspend(A, etag="")
    assert await here.hears() == [("A", "SUSPENDED")]

    async def lagging(_: int) -> list[Tenant]:
        return [older]

    monkeypatch.setattr(here.directory, "changed_since", lagging)
    assert await here.hears() == []


async def test_more_changes_than_a_page_has(
    here: Here, there: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.resolver.directory._CHANGED_PAGE", 2)
    for number in range(5):
        await _create(there, TenantId(f"T-{number}"))
    assert [name for name, _ in await here.hears()] == [f"T-{number}" for number in range(5)]


@asynccontextmanager
async def _running(here: Here) -> AsyncIterator[None]:
    task = asyncio.create_task(here.following.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_it_goes_on_after_a_failure(
    here: Here, there: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.resolver.following.LOOK_SECONDS", 0.01)
    real, failures = here.directory.changed_since, [1, 2]

    async def failing(moment: int) -> object:
        if failures:
            failures.pop()
            raise Unavailable("TABLE_UNAVAILABLE", "the table does not answer")
        return await real(moment)

    monkeypatch.setattr(here.directory, "changed_since", failing)
    await _create(there, A)
    await there.suspend(A, etag="")
    async with _running(here), asyncio.timeout(5):
        with here.changes.subscribe() as subscription:
            heard = await anext(subscription.changes())
    assert (heard.tenant_id, heard.status) == ("A", SUSPENDED)
    assert failures == []
