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
from services.storage.rules import ObjectRules
from services.storage.s3 import S3Objects
from services.storage.s3_client import Calls, S3Endpoint, s3_client
from services.storage.s3_lifecycle import LifecycleRules
from services.storage.s3_lock import BucketLocks

_RULES_THREADS = 2
"""How many calls for buckets' rules may be under way at once: they are rare, and one at a time for a bucket."""

_EMBEDDED_BUCKET = "email-platform-storage"
_ARCHIVE_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenObjects:
    """The buckets by region, and what a server does with them besides.

    Attributes:
        by_region: the objects of each region.
        rules: their lifecycle rules.
        archive: the bucket in which the audit trail is archived, under the process's own identity.
        archive_bucket: that bucket's name.
        background: what runs beside the server.
        close: what is called last; blocks.
    """

    by_region: Mapping[str, PurgeableObjects]
    rules: Mapping[str, ObjectRules]
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
            rules=dict.fromkeys(engines.regions, files.rules()),
            archive=files,
            archive_bucket=_EMBEDDED_BUCKET,
            background=(files.maintain,),
            close=(files.close,),
        )
    opened = {
        name: await asyncio.to_thread(partial(_on_s3, engine, credentials))
        for name, engine in on_s3.items()
    }
    archive = await asyncio.to_thread(partial(_archive, on_s3[region]))
    objects = (*(each.objects for each in opened.values()), archive)
    return OpenObjects(
        by_region={name: each.objects for name, each in opened.items()},
        rules={name: each.rules for name, each in opened.items()},
        archive=archive,
        archive_bucket=on_s3[region].buckets[0],
        background=tuple(closing(each.settle) for each in objects),
        close=(
            *(each.close for each in objects),
            *(each.rule_calls.close for each in opened.values()),
        ),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnS3:
    """What is open of one region."""

    objects: S3Objects
    rules: LifecycleRules
    rule_calls: Calls


def _on_s3(engine: ObjectsEngine, credentials: ServiceCredentials) -> _OnS3:
    """The objects of a region, and the rules, whose calls are the service's own and not any tenant's."""
    client = s3_client(_endpoint(engine, engine.threads), credentials.s3)
    objects = S3Objects(
        client,
        threads=engine.threads,
        ensure=credentials.ensure,
        key_of=_tenant_key if engine.tenant_keys else lambda _: None,
    )
    own = client if credentials.s3 is None else s3_client(_endpoint(engine, _RULES_THREADS))
    calls = Calls(threads=_RULES_THREADS)
    locks = BucketLocks(own, calls, name="lifecycle")
    rules = LifecycleRules(own, calls, lock=locks, leftovers=objects.sweep)
    return _OnS3(objects=objects, rules=rules, rule_calls=calls)


def _tenant_key(prefix: ObjectPrefix) -> str:
    """The alias of the tenant's key (services/keys/kms.py)."""
    return f"alias/silo/{prefix.prefix.removesuffix('/')}"
