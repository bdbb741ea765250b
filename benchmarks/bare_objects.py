"""The bare two hops for an object: S3 read by boto3, its bytes in gRPC messages, forwarded once, and nothing else.

No authentication, no tenant, no digest, no audit, no limits: what is left is what gRPC in Python costs. The same
number of bytes is also served out of memory, from no engine at all.

`python -m benchmarks.bare_objects storage LISTEN ENDPOINT BUCKET KEY` serves the object (credentials as AWS's
are); `python -m benchmarks.bare_objects proxy LISTEN TARGET` forwards it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import boto3
import grpc
import uvloop
from botocore.config import Config

from boundary.channel import OPTIONS, open_channel
from boundary.memory import keep_freed_memory

DOWNLOAD = "/bare.Objects/Download"
FROM_MEMORY = "/bare.Objects/FromMemory"
"""Takes the number of bytes, in decimal."""

CHUNK = 1024 * 1024

Behaviour = Callable[[bytes, Any], AsyncIterator[bytes]]


def storage_handler(endpoint: str, bucket: str, key: str) -> grpc.GenericRpcHandler:
    """The object, read a chunk at a time."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )

    async def download(_: bytes, __: Any) -> AsyncIterator[bytes]:
        answer = await asyncio.to_thread(lambda: client.get_object(Bucket=bucket, Key=key))
        body = answer["Body"]
        while chunk := await asyncio.to_thread(body.read, CHUNK):
            yield chunk

    async def from_memory(raw: bytes, __: Any) -> AsyncIterator[bytes]:
        chunk = bytes(CHUNK)
        for _ in range(int(raw) // CHUNK):
            yield chunk

    return _handler({DOWNLOAD: download, FROM_MEMORY: from_memory})


def proxy_handler(target: str) -> grpc.GenericRpcHandler:
    """What the other one serves."""
    channel = open_channel(target)

    def forwarding(path: str) -> Behaviour:
        call = channel.unary_stream(path)

        async def forward(raw: bytes, _: Any) -> AsyncIterator[bytes]:
            async for chunk in call(raw):
                yield chunk

        return forward

    return _handler({path: forwarding(path) for path in (DOWNLOAD, FROM_MEMORY)})


def _handler(behaviours: Mapping[str, Behaviour]) -> grpc.GenericRpcHandler:
    methods = {
        path.rpartition("/")[2]: grpc.unary_stream_rpc_method_handler(behaviour)
        for path, behaviour in behaviours.items()
    }
    return grpc.method_handlers_generic_handler(DOWNLOAD.split("/")[1], methods)


async def serve(role: str, listen: str, arguments: list[str]) -> None:
    """Serves until the process is ended."""
    keep_freed_memory()
    handler = {"storage": storage_handler, "proxy": proxy_handler}[role](*arguments)
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(listen)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], sys.argv[3:]))
