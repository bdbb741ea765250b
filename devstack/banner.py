"""What a ready suite tells its user: where things are, tokens, and commands to paste.

Commands and tokens are printed as they are, never wrapped, so that they can be copied whole.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from devstack.addresses import PROCESSES, Addresses
from devstack.issuer import DevIssuer
from devstack.settings import DEFAULT_GATEWAY, DEFAULT_HOME
from devstack.stack import TENANTS, Stack

TOKEN_TTL = 12 * 3600
"""Seconds for which the printed tokens work: a working day."""


def print_banner(console: Console, stack: Stack, *, seconds: float) -> None:
    """Prints everything that a user needs next.

    Args:
        seconds: how long the suite took to be ready.
    """
    console.print()
    console.print(_addresses(stack))
    _section(console, "Tokens, for 12 hours", _exports(stack))
    _section(console, "See the isolation, then try it yourself", _silo_commands())
    _section(console, "The same with grpcurl and curl", _raw_commands(stack))
    console.print()
    ready = Text.assemble(
        (f"Silo is ready after {seconds:.1f} s. ", "bold green"),
        f"State and logs are in {_shown(stack.home)}; Ctrl-C drains and stops.",
    )
    console.print(ready, soft_wrap=True)


def _addresses(stack: Stack) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for heading in ("Process", "gRPC", "HTTP"):
        table.add_column(heading, no_wrap=True)
    for name in ("gateway", *(name for name in PROCESSES if name != "gateway")):
        table.add_row(name, stack.addresses.dial(name), stack.addresses.url(name))
    return table


def _exports(stack: Stack) -> Iterator[str]:
    issuer = DevIssuer.load(stack.home)
    usual = Addresses.from_environment({})
    if stack.home != DEFAULT_HOME.absolute():
        yield f"export SILO_HOME={shlex.quote(str(stack.home))}"
    if stack.gateway != DEFAULT_GATEWAY:
        yield f"export SILO_GATEWAY_ADDRESS={stack.gateway}"
    for name in PROCESSES[:-1]:  # `silo demo` and platform services call past the gateway
        if stack.addresses.dial(name) != usual.dial(name):
            yield f"export SILO_{name.upper()}_ADDRESS={stack.addresses.dial(name)}"
    for tenant_id in TENANTS:
        token = issuer.sign(subject="alice", permissions=["*"], tenant_id=tenant_id, ttl=TOKEN_TTL)
        yield f"export SILO_TOKEN_{tenant_id}={token}"
    yield f"export SILO_OPERATOR_TOKEN={issuer.sign_operator(ttl=TOKEN_TTL)}"


def _silo_commands() -> Iterator[str]:
    silo = silo_command()
    yield f"{silo} demo"
    yield f"{silo} campaigns create spring --tenant A --display-name 'Spring sale'"
    yield f"{silo} campaigns get spring --tenant A"
    yield f"{silo} campaigns get spring --tenant B"
    yield f"{silo} put README.md exports/readme.md --tenant A"
    yield f"{silo} ls --tenant A"
    yield f"{silo} tenants list"


def _raw_commands(stack: Stack) -> Iterator[str]:
    call = f'grpcurl -plaintext -H "authorization: Bearer $SILO_TOKEN_A" {stack.gateway}'
    with_body = call.replace(stack.gateway, f'-d \'{{"name":"campaigns/spring"}}\' {stack.gateway}')
    yield f"grpcurl -plaintext {stack.gateway} list"
    yield f"{with_body} silo.data.v1.CampaignService/GetCampaign"
    yield f"{call} silo.data.v1.CampaignService/ListCampaigns"
    yield f"curl -s {stack.addresses.url('gateway')}/readyz"


def _section(console: Console, title: str, lines: Iterator[str]) -> None:
    console.print()
    console.print(Text(title, style="bold"))
    for line in lines:
        # No markup, no highlighting, no wrapping: what is on the screen is what is copied.
        console.out(line, highlight=False)


def silo_command() -> str:
    """How `silo` is called from the user's shell, where the environment may not be activated."""
    found = shutil.which("silo")
    beside = Path(sys.executable).parent / "silo"
    if found is not None and Path(found).resolve() == beside.resolve():
        return "silo"
    if beside.exists():
        return shlex.quote(_shown(beside))
    return f"{shlex.quote(_shown(Path(sys.executable)))} -m cli.main"


def _shown(path: Path) -> str:
    """A path as short as it can be said from the current folder."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
