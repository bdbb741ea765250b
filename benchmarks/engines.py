"""The cases on production engines: each adapter beside its bare client, and objects through the whole suite."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import uvloop
from boto3.s3.transfer import TransferConfig

from benchmarks.cases import CHUNK, Result, bearer
from benchmarks.dynamodb_adapter import dynamodb_adapter, prepare
from benchmarks.opensearch_adapter import bulk_ingest
from benchmarks.s3_adapter import Endless, Sink
from devstack.stack import Stack
from services.storage.s3_upload import PART_BYTES
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.contexts import make_context
from tests.engines.production import environment_on
from tests.engines.servers.dynamodb import start_dynamodb
from tests.engines.servers.opensearch import start_opensearch
from tests.engines.servers.s3 import S3Server, start_s3

OBJECT_BYTES = 256 * 1024 * 1024


def engine_cases(*, rounds: int) -> list[Result]:
    """Starts the engines and runs every case against them; none of it is run where they cannot be had."""
    with (
        tempfile.TemporaryDirectory(prefix="silo-bench-engines-") as name,
        start_dynamodb() as dynamodb,
        start_s3(Path(name) / "s3") as s3,
        start_opensearch(Path(name) / "opensearch") as opensearch,
    ):
        folder = Path(name)
        uvloop.run(prepare(dynamodb.endpoint))
        results = [
            dynamodb_adapter(dynamodb.endpoint, rounds=rounds),
            asyncio.run(bulk_ingest(opensearch.url, make_context("Bench").index)),
        ]
        environment = environment_on(
            folder, dynamodb=dynamodb.endpoint, s3=s3, opensearch=opensearch.url
        )
        with Stack(home=folder / "home", environment=environment) as stack:
            results.append(objects_through_the_suite(stack, s3, rounds=rounds))
    return results


def objects_through_the_suite(stack: Stack, s3: S3Server, *, rounds: int) -> Result:
    """Upload and download through gateway and storage, beside boto3 straight to the same server."""
    result = Result(name="A 256 MiB object on S3, through gateway and storage")
    block = bytes(CHUNK)
    plain = s3.client("s3")
    plain.create_bucket(Bucket="bench")
    config = TransferConfig(
        multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4
    )
    options = [("grpc.max_receive_message_length", 8 * CHUNK)]
    with grpc.insecure_channel(stack.gateway, options=options) as channel:
        stub = object_pb2_grpc.ObjectServiceStub(channel)
        metadata = bearer(stack.token("A"))

        def requests() -> Iterator[object_pb2.UploadObjectRequest]:
            yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="exports/bench"))
            for _ in range(OBJECT_BYTES // CHUNK):
                yield object_pb2.UploadObjectRequest(chunk=block)

        def download() -> None:
            request = object_pb2.DownloadObjectRequest(path="exports/bench")
            size = sum(len(r.chunk) for r in stub.DownloadObject(request, metadata=metadata))
            assert size == OBJECT_BYTES

        contenders: dict[str, Callable[[], Any]] = {
            "suite upload": lambda: stub.UploadObject(requests(), metadata=metadata),
            "boto3 upload": lambda: plain.upload_fileobj(
                Endless(OBJECT_BYTES, block), "bench", "object", Config=config
            ),
            "suite download": download,
            "boto3 download": lambda: plain.download_fileobj(
                "bench", "object", Sink(), Config=config
            ),
        }
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, transfer in contenders.items():
                began = time.perf_counter()
                transfer()
                speeds[name].append(OBJECT_BYTES / 1024**2 / (time.perf_counter() - began))
    plain.close()
    for name, found in speeds.items():
        result.figures[f"{name}: MiB/s"] = round(statistics.median(found), 1)
    for way in ("upload", "download"):
        pairs = zip(speeds[f"suite {way}"], speeds[f"boto3 {way}"], strict=True)
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        result.at_least(f"{way}, throughput of the suite / boto3", ratio, 0.7)
    return result
