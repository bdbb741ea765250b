"""The entry of `silo`."""

from __future__ import annotations

import sys
from typing import ClassVar

import typer

from cli.lazy import Entry, LazyGroup


class _Silo(LazyGroup):
    entries: ClassVar[dict[str, Entry]] = {
        "up": Entry("cli.up", "Run the whole suite here, until Ctrl-C."),
        "demo": Entry("cli.demo", "Walk through the isolation, and show each refusal."),
        "token": Entry("cli.token", "Print a JWT signed by the development issuer."),
        "tenants": Entry("cli.tenants", "The tenant directory, for operators."),
        "operations": Entry("cli.operations", "Durable work on tenants, for operators."),
        "certificate": Entry("cli.certificate", "Certificates of what was erased."),
        "archives": Entry("cli.archives", "Everything of a tenant: export, back up, import."),
        "engines": Entry("cli.engines", "Tables, buckets and search clusters, for operators."),
        "keys": Entry("cli.keys", "The keys that sign tenant contexts, for operators."),
        "audit": Entry("cli.audit", "The audit trail: list, export, verify."),
        "policies": Entry("cli.policies", "What happens by itself to what is stored."),
        "config": Entry("cli.config", "The tenant's own settings."),
        "users": Entry("cli.users", "Users of the tenant."),
        "campaigns": Entry("cli.campaigns", "Campaigns of the tenant."),
        "lists": Entry("cli.lists", "Recipient lists of the tenant."),
        "templates": Entry("cli.templates", "Templates of the tenant, with their content."),
        "entities": Entry("cli.entities", "Several entities at once, described in JSON."),
        "analytics": Entry("cli.analytics", "Daily counters of the tenant."),
        "put": Entry("cli.transfers", "Store a file as an object."),
        "get": Entry("cli.transfers", "Fetch an object into a file."),
        "ls": Entry("cli.objects", "List objects and folders."),
        "stat": Entry("cli.objects", "Describe an object without its content."),
        "cp": Entry("cli.objects", "Copy an object within the tenant."),
        "rm": Entry("cli.objects", "Delete an object, or many."),
        "sign": Entry("cli.signing", "URLs that put or get one object without a token."),
        "subjects": Entry("cli.subjects", "One person, taken out of everything."),
        "events": Entry("cli.events", "E-mail events of the tenant."),
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
