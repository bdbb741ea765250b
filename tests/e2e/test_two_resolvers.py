"""Two resolvers over one directory: what one of them changes, the services that listen to the other hear."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest

from devstack.addresses import Addresses, http_variable, listen_variable
from devstack.stack import Stack
from silo.resolver.v1 import tenant_pb2, tenant_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.lifecycle import Inhabitant, Operator

HEARD_SECONDS = 10.0
"""Far below the lifetime of a context, which would be the bound if nothing were heard."""


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, stack_environment: Mapping[str, str]
) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("two-resolvers")
    with Stack(home=home, tenants=("Twin-A", "Twin-B"), environment=stack_environment) as stack:
        yield stack


@pytest.fixture(scope="module")
def second(
    running: Stack, stack_environment: Mapping[str, str]
) -> Iterator[tenant_pb2_grpc.TenantServiceStub]:
    """The tenant service of a resolver beside the suite's own, which none of the others listens to."""
    own = Addresses.free()
    environment = {
        **stack_environment,
        **running.addresses.environment(),
        "SILO_HOME": str(running.home),
        "SILO_ENVIRONMENT": "development",
        listen_variable("resolver"): own.grpc["resolver"],
        http_variable("resolver"): own.http["resolver"],
    }
    with (running.home / "logs" / "second-resolver.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.resolver"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        with grpc.insecure_channel(own.grpc["resolver"]) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)
            yield tenant_pb2_grpc.TenantServiceStub(channel)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until(inhabitant: Inhabitant, refusal: str) -> float:
    """How many seconds it took until calls ended so."""
    began = time.monotonic()
    while inhabitant.refusal() != refusal:
        assert time.monotonic() - began < HEARD_SECONDS, f"not {refusal or 'served'} in time"
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_tenant_that_is_suspended_at_one_is_refused_by_those_that_listen_to_the_other(
    running: Stack, second: Any
) -> None:
    operator = Operator(running)
    tenant, neighbour = (
        Inhabitant(running, name, mark=f"{name.upper()}-tw") for name in ("Twin-A", "Twin-B")
    )
    for each in (tenant, neighbour):
        each.furnish(1)
    suspend = tenant_pb2.SuspendTenantRequest(name="tenants/Twin-A")
    resume = tenant_pb2.ResumeTenantRequest(name="tenants/Twin-A")
    for _ in range(2):
        second.SuspendTenant(suspend, **operator.common)
        _until(tenant, "PERMISSION_DENIED")
        assert neighbour.refusal() == ""
        second.ResumeTenant(resume, **operator.common)
        _until(tenant, "")


def test_a_stream_ends_when_the_other_one_suspends_its_tenant(running: Stack, second: Any) -> None:
    operator = Operator(running)
    tenant = Inhabitant(running, "Twin-B", mark="TWIN-B-tw")

    def endless() -> Iterator[object_pb2.UploadObjectRequest]:
        yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="attachments/endless"))
        until = time.monotonic() + HEARD_SECONDS
        while time.monotonic() < until:
            yield object_pb2.UploadObjectRequest(chunk=b"x" * 1024)
            time.sleep(0.02)

    stub = object_pb2_grpc.ObjectServiceStub(tenant.channel)
    upload = stub.UploadObject.future(endless(), **tenant.common)
    time.sleep(0.3)
    assert not upload.done()
    suspend = tenant_pb2.SuspendTenantRequest(name="tenants/Twin-B")
    second.SuspendTenant(suspend, **operator.common)
    error = upload.exception(timeout=HEARD_SECONDS)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
