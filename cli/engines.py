"""`silo engines`: the tables, buckets and search clusters of a deployment, for whoever runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from services.engines.administration import FAILURES, Place, places_in
from services.engines.settings import Engines

T = TypeVar("T")

app = typer.Typer(help="Tables, buckets and search clusters, for operators.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option("--file", envvar="SILO_ENGINES", help="The engines file.", exists=True),
]


@app.callback()
def engines() -> None:
    """The tables, buckets and search clusters that the engines file lists."""


@app.command()
def create(file: File = None) -> None:
    """Make what is not there, and switch on what is off. Nothing is ever taken away."""
    failed = False
    for place in places_in(_load(file)):
        done = _run(place, place.create)
        failed = failed or done is None
        if done is not None:
            typer.echo(f"{place.name}: {done}")
    if failed:
        raise typer.Exit(1)


@app.command()
def check(file: File = None) -> None:
    """Say how what is there differs from what should be; ends with code 1 where it does."""
    differs = False
    for place in places_in(_load(file)):
        found = _run(place, place.drift)
        differs = differs or found is None or bool(found)
        if found is not None:
            typer.echo(f"{place.name}: {'; '.join(found) or 'as it should be'}")
    if differs:
        raise typer.Exit(1)


def _load(file: Path | None) -> Engines:
    if file is None:
        typer.echo("silo engines: name the engines file with --file or SILO_ENGINES", err=True)
        raise typer.Exit(2)
    try:
        return Engines.model_validate_json(file.read_bytes())
    except OSError as error:
        typer.echo(f"silo engines: {file} cannot be read: {error.strerror}", err=True)
        raise typer.Exit(2) from error
    except ValueError as error:
        typer.echo(f"silo engines: {file} is not in the form: {error}", err=True)
        raise typer.Exit(2) from error


def _run(place: Place, work: Callable[[], T]) -> T | None:
    """What work returns; None where it failed, which is told, and the other places go on."""
    try:
        return work()
    except FAILURES as error:
        typer.echo(f"{place.name}: {error}", err=True)
        return None
