"""The whole suite with mutual TLS between its processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from boundary.tls import Tls
from devstack.certificates import Authority
from devstack.settings import inherited_environment
from devstack.stack import Stack
from tests.e2e.test_kill import Client

SERVICES = ("resolver", "data", "storage", "search")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One certificate for all of them, for they are dialled by one address."""
    made = tmp_path_factory.mktemp("tls")
    Authority.new().issue(made, "127.0.0.1")
    return made


@pytest.fixture(scope="module")
def secured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {**inherited_environment(), "SILO_TLS_FOLDER": str(folder)}
    home = tmp_path_factory.mktemp("home")
    with Stack(home=home, environment=environment, drain_seconds=1.0) as running:
        yield running


def test_every_process_reaches_the_others(secured: Stack) -> None:
    client = Client(secured, "A")
    client.create_campaign(1)
    client.store_template(1)  # data calls storage
    client.upload(2)
    client.ingest(1)
    client.close()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_takes_the_suites_own_alone(secured: Stack, folder: Path, name: str) -> None:
    address = secured.addresses.dial(name)
    request = health_pb2.HealthCheckRequest()
    with grpc.secure_channel(address, Tls(folder).channel_credentials()) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    nobody = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes())
    for channel in (grpc.insecure_channel(address), grpc.secure_channel(address, nobody)):
        with channel, pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_service_that_cannot_read_its_files_does_not_start(tmp_path: Path) -> None:
    environment = {**inherited_environment(), "SILO_TLS_FOLDER": str(tmp_path / "none")}
    stack = Stack(home=tmp_path / "home", environment=environment, drain_seconds=1.0)
    with pytest.raises(Exception, match="TLS cannot be set up"), stack:
        pass
