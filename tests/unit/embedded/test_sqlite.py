"""The database behind the embedded engines: group commit, failures that stay apart, a full disk, an end."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boundary.errors import ResourceExhausted, Unavailable
from services.embedded.sqlite import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT NOT NULL)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(tmp_path / "t.db")
    opened.open(SCHEMA)
    yield opened
    opened.close()


def insert(number: int, value: str | None = "v"):  # type: ignore[no-untyped-def]
    def work(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO t VALUES (?, ?)", (number, value))
        return number

    return work


def ids(connection: sqlite3.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM t ORDER BY id")]


async def test_a_piece_that_fails_takes_no_other_with_it(database: Database) -> None:
    def refuse(connection: sqlite3.Connection) -> None:
        insert(99)(connection)
        raise KeyError("mine")

    results = await asyncio.gather(
        database.write(insert(1)),
        database.write(refuse),
        database.write(insert(1)),
        database.write(insert(2, None)),
        database.write(insert(3)),
        return_exceptions=True,
    )
    assert results[0] == 1
    assert isinstance(results[1], KeyError)
    assert isinstance(results[2], Unavailable)
    assert isinstance(results[3], Unavailable)
    assert results[4] == 3
    assert await database.read(ids) == [1, 3]


async def test_readers_cannot_write(database: Database) -> None:
    with pytest.raises(Unavailable):
        await database.read(insert(1))
    assert await database.read(ids) == []


async def test_a_write_whose_caller_goes_away_stands(database: Database) -> None:
    task = asyncio.create_task(database.write(insert(7)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.write(insert(8))
    assert await database.read(ids) == [7, 8]


async def test_a_full_disk_is_said_and_leaves_what_was_there(database: Database) -> None:
    await database.write(insert(1))
    await database.write(
        lambda connection: connection.execute("PRAGMA max_page_count = 3") and None
    )
    with pytest.raises(ResourceExhausted) as caught:
        await database.write(insert(2, "x" * 100_000))
    assert caught.value.reason == "STORAGE_FULL"
    assert await database.read(ids) == [1]


async def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    database = Database(tmp_path / "t.db")
    database.open(SCHEMA)
    writes = [asyncio.create_task(database.write(insert(number))) for number in range(500)]
    await asyncio.sleep(0)
    await asyncio.to_thread(database.close)
    assert [await write for write in writes] == list(range(500))
    with pytest.raises(Unavailable):
        await database.write(insert(1000))
    connection = sqlite3.connect(tmp_path / "t.db")
    assert len(ids(connection)) == 500
    connection.close()
    database.close()


async def test_a_database_that_was_never_opened_can_be_closed(tmp_path: Path) -> None:
    Database(tmp_path / "t.db").close()
