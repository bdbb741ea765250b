"""A tenant with so much that its purge takes a while, written past the services into the embedded engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from services.storage.files import FileObjects
from services.storage.ports import Upload
from services.table.ports import MAX_TRANSACTION, Put
from services.table.sqlite import open_table
from tests.contexts import make_context

_AT_ONCE = 16


def crowd(home: Path, tenant_id: str, *, mark: str, items: int, objects: int = 0) -> None:
    """Writes items and objects that carry the mark into the engines of a suite on a home."""
    asyncio.run(_items(home, tenant_id, mark, items))
    asyncio.run(_objects(home, tenant_id, mark, objects))


async def _items(home: Path, tenant_id: str, mark: str, count: int) -> None:
    partition = make_context(tenant_id).partition
    table = open_table(home / "table" / "table.db")
    for start in range(0, count, MAX_TRANSACTION):
        numbers = range(start, min(start + MAX_TRANSACTION, count))
        writes = [
            Put(sort_key=f"CAMPAIGN#crowd-{number:06}", item={"display_name": mark})
            for number in numbers
        ]
        await table.transact([(partition, write) for write in writes])
    table.close()


async def _objects(home: Path, tenant_id: str, mark: str, count: int) -> None:
    prefix = make_context(tenant_id, audience="storage").objects
    objects = FileObjects(home / "objects")
    objects.open()
    numbers = iter(range(count))

    async def content() -> AsyncIterator[bytes]:
        yield mark.encode()

    async def some() -> None:
        for number in numbers:
            upload = Upload(content_type="text/plain")
            await objects.put(prefix, f"exports/crowd-{number:06}", content(), upload)

    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    await objects.settle()
    objects.close()
