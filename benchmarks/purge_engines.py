"""A purge at size on the production engines, beside their bare clients, which know the keys of what they delete.

    python -m benchmarks.purge_engines

The adapters list what there is, delete it, and look again; the peers delete as much of their own, with as many
requests at a time as the adapters make.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import opensearchpy
from aiodynamo.client import Client
from aiodynamo.http.aiohttp import AIOHTTP
from botocore.credentials import Credentials
from yarl import URL

from benchmarks.cases import Result
from benchmarks.dynamodb_adapter import CREDENTIALS, REGION
from benchmarks.purge import (
    EVENTS,
    ITEMS,
    OBJECT,
    OBJECTS,
    SHARE,
    Purge,
    at_once,
    path,
    purge_events,
    purge_items,
    purge_objects,
    seed_events,
    seed_items,
    sort_key,
    three,
)
from boundary.scope import ObjectPrefix
from services.search.opensearch import OpenSearchIndexes
from services.search.opensearch_template import Sizing
from services.search.ports import Filter
from services.storage.s3 import S3Objects
from services.storage.s3_client import Calls, S3Endpoint, s3_client
from services.storage.s3_lifecycle import LifecycleRules
from services.storage.s3_lock import BucketLocks
from services.table.dynamodb import DynamoTable
from services.table.dynamodb_calls import connect
from services.table.dynamodb_purge import BATCH
from services.table.dynamodb_tables import create_table
from tests.engines.servers.dynamodb import start_dynamodb
from tests.engines.servers.opensearch import start_opensearch
from tests.engines.servers.s3 import S3Server, start_s3

VERSIONS = 2
"""How many versions each object has; every other one is deleted besides, and has a marker."""

MOST_OF_BARE = 2.5
"""How much of the bare client's time a purge of items or objects may take."""

MOST_SECONDS = 5.0
"""How long the purge of the index may take, which the engine deletes as a whole."""

_THREADS = 4
_KEYS = 1000


def purge_engines(*, dynamodb: str, s3: S3Server, opensearch: str) -> list[Result]:
    """The cases, on engines that run."""
    return [
        asyncio.run(_items(dynamodb)),
        asyncio.run(_objects(s3)),
        asyncio.run(_events(opensearch)),
    ]


