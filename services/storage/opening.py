"""Opens the buckets of a deployment: S3 in each region that has it, or else the embedded one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from boundary.scope import ObjectPrefix
from boundary.server import closing
from services.engines.credentials import ServiceCredentials
from services.engines.settings import Engines, ObjectsEngine
from services.storage.files import FileObjects
from services.storage.ports import Objects, PurgeableObjects
from services.storage.s3 import S3Objects
from services.storage.s3_client import S3Endpoint, s3_client

_EMBEDDED_BUCKET = "email-platform-storage"
_ARCHIVE_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenObjects:
    """The buckets by region, and what a server does with them besides.

    Attributes:
        by_region: the objects of each region.
        archive: the bucket in which the audit trail is archived, under the process's own identity.
        archive_bucket: that bucket's name.
        background: what runs beside the server.
        close: what is called last; blocks.
    """

    by_region: Mapping[str, PurgeableObjects]
    archive: Objects
    archive_bucket: str
    background: tuple[Callable[[], Awaitable[None]], ...]
    close: tuple[Callable[[], object], ...]


async def open_objects(
    engines: Engines, *, credentials: ServiceCredentials, folder: Path, threads: int, region: str
) -> OpenObjects:
    """The open buckets.

    Args:
        credentials: with which S3 is asked.
        folder: where the embedded bucket is.
        threads: how many of its content files are read and written at once.
        region: where the audit trail is archived, in the first bucket that is listed.
    """
    on_s3 = {name: region.objects for name, region in engines.regions.items() if region.objects}
    if not on_s3:
        files = FileObjects(folder, threads=threads)
        await asyncio.to_thread(files.open)
        return OpenObjects(
            by_region=dict.fromkeys(engines.regions, files),
            archive=files,
            archive_bucket=_EMBEDDED_BUCKET,
            background=(files.maintain,),
            close=(files.close,),
        )
    objects = {
        name: await asyncio.to_thread(partial(_s3_objects, engine, credentials))
        for name, engine in on_s3.items()
    }
    archive = await asyncio.to_thread(partial(_archive, on_s3[region]))
    opened = (*objects.values(), archive)
    return OpenObjects(
        by_region=dict(objects),
        archive=archive,
        archive_bucket=on_s3[region].buckets[0],
        background=tuple(closing(each.settle) for each in opened),
        close=tuple(each.close for each in opened),
    )


def _archive(engine: ObjectsEngine) -> S3Objects:
    """The archive is no tenant's, so that no tenant's session reaches it."""
    return S3Objects(s3_client(_endpoint(engine, _ARCHIVE_THREADS)), threads=_ARCHIVE_THREADS)


def _endpoint(engine: ObjectsEngine, threads: int) -> S3Endpoint:
    return S3Endpoint(
        region=engine.aws_region,
        url=engine.endpoint or "",
        path_style=engine.path_style,
        accelerate=engine.accelerate,
        connections=2 * threads,
    )


def _s3_objects(engine: ObjectsEngine, credentials: ServiceCredentials) -> S3Objects:
    client = s3_client(_endpoint(engine, engine.threads), credentials.s3)
    return S3Objects(
        client,
        threads=engine.threads,
        ensure=credentials.ensure,
        key_of=_tenant_key if engine.tenant_keys else lambda _: None,
    )


def _tenant_key(prefix: ObjectPrefix) -> str:
    """The alias of the tenant's key (services/keys/kms.py)."""
    return f"alias/silo/{prefix.prefix.removesuffix('/')}"
