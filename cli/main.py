"""The entry of `silo`."""

from __future__ import annotations

import sys
from typing import ClassVar

import typer

from cli.lazy import LazyGroup


class _Silo(LazyGroup):
    modules: ClassVar[dict[str, str]] = {
        "up": "cli.up",
        "demo": "cli.demo",
        "token": "cli.token",
        "tenants": "cli.tenants",
        "keys": "cli.keys",
        "config": "cli.config",
        "users": "cli.users",
        "campaigns": "cli.campaigns",
        "lists": "cli.lists",
        "templates": "cli.templates",
        "entities": "cli.entities",
        "analytics": "cli.analytics",
        "put": "cli.transfers",
        "get": "cli.transfers",
        "ls": "cli.objects",
        "stat": "cli.objects",
        "cp": "cli.objects",
        "rm": "cli.objects",
        "sign": "cli.signing",
        "events": "cli.events",
    }


app = typer.Typer(
    cls=_Silo,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def silo() -> None:
    """Tenant-isolated data, files and search for an email platform.

    Start the suite with [bold]silo up[/bold], then see it at work with [bold]silo demo[/bold].
    """


def main() -> None:
    """Runs `silo`."""
    sys.exit(app())


if __name__ == "__main__":
    main()
