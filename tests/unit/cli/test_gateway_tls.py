"""`silo` and a gateway that serves TLS."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from boundary.tls import CA, Tls
from devstack.certificates import Authority


@pytest.fixture
def served_ca(gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The CA of a gateway that `silo` finds, over TLS."""
    Authority.new().issue(tmp_path / "edge", "localhost")
    with ThreadPoolExecutor(2) as executor:
        server = grpc.server(executor)
        server.add_generic_rpc_handlers((gateway,))
        credentials = Tls(tmp_path / "edge", mutual=False).server_credentials()
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        monkeypatch.setenv("SILO_GATEWAY_ADDRESS", f"localhost:{port}")
        yield tmp_path / "edge" / CA
        server.stop(None).wait()


def test_silo_calls_a_gateway_over_tls(silo, served_ca, monkeypatch) -> None:
    monkeypatch.setenv("SILO_GATEWAY_CA", str(served_ca))
    result = silo("tenants", "list")
    assert result.exit_code == 0, result.output


def test_silo_calls_no_gateway_of_another_ca(silo, served_ca, monkeypatch, tmp_path) -> None:
    Authority.new().issue(tmp_path / "other", "localhost")
    monkeypatch.setenv("SILO_GATEWAY_CA", str(tmp_path / "other" / CA))
    result = silo("tenants", "list")
    assert result.exit_code != 0
    assert "UNAVAILABLE" in result.output


def test_a_ca_that_is_not_there_is_said(silo, served_ca, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SILO_GATEWAY_CA", str(tmp_path / "none.pem"))
    result = silo("tenants", "list")
    assert result.exit_code != 0
    assert "SILO_GATEWAY_CA cannot be read" in result.output
