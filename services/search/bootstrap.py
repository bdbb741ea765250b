"""Wires the search service; the only place that knows how its objects fit together."""

from __future__ import annotations

import asyncio

from boundary.runtime import ServiceRuntime
from boundary.server import Server
from boundary.sweeping import TenantSweep
from services.engines.settings import load_engines
from services.search import retention_servicer, transport_servicer
from services.search.calendars import time_zones
from services.search.lifecycle import IndexLifecycle
from services.search.lifecycle_servicer import SERVICE as LIFECYCLE_SERVICE
from services.search.lifecycle_servicer import LifecycleServicer
from services.search.opening import open_indexes
from services.search.operations import EventOperations
from services.search.purge_guard import GuardedPurgeableIndexes
from services.search.retention import EventRetention
from services.search.servicer import SERVICE, EventServicer
from services.search.settings import SearchSettings
from services.search.transport import EventTransport
from services.search.transport_servicer import TransportServicer


async def build(settings: SearchSettings) -> Server:
    """The search service's server."""
    engines = load_engines(settings.engines, region=settings.region)
    runtime = ServiceRuntime(settings, service="search", regions=engines.regions)
    opened = open_indexes(
        engines, folder=settings.index_folder, open_limit=settings.search_open_indexes
    )
    indexes = GuardedPurgeableIndexes(opened.indexes)
    operations = EventOperations(indexes)
    retention = EventRetention(opened.indexes)
    sweep = TenantSweep(
        retention.apply,
        audience="search",
        contexts=runtime.contexts,
        verifier=runtime.verifier,
        tenants=runtime.states.writable_tenants,
        seconds=settings.search_sweep_seconds,
    )
    await asyncio.to_thread(time_zones)  # read from the disk now, not in the first histogram's call
    return runtime.server(
        listen=settings.search_listen,
        http_listen=settings.search_http_listen,
        servicers={
            SERVICE: EventServicer(operations, runtime.pages),
            retention_servicer.SERVICE: retention_servicer.EventRetentionServicer(retention),
            LIFECYCLE_SERVICE: LifecycleServicer(
                IndexLifecycle(indexes, live_calls=runtime.live_calls)
            ),
            transport_servicer.SERVICE: TransportServicer(
                EventTransport(indexes), retention=retention
            ),
        },
        background=(sweep.run, *opened.background),
        close=opened.close,
    )
