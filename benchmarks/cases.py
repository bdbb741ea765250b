"""The cases: each drives the running system beside its peers, in turn, and gives figures and ratios."""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from benchmarks.load import Load, drive_grpc, drive_http
from benchmarks.processes import (
    await_grpc,
    await_http,
    cpu_seconds,
    peak_memory,
    peer,
    reset_peak_memory,
)
from boundary.tenants import LiveCalls, TenantStates
from devstack.addresses import Addresses
from devstack.stack import Stack
from gateway.contexts import ContextCache
from gateway.resolution import Resolution
from silo.data.v1 import campaign_pb2, campaign_pb2_grpc
from silo.resolver.v1 import context_pb2, tenant_pb2, tenant_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc

GET_CAMPAIGN = "/silo.data.v1.CampaignService/GetCampaign"
ECHO = "/silo.data.v1.CampaignService/Echo"
RESOLVE = "/silo.resolver.v1.ContextService/ResolveTenant"
GIB = 1024 * 1024 * 1024
CHUNK = 1024 * 1024

Metadata = tuple[tuple[str, str], ...]


@dataclass(kw_only=True)
class Result:
    """What a case found.

    Attributes:
        name: the case.
        figures: rows of name and value, with units in the names.
        targets: what was to be reached: a name, the figure, the bound, and whether it holds.
    """

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    targets: list[tuple[str, float, str, bool]] = field(default_factory=list)

    def at_most(self, name: str, value: float, bound: float) -> None:
        """Notes a target that is an upper bound."""
        self.targets.append((name, round(value, 4), f"<= {bound}", value <= bound))

    def at_least(self, name: str, value: float, bound: float) -> None:
        """Notes a target that is a lower bound."""
        self.targets.append((name, round(value, 4), f">= {bound}", value >= bound))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One round of a contender: microseconds of CPU a request, requests a second, latency in ms."""

    cpu: float
    rate: float
    p50: float
    p99: float


def sample(pids: Sequence[int], requests: int, drive: Callable[[], Load]) -> Sample:
    """Drives one round and takes what the processes used."""
    before = cpu_seconds(pids)
    load = drive()
    used = cpu_seconds(pids) - before
    return Sample(
        cpu=used / requests * 1e6,
        rate=load.rate,
        p50=load.percentile(50),
        p99=load.percentile(99),
    )


def in_turn(
    contenders: dict[str, tuple[Sequence[int], Callable[[int, int], Load]]],
    *,
    rounds: int,
    requests: int,
    concurrency: int,
) -> dict[str, list[Sample]]:
    """Rounds of every contender in turn, so that the machine's moods fall on all of them."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (pids, drive) in contenders.items():
            samples[name].append(
                sample(pids, requests, lambda drive=drive: drive(requests, concurrency))
            )
    return samples


def paired_ratio(
    samples: dict[str, list[Sample]], one: str, other: str, figure: Callable[[Sample], float]
) -> float:
    """The median over the rounds of one's figure over the other's in the same round."""
    return statistics.median(
        figure(a) / figure(b) for a, b in zip(samples[one], samples[other], strict=True)
    )


def note(result: Result, label: str, samples: dict[str, list[Sample]]) -> None:
    """Writes the medians of every contender into the result."""
    for name, rows in samples.items():
        result.figures[f"{label} {name}: CPU us/request"] = _median(row.cpu for row in rows)
        result.figures[f"{label} {name}: requests/s"] = _median(row.rate for row in rows)
        result.figures[f"{label} {name}: p50 ms"] = _median(row.p50 for row in rows)
        result.figures[f"{label} {name}: p99 ms"] = _median(row.p99 for row in rows)


def _median(values: Iterator[float]) -> float:
    return round(statistics.median(values), 3)


def campaign_payload(stack: Stack) -> bytes:
    """Creates the campaign that is read, and gives the request for it."""
    with grpc.insecure_channel(stack.gateway) as channel:
        stub = campaign_pb2_grpc.CampaignServiceStub(channel)
        stub.CreateCampaign(
            campaign_pb2.CreateCampaignRequest(
                campaign_id="bench",
                request_id="bench",
                campaign=campaign_pb2.Campaign(
                    display_name="Spring sale",
                    subject="Everything must go",
                    from_address="news@a.example",
                    template="templates/spring",
                    recipient_list="lists/everyone",
                ),
            ),
            metadata=bearer(stack.token("A")),
        )
    return campaign_pb2.GetCampaignRequest(name="campaigns/bench").SerializeToString()


