"""Point reads on the loop give way to the threads where they would hold it up."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.embedded.sqlite import Database
from services.table import point_reads
from services.table.point_reads import PointReader
from services.table.ports import Put
from services.table.sqlite import SCHEMA, SqliteTable
from tests.contexts import make_context

A = make_context("A").partition


@pytest.fixture
def points(tmp_path: Path, database: Database) -> PointReader:
    return PointReader(tmp_path / "table.db")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(tmp_path / "table.db")
    database.open(SCHEMA)
    return database


@pytest.fixture
def table(database: Database, points: PointReader) -> Iterator[SqliteTable]:
    table = SqliteTable(database, points=points)
    yield table
    table.close()


@pytest.fixture
def threaded(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is read on reader threads from here on."""
    reads: list[object] = []
    read = database.read

    async def counted(work):
        reads.append(work)
        return await read(work)

    monkeypatch.setattr(database, "read", counted)
    return reads


async def test_a_point_read_takes_no_thread_and_sees_every_write(table, threaded):
    assert await table.get(A, "k") is None
    for number in range(50):
        await table.write(A, Put(sort_key="k", item={"n": number}))
        assert await table.get(A, "k") == {"n": number}
    assert threaded == []


async def test_a_slow_read_sends_the_next_ones_to_the_threads(table, threaded, monkeypatch):
    await table.write(A, Put(sort_key="k", item={"n": 1}))
    monkeypatch.setattr(point_reads, "SLOW_SECONDS", -1.0)
    assert await table.get(A, "k") == {"n": 1}
    assert threaded == []
    assert await table.get(A, "k") == {"n": 1}
    assert len(threaded) == 1
    monkeypatch.setattr(point_reads, "SLOW_SECONDS", 1.0)
    monkeypatch.setattr(table._points, "_rests_until", 0.0)
    assert await table.get(A, "k") == {"n": 1}
    assert len(threaded) == 1


async def test_a_read_that_cannot_be_made_at_once_is_left_to_the_threads(
    table, threaded, monkeypatch
):
    await table.write(A, Put(sort_key="k", item={"n": 1}))

    def busy(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(table._points, "row", busy)
    assert await table.get(A, "k") == {"n": 1}
    assert len(threaded) == 1


def test_a_point_reader_writes_nothing(table, points):
    with pytest.raises(sqlite3.OperationalError):
        points.row("DELETE FROM items RETURNING id", ())
