"""`silo token`: a JWT from the development issuer."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import credentials
from cli.failures import Failure, reported
from cli.settings import CliSettings

app = typer.Typer()


@app.command()
def token(
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="ID", help="The tenant of the caller.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", help="The caller; `alice` or `operator` unless given."),
    ] = None,
    permissions: Annotated[
        str | None,
        typer.Option(
            "--permissions",
            help="Separated by spaces or commas; everything unless given.",
        ),
    ] = None,
    operator: Annotated[
        bool,
        typer.Option("--operator", help="A platform operator's, with platform.* and no tenant."),
    ] = False,
    ttl: Annotated[
        float, typer.Option("--ttl", metavar="SECONDS", help="How long the token works.")
    ] = 3600.0,
) -> None:
    """Print a JWT signed by the development issuer, and nothing else."""
    with reported():
        settings = CliSettings.load()
        if operator == bool(tenant):
            raise Failure("give either --tenant or --operator")
        if operator:
            signed = credentials.sign_operator(
                settings, subject=subject or "operator", permissions=permissions or "", ttl=ttl
            )
        else:
            signed = credentials.sign(
                settings,
                tenant=tenant or "",
                subject=subject or "alice",
                permissions="*" if permissions is None else permissions,
                ttl=ttl,
            )
        typer.echo(signed)
