from __future__ import annotations

import io
import shlex
from pathlib import Path

from rich.console import Console

from devstack.addresses import Addresses
from devstack.banner import print_banner
from devstack.issuer import ensure_dev_issuer
from devstack.stack import Stack


def banner(home: Path, addresses: Addresses) -> str:
    ensure_dev_issuer(home)
    out = io.StringIO()
    console = Console(file=out, width=40, force_terminal=False)
    print_banner(console, Stack(home=home, addresses=addresses), seconds=2.345)
    return out.getvalue()


def test_commands_and_tokens_are_whole_lines(tmp_path: Path) -> None:
    lines = banner(tmp_path, Addresses.free()).splitlines()
    exports = dict(
        line.removeprefix("export ").split("=", 1) for line in lines if line.startswith("export ")
    )
    for name in ("SILO_TOKEN_A", "SILO_TOKEN_B", "SILO_TOKEN_C", "SILO_OPERATOR_TOKEN"):
        assert exports[name].count(".") == 2
    assert exports["SILO_HOME"] == str(tmp_path)
    commands = [line for line in lines if line.startswith(("grpcurl", "curl"))]
    assert len(commands) == 4
    for command in commands:
        assert len(shlex.split(command)) >= 3


def test_tells_of_readiness_once(tmp_path: Path) -> None:
    assert banner(tmp_path, Addresses.free()).count("Silo is ready after 2.3 s") == 1


def test_says_only_what_differs_from_the_usual(tmp_path: Path) -> None:
    usual = banner(tmp_path, Addresses.from_environment({}))
    assert "SILO_GATEWAY_ADDRESS" not in usual
    assert "SILO_DATA_ADDRESS" not in usual
    moved = banner(tmp_path, Addresses.from_environment({"SILO_DATA_LISTEN": "127.0.0.1:7"}))
    assert "export SILO_DATA_ADDRESS=127.0.0.1:7" in moved
