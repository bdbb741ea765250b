"""`silo up`: the whole suite on this machine."""

from __future__ import annotations

import typer

from devstack.run import run

app = typer.Typer()


@app.command()
def up() -> None:
    """Run the suite here: gateway, resolver, data, storage and search, until Ctrl-C.

    Sets up what it needs, onboards the tenants A, B and C where they are not there, and prints addresses,
    tokens and commands to paste. State survives in SILO_HOME (.silo).
    """
    raise typer.Exit(run())
