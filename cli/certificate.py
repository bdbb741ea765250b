"""`silo certificate`: what the platform certifies of erasures, shown, and verified offline."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from boundary.certificates import CertificateError, keys_in, verify
from cli.command import command
from cli.failures import Failure, reported
from cli.render import console, print_json
from cli.session import Session
from silo.resolver.v1 import tenant_lifecycle_pb2 as pb
from silo.resolver.v1 import tenant_lifecycle_pb2_grpc

app = typer.Typer(
    help="Certificates of what was erased: show, verify offline.", no_args_is_help=True
)


@command(app, "show", operator=True)
def show(
    session: Session,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="What has erased.")],
) -> None:
    """Print the certificate of an operation, as it was signed; keep it in a file."""
    request = pb.GetErasureCertificateRequest(name=f"certificates/{operation.rpartition('/')[2]}")
    stub = session.client.stub(tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub)
    answer = session.client.call(stub.GetErasureCertificate, request)
    sys.stdout.write(answer.certificate + "\n")


@command(app, "keys", operator=True)
def keys(session: Session) -> None:
    """Print the public keys with which certificates are checked, as a JSON Web Key Set."""
    stub = session.client.stub(tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub)
    answer = session.client.call(stub.GetCertificateKeySet, pb.GetCertificateKeySetRequest())
    print_json(json.loads(answer.jwks))


@app.command("verify")
def verify_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The certificate.")],
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            metavar="JWKS",
            help="The platform's public keys, from `silo certificate keys`.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the sections as JSON.")] = False,
) -> None:
    """Check a certificate without the platform: what was changed in it is named.

    Without --keys it is only shown that the document is whole and signed by the key that it brings along.
    """
    with reported():
        try:
            sections = verify(_read(file), keys=platform_keys(keys) if keys else None)
        except CertificateError as error:
            raise Failure(str(error), reason="CERTIFICATE_INVALID") from error
        if as_json:
            print_json(sections)
            return
        _print(sections)
        whose = "the platform's" if keys else "its own"
        typer.echo(f"\nthe certificate is as it was signed with {whose} key")


def _print(sections: dict[str, dict[str, Any]]) -> None:
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, section in sections.items():
        for number, (field, value) in enumerate(section.items()):
            grid.add_row("" if number else name, field, Text(str(value)))
    console().print(grid)


def platform_keys(file: Path) -> dict[str, bytes]:
    """The public keys by id in a file with a JSON Web Key Set.

    Raises:
        Failure: it is none.
    """
    try:
        return keys_in(_read(file))
    except ValueError as error:
        raise Failure(f"{file} is not a JSON Web Key Set of Ed25519 keys") from error


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read: {error}") from error
