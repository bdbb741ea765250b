"""What the embedded engine promises beyond the port: bounded files, and nothing acknowledged is ever lost."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from boundary.errors import Unavailable
from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search import sqlite_statements
from services.search.open_databases import OpenDatabases
from services.search.ports import Document, EventType, Filter, Rates
from services.search.sqlite import SqliteIndexes
from tests.contexts import make_context

INGEST = """
import asyncio, sys
from pathlib import Path
from services.search.sqlite import SqliteIndexes
from tests.unit.search.test_sqlite import batch, index_of

async def main():
    indexes = SqliteIndexes(Path(sys.argv[1]))
    for number in range(1_000_000):
        assert all(await indexes.bulk(index_of("A"), batch(number)))
        print(number, flush=True)

asyncio.run(main())
"""


@functools.cache
def index_of(tenant_id: str) -> SearchIndex:
    return make_context(tenant_id, audience="search").index


def batch(number: int, size: int = 100) -> list[Document]:
    return [
        Document(
            tenant_id=index_of("A").tenant_id,
            event_id=f"{number}-{place}",
            event_type=EventType.OPEN,
            campaign_id="spring",
            timestamp_ms=1_700_000_000_000 + number,
            recipient="anna@example.com",
            message_id="m",
            subject="sale",
            metadata="",
        )
        for place in range(size)
    ]


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[OpenDatabases]:
    databases = OpenDatabases(schema=sqlite_statements.SCHEMA, limit=2, readers=1)
    yield databases
    await asyncio.to_thread(databases.close)


def ones(connection: Any) -> int:
    return int(connection.execute("SELECT 1").fetchone()[0])


class TestOpenFiles:
    async def test_no_more_than_the_limit_are_open_and_the_oldest_goes_first(self, files, tmp_path):
        for name in ("a", "b", "a", "c"):
            async with files.lend(tmp_path / name, create=True) as database:
                assert await database.read(ones) == 1
            assert files.open_count <= 2
        held = {path.name for path in files._entries}
        assert held == {"a", "c"}

    async def test_a_lent_file_is_never_closed_and_others_wait_for_a_place(self, files, tmp_path):
        async with files.lend(tmp_path / "a", create=True) as a:
            async with files.lend(tmp_path / "b", create=True):
                third = asyncio.create_task(self.touch(files, tmp_path / "c"))
                await asyncio.sleep(0.1)
                assert not third.done()
                assert await a.read(ones) == 1
            await asyncio.wait_for(third, 5)
            assert await a.read(ones) == 1
        assert files.open_count <= 2

    async def touch(self, files: OpenDatabases, path: Path) -> None:
        async with files.lend(path, create=True) as database:
            await database.write(ones)

    async def test_many_callers_on_many_files_all_get_their_turn(self, files, tmp_path):
        work = [self.touch(files, tmp_path / f"{number % 12}") for number in range(200)]
        await asyncio.wait_for(asyncio.gather(*work), 30)
        assert files.open_count <= 2

    async def test_a_caller_that_goes_away_leaves_its_place(self, files, tmp_path):
        async with files.lend(tmp_path / "a", create=True), files.lend(tmp_path / "b", create=True):
            waiting = [asyncio.create_task(self.touch(files, tmp_path / "c")) for _ in range(3)]
            await asyncio.sleep(0.02)
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        opening = asyncio.create_task(self.touch(files, tmp_path / "d"))
        await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        for name in "efg":
            await asyncio.wait_for(self.touch(files, tmp_path / name), 5)

    async def test_a_file_that_is_no_database_is_unavailable_and_holds_no_place(
        self, files, tmp_path
    ):
        (tmp_path / "bad").write_bytes(b"no database at all" * 100)
        for _ in range(5):
            with pytest.raises(Unavailable):
                await self.touch(files, tmp_path / "bad")
        assert files.open_count == 0

    async def test_a_missing_file_is_not_made_by_a_read(self, files, tmp_path):
        async with files.lend(tmp_path / "a", create=False) as database:
            assert database is None
        assert not (tmp_path / "a").exists()

    async def test_removal_waits_for_the_borrower_and_leaves_no_file(self, files, tmp_path):
        async with files.lend(tmp_path / "a", create=True) as database:
            removal = asyncio.create_task(files.remove(tmp_path / "a"))
            await asyncio.sleep(0.05)
            assert not removal.done()
            assert await database.write(ones) == 1
        await asyncio.wait_for(removal, 5)
        assert list(tmp_path.iterdir()) == []
        assert files.open_count == 0


class TestIndexFiles:
    async def test_tenants_take_turns_in_few_files(self, tmp_path):
        indexes = SqliteIndexes(tmp_path, open_limit=2)
        mine = {name: index_of(name) for name in ("t1", "t2", "t3", "t4", "t5")}

        async def use(name: str) -> None:
            document = batch(0, 1)[0]
            own = {"tenant_id": mine[name].tenant_id}
            for number in range(5):
                changed = {**own, "event_id": f"{number}"}
                await indexes.bulk(mine[name], [dataclasses.replace(document, **changed)])
                assert await indexes.count(mine[name], filter=Filter()) == number + 1
                assert indexes.open_count <= 2

        await asyncio.wait_for(asyncio.gather(*map(use, mine)), 30)
        await asyncio.to_thread(indexes.close)

    async def test_an_index_is_one_file_of_its_own(self, tmp_path):
        indexes = SqliteIndexes(tmp_path)
        await indexes.bulk(index_of("A"), batch(0))
        assert (tmp_path / "local" / "email-analytics-tenant-a.db").exists()
        await indexes.drop(index_of("A"))
        assert list((tmp_path / "local").iterdir()) == []
        await asyncio.to_thread(indexes.close)

    @pytest.mark.parametrize("cluster", ["..", "a/b", "", "a..b", "/tmp", "a\0"])
    async def test_a_cluster_whose_name_leads_elsewhere_is_refused(self, tmp_path, cluster):
        indexes = SqliteIndexes(tmp_path)
        with pytest.raises(GuardViolation):
            await indexes.count(
                dataclasses.replace(index_of("A"), cluster=cluster), filter=Filter()
            )
        await asyncio.to_thread(indexes.close)

    async def test_an_abandoned_query_stops(self, tmp_path):
        indexes = SqliteIndexes(tmp_path, readers=1)
        for number in range(20):
            await indexes.bulk(index_of("A"), batch(number, 1_000))
        started = time.monotonic()
        await indexes.aggregate(
            index_of("A"), filter=Filter(), aggregations=[Rates()] * 8, max_buckets=1
        )
        in_full = time.monotonic() - started
        for _ in range(20):
            call = asyncio.create_task(
                indexes.aggregate(
                    index_of("A"), filter=Filter(), aggregations=[Rates()] * 8, max_buckets=1
                )
            )
            await asyncio.sleep(0.001)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        started = time.monotonic()
        assert await indexes.count(index_of("A"), filter=Filter()) == 20_000
        assert time.monotonic() - started < max(3 * in_full, 0.5)
        await asyncio.to_thread(indexes.close)


class TestCrash:
    @pytest.mark.parametrize("run", range(3))
    def test_acknowledged_batches_survive_kill_9(self, tmp_path, run):
        root = Path(__file__).parents[3]
        child = subprocess.Popen(
            [sys.executable, "-c", INGEST, str(tmp_path)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": f"{root}:{root / 'gen'}"},
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        acknowledged = -1
        try:
            for _ in range(5 + 7 * run):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            for line in child.stdout.read().splitlines():
                acknowledged = int(line)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
        asyncio.run(self.look(tmp_path, acknowledged))

    async def look(self, folder: Path, acknowledged: int) -> None:
        indexes = SqliteIndexes(folder)
        count = await indexes.count(index_of("A"), filter=Filter())
        # Whole batches, all that were acknowledged, and at most the one that was under way.
        assert count in {(acknowledged + 1) * 100, (acknowledged + 2) * 100}
        assert await indexes.count(index_of("A"), filter=Filter(phrases=("sale",))) == count
        assert not any(await indexes.bulk(index_of("A"), batch(acknowledged)))
        await asyncio.to_thread(indexes.close)
