"""A purge at size on the embedded engines, beside what SQLite and the file system take for the same alone.

    python -m benchmarks.purge_embedded

The peers have as much of the same. They delete in one statement and one loop of unlinks; then, as a purge leaves
nothing of what went in a file, they write the database anew and cut its log.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Result
from benchmarks.purge import (
    EVENTS,
    ITEMS,
    OBJECTS,
    SHARE,
    Purge,
    purge_events,
    purge_items,
    purge_objects,
    seed_events,
    seed_items,
    seed_objects,
    three,
)
from services.search.open_databases import files_of
from services.search.ports import Filter
from services.search.sqlite import SqliteIndexes
from services.storage.content import ContentDirectory
from services.storage.files import FileObjects
from services.table.sqlite import open_table

MOST_OF_BARE = 2.5
"""How much of the bare engine's time a purge of items or objects may take."""

MOST_SECONDS = 2.0
"""How long the purge of the index may take, whose events all go with one file."""


@dataclass(slots=True)
class _Bare:
    """What the bare engine took, in seconds: to delete, and to have nothing left in its files."""

    deleting: float = 0.0
    scrubbing: float = 0.0


def purge_embedded() -> Result:
    """The case."""
    result = Result(name="A purge on the embedded engines")
    with tempfile.TemporaryDirectory(prefix="silo-bench-purge-") as name:
        asyncio.run(_items(Path(name) / "table", result))
        asyncio.run(_objects(Path(name) / "objects", result))
        asyncio.run(_events(Path(name) / "search", result))
    return result


async def _items(folder: Path, result: Result) -> None:
    tenant, neighbour, _ = (each.partition for each in three("data"))
    place = folder / "table.db"
    table = open_table(place)
    await seed_items(table, tenant, ITEMS)
    await seed_items(table, neighbour, ITEMS // SHARE)
    bare = _Bare()
    with closing(sqlite3.connect(place)) as source:
        source.execute("VACUUM INTO ?", (str(folder / "peer.db"),))
    with _open(folder / "peer.db") as connection, _scrubbed(connection, bare):
        deletion = "DELETE FROM items WHERE tbl = ? AND pk = ?"
        assert connection.execute(deletion, (tenant.table, tenant.key)).rowcount == ITEMS
    purge = await purge_items(table)
    assert purge.count == ITEMS
    assert not (await table.keys(tenant, limit=1)).sort_keys
    assert len((await table.keys(neighbour, limit=ITEMS)).sort_keys) == ITEMS // SHARE
    table.close()
    _note(result, purge, bare, "items")


async def _objects(folder: Path, result: Result) -> None:
    """The peer has as many objects of its own: what a file costs to remove is how it came to the disk."""
    tenant, neighbour, peer = (each.objects for each in three("storage"))
    objects = FileObjects(folder)
    objects.open()
    await asyncio.gather(
        seed_objects(objects, tenant, OBJECTS),
        seed_objects(objects, peer, OBJECTS),
        seed_objects(objects, neighbour, OBJECTS // SHARE),
    )
    await asyncio.to_thread(os.sync)
    bare = _Bare()
    content = ContentDirectory(folder / "content")
    with _open(folder / "objects.sqlite") as connection, _scrubbed(connection, bare):
        first = peer.prefix.encode()
        found = connection.execute(
            "DELETE FROM objects WHERE bucket = ? AND key >= ? AND key < ? RETURNING content",
            (peer.bucket, first, first + b"\xff"),
        ).fetchall()
        for (name,) in found:
            content.path(name).unlink()
    assert len(found) == OBJECTS
    await asyncio.to_thread(os.sync)
    purge = await purge_objects(objects, objects.rules())
    assert purge.count == OBJECTS
    left = [survey.objects async for survey in objects.survey(neighbour)]
    assert left == [OBJECTS // SHARE]
    await objects.settle()
    objects.close()
    _note(result, purge, bare, "objects")


async def _events(folder: Path, result: Result) -> None:
    tenant, neighbour, _ = (each.index for each in three("search"))
    indexes = SqliteIndexes(folder)
    await seed_events(indexes, tenant, EVENTS)
    await seed_events(indexes, neighbour, EVENTS // SHARE)
    peer = folder / "peer.db"
    for file, copy in zip(
        files_of(folder / tenant.cluster / f"{tenant.name}.db"), files_of(peer), strict=True
    ):
        shutil.copy(file, copy)
    began = time.perf_counter()
    for copy in files_of(peer):
        copy.unlink()
    bare = time.perf_counter() - began
    purge = await purge_events(indexes)
    assert purge.count == EVENTS
    assert await indexes.count(tenant, filter=Filter()) == 0
    assert await indexes.count(neighbour, filter=Filter()) == EVENTS // SHARE
    await asyncio.to_thread(indexes.close)
    purge.note(result, "events")
    result.figures["removing the index's files alone: seconds"] = round(bare, 4)
    result.at_most(f"a purge of {EVENTS} events, s", purge.seconds, MOST_SECONDS)


def _note(result: Result, purge: Purge, bare: _Bare, unit: str) -> None:
    purge.note(result, unit)
    whole = bare.deleting + bare.scrubbing
    result.figures[f"bare engine, deleting: {unit}/s"] = round(purge.count / bare.deleting)
    result.figures[f"bare engine, deleting and scrubbing: {unit}/s"] = round(purge.count / whole)
    result.at_most(
        f"{unit}: time of the purge / bare engine, scrubbed", purge.seconds / whole, MOST_OF_BARE
    )


@contextmanager
def _open(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection of the bare engine, as durable as the suite's own."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA cache_size=-8192")
        yield connection


@contextmanager
def _scrubbed(connection: sqlite3.Connection, bare: _Bare) -> Iterator[None]:
    """Takes the time of what is done in the block, in one transaction, and of the scrubbing after it."""
    began = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")
    bare.deleting = time.perf_counter() - began
    began = time.perf_counter()
    connection.execute("VACUUM")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    bare.scrubbing = time.perf_counter() - began


def main() -> None:
    """Runs the case and prints what it found."""
    result = purge_embedded()
    for name, figure in result.figures.items():
        print(f"{name:55} {figure:g}")
    for name, value, bound, holds in result.targets:
        print(f"{name:55} {value:g} {bound} {'holds' if holds else 'DOES NOT HOLD'}")


if __name__ == "__main__":
    main()
