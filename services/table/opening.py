"""Opens the tables of a deployment: DynamoDB in each region that has it, or else the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from boundary.server import closing
from services.engines.credentials import DynamoCredentials
from services.engines.settings import Engines
from services.table.dynamodb import DynamoTable, OnCapacity
from services.table.dynamodb_calls import connect
from services.table.ports import PurgeableTable
from services.table.sqlite import open_table


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTables:
    """The tables by region, and what a server does with them besides.

    Attributes:
        by_region: the table of each region.
        background: what runs beside the server and lets go of connections when it ends.
        close: what is called last; blocks.
    """

    by_region: Mapping[str, PurgeableTable]
    background: tuple[Callable[[], Awaitable[None]], ...] = ()
    close: tuple[Callable[[], object], ...] = ()


async def open_tables(
    engines: Engines,
    *,
    credentials: DynamoCredentials,
    on_capacity: OnCapacity,
    path: Path,
    readers: int = 4,
) -> OpenTables:
    """The open tables.

    Args:
        credentials: with which DynamoDB is asked.
        on_capacity: told of the capacity units that each of its calls took.
        path: the embedded table's file.
        readers: how many threads read it.
    """
    on_dynamodb = {name: region.table for name, region in engines.regions.items() if region.table}
    if not on_dynamodb:
        embedded = await asyncio.to_thread(open_table, path, readers=readers)
        return OpenTables(
            by_region=dict.fromkeys(engines.regions, embedded), close=(embedded.close,)
        )
    calls = {
        name: await connect(
            region=engine.aws_region, credentials=credentials, endpoint=engine.endpoint or ""
        )
        for name, engine in on_dynamodb.items()
    }
    return OpenTables(
        by_region={
            name: DynamoTable(each, on_capacity=on_capacity) for name, each in calls.items()
        },
        background=tuple(closing(each.close) for each in calls.values()),
    )
