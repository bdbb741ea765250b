"""Wires the storage service; the only place that knows how its objects fit together."""

from __future__ import annotations

from boundary.audit_scope import audit_area
from boundary.catalog import methods_of
from boundary.key_files import load_or_create
from boundary.regions import ByRegion
from boundary.runtime import ServiceRuntime
from boundary.server import Server
from boundary.sweeping import TenantSweep
from services.engines.credentials import ServiceCredentials
from services.engines.settings import load_engines
from services.keys.guard import GuardedDataKeys
from services.keys.opening import open_keys
from services.keys.ring import KeyRing
from services.storage import rule_servicer
from services.storage.audit_archive import AuditArchive
from services.storage.audit_guard import GuardedArchive
from services.storage.audit_servicer import AuditArchiveServicer
from services.storage.data_keys import ObjectKeyRecords
from services.storage.http import SignedUrlAuthenticator, SignedUrls
from services.storage.lifecycle import ObjectLifecycle
from services.storage.lifecycle_servicer import LifecycleServicer
from services.storage.opening import open_objects
from services.storage.operations import ObjectOperations
from services.storage.presign import UrlSigner
from services.storage.purge_guard import GuardedPurgeableObjects
from services.storage.reencryption import Reencryption
from services.storage.reencryption_servicer import ReencryptionServicer
from services.storage.rule_operations import ObjectLifecycles
from services.storage.sealed_objects import SealedObjects
from services.storage.servicer import ObjectServicer
from services.storage.settings import StorageSettings
from services.storage.transport import ObjectTransport
from services.storage.transport_servicer import TransportServicer


async def build(settings: StorageSettings) -> Server:
    """The storage service's server."""
    engines = load_engines(settings.engines, region=settings.region)
    credentials = ServiceCredentials(engines, service="storage")
    runtime = ServiceRuntime(settings, service="storage", regions=engines.regions)
    opened = await open_objects(
        engines,
        credentials=credentials,
        folder=settings.bucket_folder,
        threads=settings.storage_disk_threads,
        region=settings.region,
    )
    area = audit_area(region=settings.region, bucket=opened.archive_bucket)
    archive = AuditArchive(
        GuardedArchive(opened.archive, area), signer=runtime.audit.writer.folder.signer
    )
    signer = UrlSigner(
        load_or_create(settings.keys_folder, "storage-urls"),
        public_url=settings.storage_public_url,
    )
    guarded = GuardedPurgeableObjects(ByRegion(opened.by_region))
    keys = await open_keys(
        engines,
        folder=settings.tenant_keys_folder,
        credentials=credentials.s3,
        ensure=credentials.ensure,
    )
    records = ObjectKeyRecords(guarded)
    ring = KeyRing(GuardedDataKeys(ByRegion(keys.by_region)), records, seconds=settings.key_seconds)
    runtime.states.on_change(ring.observe)
    runtime.states.on_change(credentials.observe)
    sealed = SealedObjects(guarded, ring, records=records)
    reencryption = Reencryption(engine=guarded, sealed=sealed, ring=ring, records=records)
    operations = ObjectOperations(
        sealed,
        pages=runtime.pages,
        signer=signer,
        max_object_bytes=settings.storage_max_object_bytes,
    )
    by_url = SignedUrlAuthenticator(
        signer, contexts=runtime.contexts, verifier=runtime.verifier, states=runtime.states
    )
    urls = SignedUrls(
        runtime.chain(by_url),
        operations=operations,
        methods={method.descriptor.name: method for method in methods_of("storage")},
    )
    lifecycles = ObjectLifecycles(ByRegion(opened.rules))
    sweep = TenantSweep(
        lifecycles.apply,
        audience="storage",
        contexts=runtime.contexts,
        verifier=runtime.verifier,
        tenants=runtime.states.writable_tenants,
        seconds=settings.storage_sweep_seconds,
    )
    return runtime.server(
        listen=settings.storage_listen,
        http_listen=settings.storage_http_listen,
        servicers={
            "silo.storage.v1.ObjectService": ObjectServicer(operations),
            rule_servicer.SERVICE: rule_servicer.ObjectLifecycleServicer(lifecycles),
            "silo.storage.v1.TransportService": TransportServicer(
                ObjectTransport(sealed), lifecycles=lifecycles
            ),
            "silo.storage.v1.LifecycleService": LifecycleServicer(
                ObjectLifecycle(guarded, live_calls=runtime.live_calls, rules=lifecycles, ring=ring)
            ),
            "silo.storage.v1.ReencryptionService": ReencryptionServicer(
                reencryption, runtime.pages
            ),
            "silo.storage.v1.AuditArchiveService": AuditArchiveServicer(archive),
        },
        peers=True,
        routes=urls.routes(),
        background=(sweep.run, *opened.background),
        close=(*opened.close, *keys.close, credentials.close),
    )
