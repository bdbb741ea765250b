"""What a container may do, what it has, and who is let in past the gateway."""

from __future__ import annotations

import json
from typing import Any

import pytest

from boundary.peers import PEERS
from tests.compose.suite import PROCESSES, ComposeSuite

PUBLISHED = {"gateway": {"50050/tcp", "8080/tcp"}, "storage": {"8080/tcp"}}

CALL = """
import grpc, pathlib
from grpc_health.v1 import health_pb2, health_pb2_grpc
folder = pathlib.Path('/run/silo/tls')
ca, cert, key = ((folder / name).read_bytes() for name in ('ca.pem', 'cert.pem', 'key.pem'))
channel = {channel}
try:
    print(health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5).status)
except grpc.RpcError as error:
    print(error.code().name)
"""


def inspected(stack: ComposeSuite, name: str) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(stack.docker("inspect", stack.container(name)))[0]
    return described


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_is_confined(stack: ComposeSuite, name: str) -> None:
    container = inspected(stack, name)
    host = container["HostConfig"]
    assert container["Config"]["User"] == "silo"
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["Privileged"]
    assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["NanoCpus"] > 0
    published = {port for port, at in host["PortBindings"].items() if at}
    assert published == PUBLISHED.get(name, set())
    assert {at[0]["HostIp"] for at in host["PortBindings"].values() if at} <= {"127.0.0.1"}
    refused = "touch /opt/silo/x 2>/dev/null || echo refused"
    assert stack.compose("exec", "-T", name, "sh", "-c", refused).strip() == "refused"


@pytest.mark.parametrize("name", PROCESSES)
def test_a_process_has_its_own_secrets_alone(stack: ComposeSuite, name: str) -> None:
    files = stack.compose(
        *("exec", "-T", name, "sh", "-c"),
        "cd /run/silo && find . -type f -exec stat -c '%n %a %U' {} + ; ls /secrets/*",
    )
    seen = {
        line.split()[0]: line.split()[1:] for line in files.splitlines() if line.startswith(".")
    }
    tokens = PEERS if name == "resolver" else (name,)
    expected = {"./tls/ca.pem", "./tls/cert.pem", "./tls/key.pem"}
    expected |= {f"./peers/{token}.token" for token in tokens}
    if name == "storage":
        expected |= {f"./peers/{peer}.digest" for peer in PEERS}
    if name in ("gateway", "resolver"):
        expected.add("./dev-issuer/jwks.json")
    assert set(seen) == expected
    for path, facts in seen.items():
        if path.endswith((".token", "key.pem")):
            assert facts == ["600", "silo"], path
    assert "pem" not in files.partition("/secrets")[2]


@pytest.mark.parametrize("name", ["resolver:50051", "data:50052", "storage:50053", "search:50054"])
@pytest.mark.parametrize(
    ("credentials", "answer"),
    [
        ("grpc.ssl_channel_credentials(ca, key, cert)", "1"),
        ("grpc.ssl_channel_credentials(ca)", "UNAVAILABLE"),
        (None, "UNAVAILABLE"),
    ],
    ids=["with a certificate", "without", "in the clear"],
)
def test_a_service_takes_the_suites_own_alone(
    stack: ComposeSuite, name: str, credentials: str | None, answer: str
) -> None:
    channel = (
        f"grpc.secure_channel({name!r}, {credentials})"
        if credentials
        else f"grpc.insecure_channel({name!r})"
    )
    assert stack.inside(CALL.replace("{channel}", channel)).strip() == answer


def test_nothing_that_builds_or_fetches_is_in_the_image(stack: ComposeSuite) -> None:
    left = "for p in gcc cc make curl git; do command -v $p; done; ls /opt/silo/bin /build; true"
    shown = stack.compose("exec", "-T", "data", "sh", "-c", left).split()
    assert {"python", "silo"} <= set(shown)
    assert not {name for name in shown if name.startswith(("pip", "/usr", "wheels"))}
