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
from services.storage.ports import PurgeableObjects
from services.storage.s3 import S3Objects
from services.storage.s3_client import S3Endpoint, s3_client


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenObjects:
    """The buckets by region, and what a server does with them besides.

    Attributes:
        by_region: the objects of each region.
        background: what runs beside the server.
        close: what is called last; blocks.
    """

    by_region: Mapping[str, PurgeableObjects]
    background: tuple[Callable[[], Awaitable[None]], ...]
    close: tuple[Callable[[], object], ...]


async def open_objects(
    engines: Engines, *, credentials: ServiceCredentials, folder: Path, threads: int
) -> OpenObjects:
    """The open buckets.

    Args:
        credentials: with which S3 is asked.
        folder: where the embedded bucket is.
        threads: how many of its content files are read and written at once.
    """
    on_s3 = {name: region.objects for name, region in engines.regions.items() if region.objects}
    if not on_s3:
        files = FileObjects(folder, threads=threads)
        await asyncio.to_thread(files.open)
        return OpenObjects(
            by_region=dict.fromkeys(engines.regions, files),
            background=(files.maintain,),
            close=(files.close,),
        )
    objects = {
        name: await asyncio.to_thread(partial(_s3_objects, engine, credentials))
        for name, engine in on_s3.items()
    }
    return OpenObjects(
        by_region=dict(objects),
        background=tuple(closing(each.settle) for each in objects.values()),
        close=tuple(each.close for each in objects.values()),
    )


def _s3_objects(engine: ObjectsEngine, credentials: ServiceCredentials) -> S3Objects:
    client = s3_client(
        S3Endpoint(
            region=engine.aws_region,
            url=engine.endpoint or "",
            path_style=engine.path_style,
            accelerate=engine.accelerate,
            connections=2 * engine.threads,
        ),
        credentials.s3,
    )
    return S3Objects(
        client,
        threads=engine.threads,
        ensure=credentials.ensure,
        key_of=_tenant_key if engine.tenant_keys else lambda _: None,
    )


def _tenant_key(prefix: ObjectPrefix) -> str:
    """The alias of the tenant's key (services/keys/kms.py)."""
    return f"alias/silo/{prefix.prefix.removesuffix('/')}"
