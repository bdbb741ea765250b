"""A large object on S3, through gateway and storage, straight by boto3, and through two bare hops of gRPC."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import grpc

from benchmarks import bare_objects
from benchmarks.cases import CHUNK, Result, bearer
from benchmarks.processes import (
    await_grpc,
    cpu_seconds,
    peak_memory,
    peer,
    reset_peak_memory,
)
from benchmarks.s3_adapter import Endless, Sink
from devstack.addresses import Addresses
from devstack.stack import Stack
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.engines.servers.s3 import S3Server

MIB = 1024**2
OBJECT_BYTES = 256 * MIB
PLAIN = "bench"
OWN = "email-platform-storage"

Transfer = Callable[[], object]


def objects_through_the_suite(stack: Stack, s3: S3Server, *, rounds: int) -> Result:
    """Upload and download through gateway and storage, beside boto3's own transfers straight to the same server.

    boto3 has its own defaults: parts of 8 MiB on ten threads. It writes to a bucket without settings, and to the
    suite's, whose content the server encrypts, as it does the suite's own. The bare hops say what gRPC in Python
    leaves of boto3's throughput on this machine, whatever is done besides.
    """
    services = {name: stack.pids()[name] for name in ("gateway", "storage")}
    result = Result(name="A 256 MiB object on S3, through gateway and storage")
    with ExitStack() as ending:
        bare, bare_pids = ending.enter_context(_bare_two_hops(s3))
        contenders = {
            **ending.enter_context(_through_the_suite(stack)),
            **ending.enter_context(_through_boto3(s3)),
            **ending.enter_context(_through_bare_hops(bare)),
        }
        pids = {**services, **bare_pids, "client": os.getpid(), "the S3 server": s3.pid}
        for pid in services.values():
            reset_peak_memory(pid)
        measured = _measure(contenders, pids, rounds=rounds)
    for name, pid in services.items():
        result.figures[f"peak memory of {name}, MiB"] = round(peak_memory(pid) / MIB, 1)
    for way in ("upload", "download"):
        for bucket in ("", ", the suite's bucket"):
            ratio = measured.ratio(f"suite {way}", f"boto3 {way}{bucket}")
            result.at_least(f"{way}, throughput of the suite / boto3{bucket}", ratio, 0.7)
    result.figures |= measured.figures()
    for one, other in (
        ("suite download", "bare two hops download"),
        ("bare two hops download", "boto3 download"),
        ("bare two hops from memory", "boto3 download"),
    ):
        result.figures[f"throughput, {one} / {other}"] = round(measured.ratio(one, other), 2)
    return result


@dataclass
class _Measured:
    """MiB/s of each transfer and ms of CPU a MiB of each transfer and process, a value for each round."""

    speeds: dict[str, list[float]] = field(default_factory=dict)
    used: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def ratio(self, one: str, other: str) -> float:
        """The median of one transfer's speed as a multiple of the other's, round by round."""
        pairs = zip(self.speeds[one], self.speeds[other], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def figures(self) -> dict[str, float]:
        """The medians, but for processes that a transfer does not pass."""
        speeds = {
            f"{name}: MiB/s": round(statistics.median(found), 1)
            for name, found in self.speeds.items()
        }
        used = {
            f"{name}: CPU of {process}, ms/MiB": round(statistics.median(found), 2)
            for (name, process), found in self.used.items()
            if statistics.median(found) >= 0.1
        }
        return speeds | used


def _measure(
    contenders: Mapping[str, Transfer], pids: Mapping[str, int], *, rounds: int
) -> _Measured:
    measured = _Measured()
    for _ in range(rounds):
        # Uploads, then downloads, so that what is compared is measured within the same seconds.
        for name in sorted(contenders, key=lambda name: "upload" not in name):
            before = {process: cpu_seconds([pid]) for process, pid in pids.items()}
            began = time.perf_counter()
            contenders[name]()
            speed = OBJECT_BYTES / MIB / (time.perf_counter() - began)
            measured.speeds.setdefault(name, []).append(speed)
            for process, pid in pids.items():
                seconds = cpu_seconds([pid]) - before[process]
                taken = seconds / (OBJECT_BYTES / MIB) * 1e3
                measured.used.setdefault((name, process), []).append(taken)
    return measured


@contextmanager
def _through_the_suite(stack: Stack) -> Iterator[dict[str, Transfer]]:
    block = bytes(CHUNK)
    metadata = bearer(stack.token("A"))
    with _channel(stack.gateway) as channel:
        stub = object_pb2_grpc.ObjectServiceStub(channel)

        def requests() -> Iterator[object_pb2.UploadObjectRequest]:
            yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="exports/bench"))
            for _ in range(OBJECT_BYTES // CHUNK):
                yield object_pb2.UploadObjectRequest(chunk=block)

        def download() -> None:
            request = object_pb2.DownloadObjectRequest(path="exports/bench")
            size = sum(len(r.chunk) for r in stub.DownloadObject(request, metadata=metadata))
            assert size == OBJECT_BYTES

        yield {
            "suite upload": lambda: stub.UploadObject(requests(), metadata=metadata),
            "suite download": download,
        }


@contextmanager
def _through_boto3(s3: S3Server) -> Iterator[dict[str, Transfer]]:
    client = s3.client("s3")
    client.create_bucket(Bucket=PLAIN)
    block = bytes(CHUNK)

    def put(bucket: str) -> None:
        client.upload_fileobj(Endless(OBJECT_BYTES, block), bucket, "bench/object")

    def get(bucket: str) -> None:
        client.download_fileobj(bucket, "bench/object", Sink())

    yield {
        "boto3 upload": lambda: put(PLAIN),
        "boto3 upload, the suite's bucket": lambda: put(OWN),
        "boto3 download": lambda: get(PLAIN),
        "boto3 download, the suite's bucket": lambda: get(OWN),
    }
    client.close()


@contextmanager
def _through_bare_hops(proxy: str) -> Iterator[dict[str, Transfer]]:
    with _channel(proxy) as channel:
        download = channel.unary_stream(bare_objects.DOWNLOAD)
        from_memory = channel.unary_stream(bare_objects.FROM_MEMORY)

        def get(call: Callable[[bytes], Iterator[bytes]], message: bytes) -> None:
            assert sum(map(len, call(message))) == OBJECT_BYTES

        yield {
            "bare two hops download": lambda: get(download, b""),
            "bare two hops from memory": lambda: get(from_memory, str(OBJECT_BYTES).encode()),
        }


def _channel(target: str) -> grpc.Channel:
    return grpc.insecure_channel(target, options=[("grpc.max_receive_message_length", 8 * CHUNK)])


@contextmanager
def _bare_two_hops(s3: S3Server) -> Iterator[tuple[str, dict[str, int]]]:
    """Where the bare proxy serves the object that boto3 has stored, and the ids of the two processes."""
    ports = Addresses.free().grpc
    storage, proxy = ports["storage"], ports["gateway"]
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
    }
    module, place = "benchmarks.bare_objects", (s3.url, PLAIN, "bench/object")
    with (
        peer(module, ["storage", storage, *place], environment=environment) as behind,
        peer(module, ["proxy", proxy, storage], environment=environment) as before,
    ):
        await_grpc(storage)
        await_grpc(proxy)
        yield proxy, {"the bare proxy": before.pid, "the bare storage": behind.pid}
