"""The S3 adapter's throughput and memory beside boto3's own transfers and defaults, to one server, in one run.

    python -m benchmarks.s3_adapter

starts the server of the engine tests. `compare` is for a caller that has a server already.
"""

from __future__ import annotations

import asyncio
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.credentials import Credentials

from boundary.scope import ObjectPrefix
from services.storage.ports import CHUNK_BYTES, Upload
from services.storage.s3 import S3Objects
from services.storage.s3_client import S3Endpoint, s3_client


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What was measured, in MiB/s, the median of the rounds."""

    upload: float
    download: float
    boto3_upload: float
    boto3_download: float

    @property
    def upload_ratio(self) -> float:
        """The adapter's upload as a multiple of boto3's."""
        return self.upload / self.boto3_upload

    @property
    def download_ratio(self) -> float:
        """The adapter's download as a multiple of boto3's."""
        return self.download / self.boto3_download


class Endless(io.RawIOBase):
    """So many bytes of nothing in particular, made as they are read."""

    def __init__(self, size: int, block: bytes) -> None:
        self._left = size
        self._block = block

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, count: int = -1) -> bytes:
        """At most count bytes; what is left where negative."""
        count = min(self._left, count if count >= 0 else self._left)
        self._left -= count
        whole, rest = divmod(count, len(self._block))
        return self._block * whole + self._block[:rest]


class Sink(io.RawIOBase):
    """Takes everything and keeps nothing."""

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, data: Any) -> int:
        """All of it."""
        return len(data)


def compare(
    *,
    url: str,
    access_key: str,
    secret_key: str,
    prefix: ObjectPrefix,
    size: int = 256 * 1024**2,
    rounds: int = 3,
) -> Throughput:
    """Uploads and downloads an object of size bytes both ways in turn. The prefix's bucket must be there."""
    endpoint = S3Endpoint(region="us-east-1", url=url, path_style=True)
    client = s3_client(endpoint, Credentials(access_key, secret_key))
    plain = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
    )
    block = os.urandom(CHUNK_BYTES)
    key = prefix.key("boto3")
    taken: dict[str, list[float]] = {name: [] for name in ("up", "down", "plain up", "plain down")}
    for _ in range(rounds):
        begun = time.perf_counter()
        plain.upload_fileobj(Endless(size, block), prefix.bucket, key)
        taken["plain up"].append(time.perf_counter() - begun)
        begun = time.perf_counter()
        plain.download_fileobj(prefix.bucket, key, Sink())
        taken["plain down"].append(time.perf_counter() - begun)
        up, down = asyncio.run(_round(client, prefix, size, block))
        taken["up"].append(up)
        taken["down"].append(down)
    plain.close()
    client.close()
    speed = {name: size / 1024**2 / statistics.median(times) for name, times in taken.items()}
    return Throughput(
        upload=speed["up"],
        download=speed["down"],
        boto3_upload=speed["plain up"],
        boto3_download=speed["plain down"],
    )


async def _round(client: Any, prefix: ObjectPrefix, size: int, block: bytes) -> tuple[float, float]:
    objects = S3Objects(client)

    async def content() -> AsyncIterator[bytes]:
        for _ in range(size // len(block)):
            yield block

    begun = time.perf_counter()
    await objects.put(prefix, "silo", content(), Upload(content_type="application/octet-stream"))
    up = time.perf_counter() - begun
    begun = time.perf_counter()
    async with await objects.get(prefix, "silo") as found:
        async for _ in found.chunks():
            pass
    down = time.perf_counter() - begun
    await objects.settle()
    return up, down


def main() -> None:
    """Starts a server, compares and prints."""
    from tests.contexts import PLACEMENT, make_context  # noqa: PLC0415 - the benchmark alone needs them
    from tests.engines.servers.s3 import start_s3  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder, start_s3(Path(folder)) as server:
        server.client("s3").create_bucket(Bucket=PLACEMENT.bucket)
        found = compare(
            url=server.url,
            access_key=server.access_key,
            secret_key=server.secret_key,
            prefix=make_context("a", audience="storage").objects,
            size=int(sys.argv[1]) * 1024**2 if len(sys.argv) > 1 else 256 * 1024**2,
        )
    print(
        f"upload   {found.upload:7.0f} MiB/s   boto3 {found.boto3_upload:7.0f}   {found.upload_ratio:.2f}x"
    )
    print(
        f"download {found.download:7.0f} MiB/s   boto3 {found.boto3_download:7.0f}"
        f"   {found.download_ratio:.2f}x"
    )


if __name__ == "__main__":
    main()