def bearer(token: str) -> Metadata:
    """Metadata with a caller's JWT."""
    return (("authorization", f"Bearer {token}"),)


def two_hops(stack: Stack, *, rounds: int, requests: int) -> Result:
    """GetCampaign through gateway and data, beside the same two hops bare, and beside a monolith."""
    result = Result(name="GetCampaign: the suite, the bare two hops, a FastAPI monolith")
    payload = campaign_payload(stack)
    ports = Addresses.free()
    bare_data, bare_proxy = ports.grpc["data"], ports.grpc["gateway"]
    stub_port = ports.http["data"].rpartition(":")[2]
    monolith = ports.http["gateway"]
    environment = {
        **os.environ,
        "MONOLITH_JWKS": str(stack.home / "dev-issuer" / "jwks.json"),
        "MONOLITH_DYNAMODB": f"http://127.0.0.1:{stub_port}",
    }
    table = str(stack.home / "table" / "table.db")
    uvicorn = ["benchmarks.monolith:app", "--port", monolith.rpartition(":")[2]]
    uvicorn += [
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--no-access-log",
        "--log-level",
        "error",
    ]
    with (
        peer("benchmarks.bare", ["data", bare_data, table, "A"], environment=environment) as data,
        peer("benchmarks.bare", ["proxy", bare_proxy, bare_data], environment=environment) as proxy,
        peer("benchmarks.dynamodb_stub", [stub_port], environment=environment),
        peer("uvicorn", uvicorn, environment=environment) as fastapi,
    ):
        for address in (bare_data, bare_proxy):
            await_grpc(address)
        await_http(f"http://127.0.0.1:{stub_port}/")
        await_http(f"http://{monolith}/docs")
        pids = stack.pids()
        token = stack.token("A")
        headers = {"authorization": f"Bearer {token}"}
        url = f"http://{monolith}/campaigns/bench"
        contenders: dict[str, tuple[Sequence[int], Callable[[int, int], Load]]] = {
            "suite": (
                [pids["gateway"], pids["data"]],
                _grpc_driver(stack.gateway, GET_CAMPAIGN, payload, [bearer(token)]),
            ),
            "bare two hops": (
                [proxy.pid, data.pid],
                _grpc_driver(bare_proxy, GET_CAMPAIGN, payload, [()]),
            ),
            "monolith": (
                [fastapi.pid],
                lambda n, c: drive_http(url, headers=headers, requests=n, concurrency=c),
            ),
        }
        in_turn(contenders, rounds=1, requests=requests // 2, concurrency=8)  # warms up
        for concurrency in (1, 32):
            samples = in_turn(contenders, rounds=rounds, requests=requests, concurrency=concurrency)
            label = f"concurrency {concurrency},"
            note(result, label, samples)
            bare = paired_ratio(samples, "suite", "bare two hops", lambda s: s.cpu)
            result.at_most(f"{label} CPU of the suite / bare two hops", bare, 1.25)
            latency = paired_ratio(samples, "suite", "bare two hops", lambda s: s.p50)
            result.at_most(f"{label} p50 latency of the suite / bare two hops", latency, 1.25)
            cpu = paired_ratio(samples, "suite", "monolith", lambda s: s.cpu)
            result.at_most(f"{label} CPU of the suite / monolith", cpu, 0.75)
            if concurrency > 1:
                rate = paired_ratio(samples, "suite", "monolith", lambda s: s.rate)
                result.at_least(f"{label} throughput of the suite / monolith", rate, 2.0)
    return result


def audit_modes(batched: Stack, strict: Stack, *, rounds: int, requests: int) -> Result:
    """GetCampaign where calls wait until their audit record is durable, beside where they do not."""
    result = Result(name="GetCampaign: audit records durable before the answer, and 200 ms later")
    contenders: dict[str, tuple[Sequence[int], Callable[[int, int], Load]]] = {}
    for name, stack in (("batched", batched), ("strict", strict)):
        payload, pids = campaign_payload(stack), stack.pids()
        driver = _grpc_driver(stack.gateway, GET_CAMPAIGN, payload, [bearer(stack.token("A"))])
        contenders[name] = ([pids["gateway"], pids["data"]], driver)
    in_turn(contenders, rounds=1, requests=requests // 2, concurrency=8)  # warms up
    for concurrency in (1, 32):
        samples = in_turn(contenders, rounds=rounds, requests=requests, concurrency=concurrency)
        label = f"concurrency {concurrency},"
        note(result, label, samples)
        for figure, of in (("CPU", lambda s: s.cpu), ("p50 latency", lambda s: s.p50)):
            ratio = paired_ratio(samples, "strict", "batched", of)
            result.figures[f"{label} {figure} of strict / batched"] = round(ratio, 3)
    return result


def _grpc_driver(
    address: str, path: str, payload: bytes, metadata: Sequence[Metadata]
) -> Callable[[int, int], Load]:
    return lambda requests, concurrency: drive_grpc(
        address, path, payload, metadata=metadata, requests=requests, concurrency=concurrency
    )


def resolution(stack: Stack, bare_cpu: float, *, rounds: int, requests: int) -> Result:
    """Context resolution: cached against the bare two hops' CPU, uncached against one bare unary call."""
    result = Result(name="Context resolution")
    cached = _cached_resolution_micros(stack)
    result.figures["cached: CPU us/resolution"] = round(cached, 3)
    result.at_most("cached resolution / bare two hops, CPU", cached / bare_cpu, 0.03)
    listen = Addresses.free().grpc["data"]
    table = str(stack.home / "table" / "table.db")
    payload = context_pb2.ResolveTenantRequest(audience="data").SerializeToString()
    with peer("benchmarks.bare", ["data", listen, table, "A"], environment=os.environ) as bare:
        await_grpc(listen)
        driven = os.getpid()
        samples: dict[str, list[Sample]] = {"uncached": [], "bare unary": []}
        for turn in range(rounds + 1):
            # Every token is new, so that the resolver verifies each one.
            tokens = [
                bearer(stack.token("A", subject=f"caller-{turn}-{number}"))
                for number in range(requests)
            ]
            contenders = {
                "uncached": (
                    [stack.pids()["resolver"], driven],
                    _grpc_driver(stack.addresses.dial("resolver"), RESOLVE, payload, tokens),
                ),
                "bare unary": (
                    [bare.pid, driven],
                    _grpc_driver(listen, ECHO, b"x" * 64, [()]),
                ),
            }
            taken = in_turn(contenders, rounds=1, requests=requests, concurrency=1)
            if turn:  # the first round warms up
                for name, rows in taken.items():
                    samples[name] += rows
    note(result, "client and server,", samples)
    ratio = paired_ratio(samples, "uncached", "bare unary", lambda s: s.cpu)
    result.at_most("uncached resolution / bare unary call, CPU", ratio, 3.0)
    return result


def _cached_resolution_micros(stack: Stack) -> float:
    """Microseconds of CPU for a resolution that the gateway's cache answers."""

    async def run() -> float:
        async with grpc.aio.insecure_channel(stack.addresses.dial("resolver")) as channel:
            from boundary.issuers import load_issuers  # noqa: PLC0415
            from boundary.settings import ProcessSettings  # noqa: PLC0415
            from boundary.tokens import TokenVerifier  # noqa: PLC0415

            verifier = TokenVerifier(
                load_issuers(ProcessSettings(home=stack.home, environment="development"))
            )
            cache = ContextCache(Resolution(channel), states=TenantStates(LiveCalls()))
            authorization = f"Bearer {stack.token('A')}"
            count = 20_000
            samples = []
            for _ in range(5):
                before = time.process_time()
                for _ in range(count):
                    caller = await verifier.verify(authorization)
                    await cache.resolve(caller, "data", request_id="bench")
                samples.append((time.process_time() - before) / count * 1e6)
            return statistics.median(samples)

    return asyncio.run(run())


def big_object(stack: Stack) -> Result:
    """Uploads and downloads 1 GiB and takes the peak memory of gateway and storage."""
    result = Result(name="A 1 GiB object through gateway and storage")
    pids = {name: stack.pids()[name] for name in ("gateway", "storage")}
    chunk = os.urandom(CHUNK)
    options = [("grpc.max_receive_message_length", 8 * CHUNK)]
    with grpc.insecure_channel(stack.gateway, options=options) as channel:
        stub = object_pb2_grpc.ObjectServiceStub(channel)
        metadata = bearer(stack.token("A"))

        def parts() -> Iterator[object_pb2.UploadObjectRequest]:
            yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="exports/big"))
            for _ in range(GIB // CHUNK):
                yield object_pb2.UploadObjectRequest(chunk=chunk)

        def upload() -> None:
            stub.UploadObject(parts(), metadata=metadata)

        def download() -> None:
            request = object_pb2.DownloadObjectRequest(path="exports/big")
            size = sum(len(r.chunk) for r in stub.DownloadObject(request, metadata=metadata))
            assert size == GIB

        for name, transfer in (("upload", upload), ("download", download)):
            for pid in pids.values():
                reset_peak_memory(pid)
            began = time.perf_counter()
            transfer()
            result.figures[f"{name}: MB/s"] = round(GIB / 1e6 / (time.perf_counter() - began), 1)
            for process, pid in pids.items():
                peak = peak_memory(pid) / 1024 / 1024
                result.at_most(f"{name}: peak memory of {process}, MiB", peak, 150)
        stub.DeleteObject(object_pb2.DeleteObjectRequest(path="exports/big"), metadata=metadata)
    return result


def suspension(stack: Stack, *, rounds: int) -> Result:
    """How long after a suspension is answered the tenant's calls are still served, streams included."""
    result = Result(name="Suspension")
    calls, streams = [], []
    with grpc.insecure_channel(stack.gateway) as channel:
        tenants = tenant_pb2_grpc.TenantServiceStub(channel)
        campaigns = campaign_pb2_grpc.CampaignServiceStub(channel)
        objects = object_pb2_grpc.ObjectServiceStub(channel)
        operator, caller = bearer(stack.operator_token()), bearer(stack.token("C"))
        name = "tenants/C"
        for _ in range(rounds):
            ended: dict[str, float] = {}

            def stream(ended: dict[str, float] = ended) -> None:
                def parts() -> Iterator[object_pb2.UploadObjectRequest]:
                    spec = object_pb2.UploadSpec(path="exports/endless")
                    yield object_pb2.UploadObjectRequest(spec=spec)
                    while not ended:
                        time.sleep(0.002)
                        yield object_pb2.UploadObjectRequest(chunk=b"x" * 1024)

                try:
                    objects.UploadObject(parts(), metadata=caller)
                except grpc.RpcError:
                    ended["stream"] = time.perf_counter()

            thread = threading.Thread(target=stream)
            thread.start()
            campaigns.ListCampaigns(campaign_pb2.ListCampaignsRequest(), metadata=caller)
            time.sleep(0.3)
            began = time.perf_counter()
            tenants.SuspendTenant(tenant_pb2.SuspendTenantRequest(name=name), metadata=operator)
            calls.append(_until_refused(campaigns, caller) - began)
            thread.join(10)
            streams.append(ended["stream"] - began)
            tenants.ResumeTenant(tenant_pb2.ResumeTenantRequest(name=name), metadata=operator)
            _until_served(campaigns, caller)
    result.at_most("call refused, ms after asking, worst", max(calls) * 1000, 100)
    result.at_most("stream ended, ms after asking, worst", max(streams) * 1000, 100)
    return result


def _until_refused(campaigns: Any, caller: Metadata) -> float:
    while True:
        try:
            campaigns.ListCampaigns(campaign_pb2.ListCampaignsRequest(), metadata=caller)
        except grpc.RpcError:
            return time.perf_counter()


def _until_served(campaigns: Any, caller: Metadata) -> None:
    for _ in range(500):
        try:
            campaigns.ListCampaigns(campaign_pb2.ListCampaignsRequest(), metadata=caller)
            return
        except grpc.RpcError:
            time.sleep(0.01)
    raise RuntimeError("a resumed tenant is not served")
