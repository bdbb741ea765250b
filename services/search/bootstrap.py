"""Wires the search service; the only place that knows how its objects fit together."""

from __future__ import annotations

import asyncio

from boundary.runtime import ServiceRuntime
from boundary.server import Server
from services.search.calendars import time_zones
from services.search.guard import GuardedIndexes
from services.search.operations import EventOperations
from services.search.servicer import SERVICE, EventServicer
from services.search.settings import SearchSettings
from services.search.sqlite import SqliteIndexes


async def build(settings: SearchSettings) -> Server:
    """The search service's server."""
    runtime = ServiceRuntime(settings, service="search")
    indexes = SqliteIndexes(settings.index_folder, open_limit=settings.search_open_indexes)
    operations = EventOperations(GuardedIndexes(indexes))
    await asyncio.to_thread(time_zones)  # read from the disk now, not in the first histogram's call
    return runtime.server(
        listen=settings.search_listen,
        http_listen=settings.search_http_listen,
        servicers={SERVICE: EventServicer(operations, runtime.pages)},
        close=(indexes.close,),
    )
