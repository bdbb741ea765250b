"""CPU per GetItem of the DynamoDB adapter, beside its bare client and boto3, in one process and run.

`python -m benchmarks.dynamodb_adapter [ENDPOINT]`, by default against the stub. What the engine itself
uses does not count.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import boto3
import uvloop
from aiodynamo.client import Client
from aiodynamo.credentials import Key, StaticCredentials
from aiodynamo.http.aiohttp import AIOHTTP
from botocore.config import Config
from yarl import URL

from benchmarks.cases import Result
from benchmarks.processes import peer
from boundary import scope
from boundary.ids import TenantId
from services.table.dynamodb import DynamoTable
from services.table.dynamodb_calls import Calls, connect
from services.table.dynamodb_tables import create_table
from services.table.ports import Put

REGION = "eu-west-1"
CREDENTIALS = StaticCredentials(Key(id="bench", secret="bench"))
CONCURRENCY = 16

TENANT = TenantId("A")
PARTITION = scope.Partition(
    seal=scope._SEAL,  # noqa: SLF001 - a bench has no context to get a handle from
    tenant_id=TENANT,
    region=REGION,
    table="EmailPlatform",
    key=scope.partition_key(TENANT),
)
SORT_KEY = "CAMPAIGN#bench"
KEY = {"PK": {"S": PARTITION.key}, "SK": {"S": SORT_KEY}}
ITEM = {
    "display_name": "Spring sale",
    "subject": "Everything must go",
    "from_address": "news@a.example",
    "status": "DRAFT",
    "template": "templates/spring",
    "recipient_list": "lists/everyone",
    "create_time": 1_705_312_800_000_000_000,
    "update_time": 1_705_312_800_000_000_000,
    "etag": "0123456789abcdef",
}
PARAMETERS: dict[str, Any] = {
    "TableName": PARTITION.table,
    "Key": KEY,
    "ConsistentRead": True,
    "ReturnConsumedCapacity": "TOTAL",
}


async def prepare(endpoint: str) -> None:
    """Creates the table and the item that is read."""
    calls = await connect(region=REGION, endpoint=endpoint, credentials=CREDENTIALS)
    await create_table(calls, PARTITION.table)
    await DynamoTable(calls).write(PARTITION, Put(sort_key=SORT_KEY, item=dict(ITEM)))
    await calls.close()


async def _drive(read: Callable[[], Awaitable[object]], requests: int, concurrency: int) -> float:
    """Microseconds of CPU a request."""

    async def some() -> None:
        for _ in range(requests // concurrency):
            await read()

    await asyncio.gather(*(read() for _ in range(concurrency)))
    began = time.process_time()
    await asyncio.gather(*(some() for _ in range(concurrency)))
    return (time.process_time() - began) / (requests // concurrency * concurrency) * 1e6


def _drive_threads(read: Callable[[], object], requests: int, threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: read(), range(2 * threads)))
        began = time.process_time()
        list(pool.map(lambda _: read(), range(requests)))
        return (time.process_time() - began) / requests * 1e6


async def _round(calls: Calls, bare: Client, boto: Any, requests: int) -> dict[str, float]:
    """One turn of every contender."""
    table = DynamoTable(calls)

    async def adapter() -> None:
        assert await table.get(PARTITION, SORT_KEY)

    async def client() -> None:
        assert (await bare.send_request(action="GetItem", payload=PARAMETERS))["Item"]

    def blocking() -> None:
        assert boto.get_item(**PARAMETERS)["Item"]

    few = max(requests // 4, 1)
    return {
        "adapter": await _drive(adapter, requests, CONCURRENCY),
        "bare client": await _drive(client, requests, CONCURRENCY),
        "boto3, 1 thread": _drive_threads(blocking, few, 1),
        f"boto3, {CONCURRENCY} threads": _drive_threads(blocking, few, CONCURRENCY),
    }


async def _rounds(endpoint: str, rounds: int, requests: int) -> list[dict[str, float]]:
    calls = await connect(region=REGION, endpoint=endpoint, credentials=CREDENTIALS)
    session = aiohttp.ClientSession()
    bare = Client(AIOHTTP(session), CREDENTIALS, REGION, endpoint=URL(endpoint))
    boto = boto3.client(
        "dynamodb",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
        config=Config(max_pool_connections=CONCURRENCY),
    )
    try:
        await _round(calls, bare, boto, 10 * CONCURRENCY)
        return [await _round(calls, bare, boto, requests) for _ in range(rounds)]
    finally:
        await session.close()
        await calls.close()
        boto.close()


def dynamodb_adapter(endpoint: str, *, rounds: int = 7, requests: int = 1600) -> Result:
    """The case, against an endpoint that holds the item (see `prepare`)."""
    found = uvloop.run(_rounds(endpoint, rounds, requests))
    median = {name: statistics.median(each[name] for each in found) for name in found[0]}
    threads = f"boto3, {CONCURRENCY} threads"
    result = Result(name="DynamoDB adapter, GetItem")
    result.figures = {f"{name}: CPU us/request": round(us, 1) for name, us in median.items()}
    # Ratios within each round, so that what else the machine does weighs on both alike.
    for peer_name, bound in (("bare client", 1.15), (threads, 0.5)):
        ratio = statistics.median(each["adapter"] / each[peer_name] for each in found)
        result.at_most(f"CPU of the adapter / {peer_name}", ratio, bound)
    return result


def main() -> None:
    """Runs the case and prints what it found."""
    if len(sys.argv) > 1:
        uvloop.run(prepare(sys.argv[1]))
        print(dynamodb_adapter(sys.argv[1]))
        return
    port = free_port()
    with peer("benchmarks.dynamodb_stub", [str(port)], environment={}):
        await_port(port)
        print(dynamodb_adapter(f"http://127.0.0.1:{port}"))


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_port(port: int, *, seconds: float = 10.0) -> None:
    """Returns once something listens on a port of the loopback."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
