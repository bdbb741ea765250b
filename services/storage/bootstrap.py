"""Wires the storage service; the only place that knows how its objects fit together."""

from __future__ import annotations

from boundary.catalog import methods_of
from boundary.key_files import load_or_create
from boundary.regions import ByRegion
from boundary.runtime import ServiceRuntime
from boundary.server import Server
from boundary.sweeping import TenantSweep
from services.engines.credentials import ServiceCredentials
from services.engines.settings import load_engines
from services.storage import rule_servicer
from services.storage.guard import GuardedObjects
from services.storage.http import SignedUrlAuthenticator, SignedUrls
from services.storage.opening import open_objects
from services.storage.operations import ObjectOperations
from services.storage.presign import UrlSigner
from services.storage.rule_operations import ObjectLifecycles
from services.storage.servicer import ObjectServicer
from services.storage.settings import StorageSettings


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
    )
    signer = UrlSigner(
        load_or_create(settings.keys_folder, "storage-urls"),
        public_url=settings.storage_public_url,
    )
    operations = ObjectOperations(
        GuardedObjects(ByRegion(opened.by_region)),
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
        },
        routes=urls.routes(),
        background=(sweep.run, *opened.background),
        close=(*opened.close, credentials.close),
    )