async def _items(endpoint: str) -> Result:
    result = Result(name="A purge on DynamoDB")
    tenant, neighbour, peer = (each.partition for each in three("data"))
    calls = await connect(region=REGION, endpoint=endpoint, credentials=CREDENTIALS)
    await create_table(calls, tenant.table)
    table = DynamoTable(calls)
    await seed_items(table, tenant, ITEMS)
    await seed_items(table, peer, ITEMS)
    await seed_items(table, neighbour, ITEMS // SHARE)
    async with aiohttp.ClientSession() as session:
        client = Client(AIOHTTP(session), CREDENTIALS, REGION, endpoint=URL(endpoint))

        async def delete(start: int) -> None:
            deletions = [
                {"DeleteRequest": {"Key": {"PK": {"S": peer.key}, "SK": {"S": sort_key(number)}}}}
                for number in range(start, min(start + BATCH, ITEMS))
            ]
            payload = {"RequestItems": {peer.table: deletions}}
            answer = await client.send_request(action="BatchWriteItem", payload=payload)
            assert not answer["UnprocessedItems"]

        began = time.perf_counter()
        await at_once((delete(start) for start in range(0, ITEMS, BATCH)), width=8)
        bare = time.perf_counter() - began
    purge = await purge_items(table)
    assert purge.count == ITEMS
    assert (await table.keys(neighbour, limit=1)).sort_keys
    await calls.close()
    _note(result, purge, bare, "items", "bare client, BatchWriteItem")
    return result


async def _objects(server: S3Server) -> Result:
    result = Result(name="A purge on S3")
    tenant, neighbour, peer = (each.objects for each in three("storage"))
    endpoint = S3Endpoint(region="us-east-1", url=server.url, path_style=True)
    client: Any = s3_client(endpoint, Credentials(server.access_key, server.secret_key))
    plain: Any = server.client("s3")
    _versioned_bucket(plain, tenant.bucket)
    things = [_seeded(client, prefix, OBJECTS) for prefix in (tenant, peer)]
    kept = _seeded(client, neighbour, OBJECTS // SHARE)
    bare = await asyncio.to_thread(_delete, plain, peer.bucket, things[1])
    objects = S3Objects(client)
    calls = Calls(threads=2)
    locks = BucketLocks(client, calls, name="lifecycle")
    rules = LifecycleRules(client, calls, lock=locks, leftovers=objects.sweep)
    purge = await purge_objects(objects, rules)
    assert purge.count == len(things[0])
    async for survey in objects.survey(neighbour):
        left = survey
    assert left.count == len(kept)
    await objects.settle()
    for each in (objects, calls, plain):
        each.close()
    _note(result, purge, bare, "objects, versions and markers", "boto3, DeleteObjects")
    return result


def _versioned_bucket(client: Any, bucket: str) -> None:
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def _seeded(client: Any, prefix: ObjectPrefix, count: int) -> list[dict[str, str]]:
    """Stores objects of several versions, half of them deleted; every version and marker there is."""

    def store(number: int) -> list[dict[str, str]]:
        at = {"Bucket": prefix.bucket, "Key": prefix.key(path(number))}
        answers = [client.put_object(**at, Body=OBJECT) for _ in range(VERSIONS)]
        if number % 2:
            answers.append(client.delete_object(**at))
        return [{"Key": at["Key"], "VersionId": answer["VersionId"]} for answer in answers]

    with ThreadPoolExecutor(_THREADS) as threads:
        return [version for found in threads.map(store, range(count)) for version in found]


def _delete(client: Any, bucket: str, versions: Sequence[dict[str, str]]) -> float:
    """Deletes versions, as many at a time as a request takes; how long it took, in seconds."""

    def delete(start: int) -> None:
        named = {"Objects": versions[start : start + _KEYS], "Quiet": True}
        assert not client.delete_objects(Bucket=bucket, Delete=named).get("Errors")

    began = time.perf_counter()
    with ThreadPoolExecutor(_THREADS) as threads:
        list(threads.map(delete, range(0, len(versions), _KEYS)))
    return time.perf_counter() - began


async def _events(url: str) -> Result:
    result = Result(name="A purge on OpenSearch")
    tenant, neighbour, peer = (each.index for each in three("search"))
    indexes = OpenSearchIndexes(lambda _: url, sizing=lambda _: Sizing(replicas=0))
    for index, count in ((tenant, EVENTS), (peer, EVENTS), (neighbour, EVENTS // SHARE)):
        await indexes.create(index)
        await seed_events(indexes, index, count)
    client = opensearchpy.AsyncOpenSearch(hosts=[url])
    await client.count(index=peer.name)  # connects
    began = time.perf_counter()
    await client.indices.delete(index=peer.name)
    bare = time.perf_counter() - began
    await client.close()
    purge = await purge_events(indexes)
    assert purge.count == EVENTS
    assert await indexes.count(neighbour, filter=Filter()) == EVENTS // SHARE
    await indexes.drop(neighbour)
    await indexes.aclose()
    purge.note(result, "events")
    result.figures["bare client, deleting the index: seconds"] = round(bare, 3)
    result.at_most(f"a purge of {EVENTS} events, s", purge.seconds, MOST_SECONDS)
    return result


def _note(result: Result, purge: Purge, bare: float, unit: str, peer: str) -> None:
    purge.note(result, unit)
    result.figures[f"{peer}: {unit}/s"] = round(purge.count / bare)
    result.at_most(f"{unit}: time of the purge / {peer}", purge.seconds / bare, MOST_OF_BARE)


def main() -> None:
    """Starts the engines, runs the cases and prints what they found."""
    with (
        tempfile.TemporaryDirectory(prefix="silo-bench-engines-") as name,
        start_dynamodb() as dynamodb,
        start_s3(Path(name) / "s3") as s3,
        start_opensearch(Path(name) / "opensearch") as opensearch,
    ):
        for result in purge_engines(dynamodb=dynamodb.endpoint, s3=s3, opensearch=opensearch.url):
            print(result.figures, result.targets)


if __name__ == "__main__":
    main()
