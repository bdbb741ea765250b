"""What every command that calls the suite has in common: its options, its session, its failures.

    @command(app, "get")
    def get(session: Session, name: str) -> None: ...

The decorator adds the common options to those of the function and hands it a session made of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from cli.credentials import Credentials
from cli.failures import reported
from cli.session import Session
from cli.settings import CliSettings

_PANEL = "Connection and output"
Function = Callable[..., None]


def command(
    app: typer.Typer,
    name: str,
    *,
    operator: bool = False,
    options: Sequence[inspect.Parameter] = (),
    aliases: Sequence[str] = (),
    help: str | None = None,  # noqa: A002 - typer's own name for it
) -> Callable[[Function], Function]:
    """Registers a function as a command that calls the suite.

    Args:
        operator: the command is a platform operator's, and takes no tenant.
        options: further options; the function gets their values as the mapping `options`.
        aliases: hidden further names.
        help: what the command does; the function's docstring where unset.
    """

    def register(function: Function) -> Function:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        takes_options = any(parameter.name == "options" for parameter in own)
        own = [parameter for parameter in own if parameter.name != "options"]
        taken = {decl for parameter in options for decl in _declarations(parameter)}
        common = _operator_options() if operator else _tenant_options(taken)

        def run(**values: Any) -> None:
            connection = {parameter.name: values.pop(parameter.name) for parameter in common}
            if takes_options:
                values["options"] = {
                    parameter.name: values.pop(parameter.name) for parameter in options
                }
            with reported(), _session(connection, operator=operator) as session:
                function(session, **values)

        run.__name__ = function.__name__
        run.__doc__ = help or function.__doc__
        parameters = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in (*own, *options, *common)
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command(name)(run)
        for alias in aliases:
            app.command(alias, hidden=True)(run)
        return function

    return register


def option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    """A parameter for a command's signature."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default
    )


def _declarations(parameter: inspect.Parameter) -> tuple[str, ...]:
    for metadata in getattr(parameter.annotation, "__metadata__", ()):
        declared = (getattr(metadata, "default", None), *(metadata.param_decls or ()))
        return tuple(decl for decl in declared if isinstance(decl, str))
    return ()


def _session(connection: dict[str, Any], *, operator: bool) -> Session:
    credentials = Credentials(
        token=connection["token"] or "",
        tenant=connection.get("tenant") or "",
        subject=connection.get("principal") or "alice",
        permissions="*" if (granted := connection.get("permissions")) is None else granted,
    )
    return Session(
        settings=CliSettings.load(),
        credentials=credentials,
        operator=operator,
        address=connection["address"] or "",
        timeout=connection["timeout"],
        json=connection["json_output"],
    )


def _operator_options() -> list[inspect.Parameter]:
    return [_ADDRESS, _TOKEN, _TIMEOUT, _JSON]


def _tenant_options(taken: set[str]) -> list[inspect.Parameter]:
    names = [name for name in ("--as", "--subject") if name not in taken]
    principal = typer.Option(
        *names, help="Whom the development issuer signs for.", rich_help_panel=_PANEL
    )
    return [
        _TENANT,
        option("principal", Annotated[str, principal], "alice"),
        _PERMISSIONS,
        _TOKEN,
        _ADDRESS,
        _TIMEOUT,
        _JSON,
    ]


_ADDRESS = option(
    "address",
    Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="Where the gateway is; SILO_GATEWAY_ADDRESS or 127.0.0.1:50050 unless given.",
            rich_help_panel=_PANEL,
        ),
    ],
    None,
)
_TOKEN = option(
    "token",
    Annotated[
        str | None,
        typer.Option("--token", metavar="JWT", help="The caller's JWT.", rich_help_panel=_PANEL),
    ],
    None,
)
_TENANT = option(
    "tenant",
    Annotated[
        str | None,
        typer.Option(
            "--tenant",
            metavar="ID",
            help="In development: sign a token for this tenant. Otherwise SILO_TOKEN is used.",
            rich_help_panel=_PANEL,
        ),
    ],
    None,
)
_PERMISSIONS = option(
    "permissions",
    Annotated[
        str,
        typer.Option(
            "--permissions",
            help="The permissions in that token, separated by spaces or commas.",
            rich_help_panel=_PANEL,
        ),
    ],
    "*",
)
_TIMEOUT = option(
    "timeout",
    Annotated[
        float,
        typer.Option(
            "--timeout",
            min=0.001,
            metavar="SECONDS",
            help="How long a unary call may take.",
            rich_help_panel=_PANEL,
        ),
    ],
    30.0,
)
_JSON = option(
    "json_output",
    Annotated[
        bool,
        typer.Option("--json", help="One JSON document, for programs.", rich_help_panel=_PANEL),
    ],
    False,
)
