"""The cases on production engines: adapters beside their bare clients, objects through the suite, and purges."""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop

from benchmarks import bare_objects
from benchmarks.cases import CHUNK, Result, bearer
from benchmarks.dynamodb_adapter import dynamodb_adapter, prepare
from benchmarks.opensearch_adapter import bulk_ingest
from benchmarks.processes import (
    await_grpc,
    cpu_seconds,
    peak_memory,
    peer,
    reset_peak_memory,
)
from benchmarks.purge_engines import purge_engines
from benchmarks.s3_adapter import Endless, Sink
from devstack.addresses import Addresses
from devstack.stack import Stack
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.contexts import make_context
from tests.engines.production import REGION, environment_on, region_on
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
        region = region_on(dynamodb=dynamodb.endpoint, s3=s3, opensearch=opensearch.url)
        environment = environment_on(folder, s3=s3, regions={REGION: region})
        with Stack(home=folder / "home", environment=environment) as stack:
            results.append(objects_through_the_suite(stack, s3, rounds=rounds))
        results += purge_engines(dynamodb=dynamodb.endpoint, s3=s3, opensearch=opensearch.url)
    return results


def objects_through_the_suite(stack: Stack, s3: S3Server, *, rounds: int) -> Result:
    """Upload and download through gateway and storage, beside boto3's own transfers straight to the same server.

    boto3 has its own defaults: parts of 8 MiB on ten threads. It writes to a bucket without settings, and to the
    suite's, whose content the server encrypts, as it does the suite's own.
    """
    result = Result(name="A 256 MiB object on S3, through gateway and storage")
    block = bytes(CHUNK)
    plain = s3.client("s3")
    plain.create_bucket(Bucket="bench")
    own = "email-platform-storage"
    options = [("grpc.max_receive_message_length", 8 * CHUNK)]
    with (
        grpc.insecure_channel(stack.gateway, options=options) as channel,
        _bare_two_hops(s3) as bare,
        grpc.insecure_channel(bare, options=options) as bare_channel,
    ):
        bare_download = bare_channel.unary_stream(bare_objects.PATH)
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

        def put(bucket: str) -> None:
            plain.upload_fileobj(Endless(OBJECT_BYTES, block), bucket, "bench/object")

        def get(bucket: str) -> None:
            plain.download_fileobj(bucket, "bench/object", Sink())

        def get_by_bare_hops() -> None:
            assert sum(map(len, bare_download(b""))) == OBJECT_BYTES

        contenders: dict[str, Callable[[], Any]] = {
            "suite upload": lambda: stub.UploadObject(requests(), metadata=metadata),
            "boto3 upload": lambda: put("bench"),
            "boto3 upload, the suite's bucket": lambda: put(own),
            "suite download": download,
            "boto3 download": lambda: get("bench"),
            "boto3 download, the suite's bucket": lambda: get(own),
            "bare two hops download": get_by_bare_hops,
        }
        pids = {name: stack.pids()[name] for name in ("gateway", "storage")}
        pids |= {"client": os.getpid(), "the S3 server": s3.pid}
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        used: dict[str, list[float]] = {}
        for pid in pids.values():
            reset_peak_memory(pid)
        for _ in range(rounds):
            for name, transfer in contenders.items():
                before = {process: cpu_seconds([pid]) for process, pid in pids.items()}
                began = time.perf_counter()
                transfer()
                speeds[name].append(OBJECT_BYTES / 1024**2 / (time.perf_counter() - began))
                for process, pid in pids.items():
                    seconds = cpu_seconds([pid]) - before[process]
                    per_mib = seconds / (OBJECT_BYTES / 1024**2) * 1e3
                    used.setdefault(f"{name}: CPU of {process}, ms/MiB", []).append(per_mib)
        for process in ("gateway", "storage"):
            peak = peak_memory(pids[process]) / 1024**2
            result.figures[f"peak memory of {process}, MiB"] = round(peak, 1)
    plain.close()
    for name, found in speeds.items():
        result.figures[f"{name}: MiB/s"] = round(statistics.median(found), 1)
    for name, taken in used.items():
        if statistics.median(taken) >= 0.01:  # boto3 does not pass gateway and storage
            result.figures[name] = round(statistics.median(taken), 2)
    for way in ("upload", "download"):
        for bucket in ("", ", the suite's bucket"):
            peer = speeds[f"boto3 {way}{bucket}"]
            pairs = zip(speeds[f"suite {way}"], peer, strict=True)
            ratio = statistics.median(ours / theirs for ours, theirs in pairs)
            result.at_least(f"{way}, throughput of the suite / boto3{bucket}", ratio, 0.7)
    # What two hops of gRPC leave of boto3's throughput on this machine, whatever they do besides.
    bare_speeds = speeds["bare two hops download"]
    for name, peers in (
        ("the suite / bare two hops", zip(speeds["suite download"], bare_speeds, strict=True)),
        ("bare two hops / boto3", zip(bare_speeds, speeds["boto3 download"], strict=True)),
    ):
        ratio = statistics.median(ours / theirs for ours, theirs in peers)
        result.figures[f"download, throughput of {name}"] = round(ratio, 2)
    return result


@contextmanager
def _bare_two_hops(s3: S3Server) -> Iterator[str]:
    """Where the bare proxy serves the object that boto3 has stored."""
    ports = Addresses.free().grpc
    storage, proxy = ports["storage"], ports["gateway"]
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
    }
    module, place = "benchmarks.bare_objects", (s3.url, "bench", "bench/object")
    with (
        peer(module, ["storage", storage, *place], environment=environment),
        peer(module, ["proxy", proxy, storage], environment=environment),
    ):
        await_grpc(storage)
        await_grpc(proxy)
        yield proxy
