"""Making the engines that the engines file lists, and finding what differs from what they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from boundary.errors import SiloError
from services.aws.process_credentials import ProcessDynamoCredentials
from services.engines.settings import Engines, ObjectsEngine, SearchEngine, TableEngine
from services.search import opensearch_administration, opensearch_security
from services.search.opensearch_cluster import CLIENT_ERRORS, Cluster, Limits, client_of
from services.storage import s3_buckets
from services.storage.s3_client import ENGINE_ERRORS, S3Endpoint, s3_client
from services.table import dynamodb_tables
from services.table.dynamodb_calls import Calls, connect

FAILURES = (SiloError, *ENGINE_ERRORS, *CLIENT_ERRORS, ValueError)
"""What the functions of a place raise where the engine does not answer or refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One table, bucket or cluster. Its functions block, and raise FAILURES.

    Attributes:
        name: what it is called to a person.
        create: makes it, switches on what is off, takes nothing away; says what was done.
        drift: says how it differs from what it should be; nothing where it does not.
    """

    name: str
    create: Callable[[], str]
    drift: Callable[[], Sequence[str]]


def places_in(engines: Engines) -> list[Place]:
    """Every table, bucket and cluster that the file lists."""
    places = []
    for name, region in engines.regions.items():
        if region.table is not None:
            places += [_table(name, region.table, table) for table in region.table.tables]
        if region.objects is not None:
            places += [_bucket(name, region.objects, bucket) for bucket in region.objects.buckets]
        places += [_cluster(name, each, engine) for each, engine in region.search.items()]
    return places


def _table(region: str, engine: TableEngine, table: str) -> Place:
    async def create() -> str:
        async with _calls(engine) as calls:
            return "created" if await dynamodb_tables.create_table(calls, table) else "is there"

    async def drift() -> Sequence[str]:
        async with _calls(engine) as calls:
            return await dynamodb_tables.drift(calls, table)

    return Place(
        name=f"{region} table {table}",
        create=lambda: asyncio.run(create()),
        drift=lambda: asyncio.run(drift()),
    )


@asynccontextmanager
async def _calls(engine: TableEngine) -> AsyncIterator[Calls]:
    credentials = ProcessDynamoCredentials()
    calls = await connect(
        region=engine.aws_region, credentials=credentials, endpoint=engine.endpoint or ""
    )
    try:
        yield calls
    finally:
        await calls.close()
        credentials.close()


def _bucket(region: str, engine: ObjectsEngine, bucket: str) -> Place:
    endpoint = S3Endpoint(
        region=engine.aws_region, url=engine.endpoint or "", path_style=engine.path_style
    )
    plan = s3_buckets.BucketPlan(name=bucket, region=engine.aws_region)

    def create() -> str:
        lacking = s3_buckets.create(s3_client(endpoint), plan)
        return f"is there; the server has no {', '.join(lacking)}" if lacking else "is there"

    return Place(
        name=f"{region} bucket {bucket}",
        create=create,
        drift=lambda: s3_buckets.drift(s3_client(endpoint), plan),
    )


def _cluster(region: str, name: str, engine: SearchEngine) -> Place:
    async def create() -> str:
        async with _search(engine) as cluster:
            await opensearch_administration.create_template(cluster)
        return "has the index template"

    async def drift() -> Sequence[str]:
        async with _search(engine) as cluster:
            found = await opensearch_administration.drift(cluster)
            if engine.security == "roles":
                found += await opensearch_security.drift(cluster)
            return found

    return Place(
        name=f"{region} search cluster {name}",
        create=lambda: asyncio.run(create()),
        drift=lambda: asyncio.run(drift()),
    )


@asynccontextmanager
async def _search(engine: SearchEngine) -> AsyncIterator[Cluster]:
    limits = Limits()
    cluster = Cluster(client_of(engine, limits), limits)
    try:
        yield cluster
    finally:
        await cluster.close()
