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
from services.storage.ports import Objects
from services.storage.rules import ObjectRules
from services.storage.s3 import S3Objects
from services.storage.s3_client import Calls, S3Endpoint, s3_client
from services.storage.s3_lifecycle import LifecycleRules
from services.storage.s3_lock import BucketLocks

_RULES_THREADS = 2
"""How many calls for buckets' rules may be under way at once: they are rare, and one at a time for a bucket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenObjects:
    """The buckets by region, and what a server does with them besides.

    Attributes:
        by_region: the objects of each region.
        rules: their lifecycle rules.
        background: what runs beside the server.
        close: what is called last; blocks.
    """

    by_region: Mapping[str, Objects]
    rules: Mapping[str, ObjectRules]
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
            rules=dict.fromkeys(engines.regions, files.rules()),
            background=(files.maintain,),
            close=(files.close,),
        )
    opened = {
        name: await asyncio.to_thread(partial(_on_s3, engine, credentials))
        for name, engine in on_s3.items()
    }
    return OpenObjects(
        by_region={name: objects for name, (objects, _, _) in opened.items()},
        rules={name: rules for name, (_, rules, _) in opened.items()},
        background=tuple(closing(objects.settle) for objects, _, _ in opened.values()),
        close=tuple(
            close for objects, _, calls in opened.values() for close in (objects.close, calls.close)
        ),
    )


def _on_s3(
    engine: ObjectsEngine, credentials: ServiceCredentials
) -> tuple[S3Objects, LifecycleRules, Calls]:
    """The objects of a region, and the rules, whose calls are the service's own and not any tenant's."""
    endpoint = S3Endpoint(
        region=engine.aws_region,
        url=engine.endpoint or "",
        path_style=engine.path_style,
        accelerate=engine.accelerate,
        connections=2 * engine.threads,
    )
    client = s3_client(endpoint, credentials.s3)
    objects = S3Objects(
        client,
        threads=engine.threads,
        ensure=credentials.ensure,
        key_of=_tenant_key if engine.tenant_keys else lambda _: None,
    )
    own = client if credentials.s3 is None else s3_client(endpoint)
    calls = Calls(threads=_RULES_THREADS)
    rules = LifecycleRules(
        own,
        calls,
        lock=BucketLocks(own, calls, name="lifecycle"),
        leftovers=objects.sweep,
    )
    return objects, rules, calls


def _tenant_key(prefix: ObjectPrefix) -> str:
    """The alias of the tenant's key (services/keys/kms.py)."""
    return f"alias/silo/{prefix.prefix.removesuffix('/')}"
