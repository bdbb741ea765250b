"""Wires the data service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boundary.channel import open_channel
from boundary.pages import PageSealer
from boundary.regions import ByRegion
from boundary.runtime import ServiceRuntime
from boundary.server import Server
from boundary.sweeping import TenantSweep
from services.data import retention_servicer, servicer, tenant_servicer
from services.data.analytics import Analytics
from services.data.config import Configs
from services.data.content import StorageContent
from services.data.counter_expiry import CounterExpiry
from services.data.data_keys import ItemKeyRecords
from services.data.entities import Batches
from services.data.erasure import SubjectErasure
from services.data.intents import Intents
from services.data.lifecycle import ItemLifecycle
from services.data.lifecycle_servicer import LifecycleServicer
from services.data.operations import Entities
from services.data.ports import Table, TemplateContent
from services.data.recovery import Recovery
from services.data.reencryption import Reencryption
from services.data.reencryption_servicer import ReencryptionServicer
from services.data.retention import ItemRetention
from services.data.sealed_table import SealedTable
from services.data.settings import DataSettings
from services.data.templates import Templates
from services.data.transport import ItemTransport
from services.data.transport_servicer import TransportServicer
from services.engines.credentials import ServiceCredentials
from services.engines.settings import load_engines
from services.keys.guard import GuardedDataKeys
from services.keys.opening import open_keys
from services.keys.ring import KeyRing
from services.table.capacity import CapacityMeter
from services.table.opening import open_tables
from services.table.purge_guard import GuardedPurgeableTable

PACKAGE = "silo.data.v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """The servicers, by proto service, and what recovery needs."""

    servicers: Mapping[str, object]
    intents: Intents


def wire(*, table: Table, content: TemplateContent, pages: PageSealer) -> Wired:
    """The operations over a guarded table, and their servicers."""
    entities = Entities(table=table, pages=pages)
    intents = Intents(table=table, content=content)
    templates = Templates(table=table, content=content, intents=intents)
    batches = Batches(table=table, entities=entities)
    return Wired(
        intents=intents,
        servicers={
            f"{PACKAGE}.UserService": servicer.UserServicer(entities),
            f"{PACKAGE}.CampaignService": servicer.CampaignServicer(entities),
            f"{PACKAGE}.RecipientListService": servicer.RecipientListServicer(entities),
            f"{PACKAGE}.TemplateService": tenant_servicer.TemplateServicer(templates, entities),
            f"{PACKAGE}.TenantConfigService": tenant_servicer.TenantConfigServicer(
                Configs(table=table)
            ),
            f"{PACKAGE}.EntityService": tenant_servicer.EntityServicer(batches),
            f"{PACKAGE}.AnalyticsService": tenant_servicer.AnalyticsServicer(
                Analytics(table=table)
            ),
            retention_servicer.SERVICE: retention_servicer.ItemRetentionServicer(
                ItemRetention(table=table)
            ),
            f"{PACKAGE}.TransportService": TransportServicer(ItemTransport(table=table)),
        },
    )


async def build(settings: DataSettings) -> Server:
    """The data service's server, not yet started."""
    engines = load_engines(settings.engines, region=settings.region)
    runtime = ServiceRuntime(settings, service="data", regions=engines.regions)
    credentials = ServiceCredentials(engines, service="data")
    tables = await open_tables(
        engines,
        credentials=credentials.dynamodb,
        on_capacity=CapacityMeter(on_action=runtime.metrics.consumed).consumed,
        path=settings.table_path,
        readers=settings.data_table_readers,
    )
    guarded = GuardedPurgeableTable(ByRegion(tables.by_region))
    keys = await open_keys(
        engines,
        folder=settings.tenant_keys_folder,
        credentials=credentials.s3,
        ensure=credentials.ensure,
    )
    ring = KeyRing(
        GuardedDataKeys(ByRegion(keys.by_region)),
        ItemKeyRecords(guarded),
        seconds=settings.key_seconds,
    )
    runtime.states.on_change(ring.observe)
    runtime.states.on_change(credentials.observe)
    table = SealedTable(guarded, ring)
    reencryption = Reencryption(engine=guarded, sealed=table, ring=ring)
    content = StorageContent(
        open_channel(settings.storage_address, tls=runtime.tls), runtime.contexts
    )
    wired = wire(table=table, content=content, pages=runtime.pages)
    recovery = Recovery(
        table=table,
        intents=wired.intents,
        contexts=runtime.contexts,
        verifier=runtime.verifier,
        tenants=runtime.states.writable_tenants,
    )
    sweep = TenantSweep(
        CounterExpiry(table=table, retention=ItemRetention(table=table)).apply,
        audience="data",
        contexts=runtime.contexts,
        verifier=runtime.verifier,
        tenants=runtime.states.writable_tenants,
        seconds=settings.data_sweep_seconds,
    )
    return runtime.server(
        listen=settings.data_listen,
        http_listen=settings.data_http_listen,
        servicers={
            **wired.servicers,
            f"{PACKAGE}.LifecycleService": LifecycleServicer(
                ItemLifecycle(table=guarded, live_calls=runtime.live_calls, ring=ring),
                SubjectErasure(table=table, engine=guarded),
            ),
            f"{PACKAGE}.ReencryptionService": ReencryptionServicer(reencryption, runtime.pages),
        },
        background=(recovery.run, sweep.run, *tables.background),
        close=(*tables.close, *keys.close, credentials.close),
    )
