"""Mutual TLS over loopback: who is let in, who is not, and a certificate that is renewed under way."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from boundary.channel import open_channel
from boundary.http import HttpServer
from boundary.interceptors.chain import Chain
from boundary.interceptors.shapes import ByPath
from boundary.metrics import CallMetrics
from boundary.server import Server
from boundary.tls import CA, CERTIFICATE, PRIVATE_KEY, Tls, TlsError, load_tls
from devstack.addresses import Addresses
from devstack.certificates import Authority
from devstack.readiness import is_ready

SECONDS = 5.0


@asynccontextmanager
async def served(tls: Tls | None, *, http: str = "127.0.0.1:0") -> AsyncIterator[Server]:
    """A server of the suite with nothing but health."""
    side = HttpServer(http, metrics=CallMetrics(), ready=lambda: True)
    server = Server(
        name="data",
        listen="127.0.0.1:0",
        handler=ByPath({}, Chain([])),
        services=(),
        http=side,
        tls=tls,
        drain_seconds=0.0,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def check(port: int, tls: Tls | None, *, host: str = "localhost") -> int:
    """The health that a caller with these credentials sees.

    Raises:
        AioRpcError: the server or the caller refuses the other.
    """
    async with open_channel(f"{host}:{port}", tls=tls, own_connection=True) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        status: int = answer.status
        return status


async def refused(port: int, tls: Tls | None, *, host: str = "localhost") -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await check(port, tls, host=host)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def issued(authority: Authority, folder: Path, *names: str, days: float = 1) -> Tls:
    """Credentials of their own for a process."""
    authority.issue(folder, *names, life=datetime.timedelta(days=days))
    return Tls(folder)


@pytest.fixture
def authority() -> Authority:
    return Authority.new()


@pytest.fixture
def server_tls(authority: Authority, tmp_path: Path) -> Tls:
    """The server's credentials; it is dialled as localhost."""
    return issued(authority, tmp_path / "data", "localhost")


async def test_two_processes_of_the_suite_reach_each_other(
    authority: Authority, server_tls: Tls, tmp_path: Path
) -> None:
    gateway = issued(authority, tmp_path / "gateway", "gateway")
    async with served(server_tls) as server:
        assert await check(server.port, gateway) == health_pb2.HealthCheckResponse.SERVING


async def test_a_caller_without_a_certificate_is_refused(
    server_tls: Tls, authority: Authority, tmp_path: Path
) -> None:
    nobody = grpc.ssl_channel_credentials(root_certificates=(tmp_path / "data" / CA).read_bytes())
    async with served(server_tls) as server:
        async with grpc.aio.secure_channel(f"localhost:{server.port}", nobody) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        await refused(server.port, None)  # in the clear


@pytest.mark.parametrize("wrong", ["foreign", "self-made", "expired"])
async def test_a_caller_with_a_wrong_certificate_is_refused(
    authority: Authority, server_tls: Tls, tmp_path: Path, wrong: str
) -> None:
    folder = tmp_path / "caller"
    if wrong == "foreign":
        issued(Authority.new(), folder, "gateway")
        (folder / CA).write_bytes((tmp_path / "data" / CA).read_bytes())
    elif wrong == "self-made":  # an authority of the same name and a key of its own
        Authority.new().issue(folder, "gateway")
        (folder / CA).write_bytes((tmp_path / "data" / CA).read_bytes())
    else:
        issued(authority, folder, "gateway", days=-0.001)
    async with served(server_tls) as server:
        await refused(server.port, Tls(folder))


async def test_a_server_is_refused_that_is_not_who_was_dialled(
    authority: Authority, tmp_path: Path
) -> None:
    gateway = issued(authority, tmp_path / "gateway", "gateway")
    async with served(issued(authority, tmp_path / "search", "search")) as server:
        await refused(server.port, gateway)
        await refused(server.port, gateway, host="127.0.0.1")


async def test_a_server_of_another_authority_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    # It would let anyone in; the caller is the one who refuses.
    issued(Authority.new(), tmp_path / "fake", "localhost")
    fake = Tls(tmp_path / "fake", mutual=False)
    gateway = issued(authority, tmp_path / "gateway", "gateway")
    async with served(fake) as server:
        await refused(server.port, gateway)


async def test_a_server_that_is_not_mutual_asks_callers_for_nothing(
    authority: Authority, tmp_path: Path
) -> None:
    authority.issue(tmp_path / "edge", "localhost")
    ca = (tmp_path / "edge" / CA).read_bytes()
    (tmp_path / "edge" / CA).unlink()
    edge = load_tls(tmp_path / "edge", mutual=False)
    async with served(edge) as server:
        credentials = grpc.ssl_channel_credentials(root_certificates=ca)
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)


async def test_a_renewed_certificate_is_served_without_a_restart(
    authority: Authority, server_tls: Tls, tmp_path: Path
) -> None:
    gateway = issued(authority, tmp_path / "gateway", "gateway")
    async with served(server_tls) as server:
        await check(server.port, gateway)
        first = await serial_served(server.port, gateway)
        folder = tmp_path / "data"
        authority.issue(folder, "localhost")
        renewed = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
        assert await serial_served(server.port, gateway) == renewed.serial_number != first


async def test_a_half_renewed_certificate_is_not_served(
    authority: Authority, server_tls: Tls, tmp_path: Path
) -> None:
    gateway = issued(authority, tmp_path / "gateway", "gateway")
    async with served(server_tls) as server:
        first = await serial_served(server.port, gateway)
        authority.issue(tmp_path / "next", "localhost")
        key = (tmp_path / "next" / PRIVATE_KEY).read_bytes()
        (tmp_path / "data" / PRIVATE_KEY).write_bytes(key)
        assert await serial_served(server.port, gateway) == first
        certificate = (tmp_path / "next" / CERTIFICATE).read_bytes()
        (tmp_path / "data" / CERTIFICATE).write_bytes(certificate)
        assert await serial_served(server.port, gateway) != first


async def serial_served(port: int, tls: Tls) -> int:
    """The serial number of the certificate that the server shows to a new connection."""
    async with open_channel(f"localhost:{port}", tls=tls, own_connection=True) as channel:
        call = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=SECONDS
        )
        await call
    context = ssl.create_default_context(cafile=str(tls._folder / CA))
    context.load_cert_chain(tls._folder / CERTIFICATE, tls._folder / PRIVATE_KEY)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname="localhost"
    )
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(shown).serial_number


async def test_health_over_http_needs_no_certificate(server_tls: Tls) -> None:
    address = Addresses.free().http["data"]
    async with served(server_tls, http=address):
        assert await asyncio.to_thread(is_ready, address)


@pytest.mark.parametrize("missing", [CA, CERTIFICATE, PRIVATE_KEY])
def test_a_process_does_not_start_without_its_files(
    authority: Authority, tmp_path: Path, missing: str
) -> None:
    authority.issue(tmp_path, "data")
    (tmp_path / missing).unlink()
    with pytest.raises(TlsError, match=missing):
        Tls(tmp_path)


def test_a_process_does_not_start_with_anothers_key(authority: Authority, tmp_path: Path) -> None:
    authority.issue(tmp_path / "data", "data")
    authority.issue(tmp_path / "search", "search")
    (tmp_path / "data" / PRIVATE_KEY).write_bytes((tmp_path / "search" / PRIVATE_KEY).read_bytes())
    with pytest.raises(TlsError, match="is not the key"):
        Tls(tmp_path / "data")


def test_without_a_folder_there_is_no_tls() -> None:
    assert load_tls(None) is None
