"""Wires the storage service; the only place that knows how its objects fit together."""

from __future__ import annotations

import asyncio

from boundary.catalog import methods_of
from boundary.key_files import load_or_create
from boundary.runtime import ServiceRuntime
from boundary.server import Server
from services.storage.files import FileObjects
from services.storage.guard import GuardedObjects
from services.storage.http import SignedUrlAuthenticator, SignedUrls
from services.storage.operations import ObjectOperations
from services.storage.presign import UrlSigner
from services.storage.servicer import ObjectServicer
from services.storage.settings import StorageSettings


async def build(settings: StorageSettings) -> Server:
    """The storage service's server."""
    runtime = ServiceRuntime(settings, service="storage")
    files = FileObjects(settings.bucket_folder, threads=settings.storage_disk_threads)
    await asyncio.to_thread(files.open)
    signer = UrlSigner(
        load_or_create(settings.keys_folder, "storage-urls"),
        public_url=settings.storage_public_url,
    )
    operations = ObjectOperations(
        GuardedObjects(files),
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
    return runtime.server(
        listen=settings.storage_listen,
        http_listen=settings.storage_http_listen,
        servicers={"silo.storage.v1.ObjectService": ObjectServicer(operations)},
        routes=urls.routes(),
        background=(files.maintain,),
        close=(files.close,),
    )
