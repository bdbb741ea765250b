"""A group whose commands are imported when they are needed: `silo token` does not wait for gRPC."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command stands, and what the help of the group says about it.

    Attributes:
        module: the module; its `app` is a group, or holds single commands one of which has the name.
        help: the command's own help, in short.
    """

    module: str
    help: str


class LazyGroup(TyperGroup):
    """The top of `silo`.

    Attributes:
        entries: the commands by name, in the order of the help.
    """

    entries: ClassVar[dict[str, Entry]] = {}
    _listing = False

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names."""
        return list(self.entries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now, or None where there is none."""
        entry = self.entries.get(cmd_name)
        if entry is not None and self._listing:
            return TyperCommand(cmd_name, help=entry.help)
        if entry is not None and cmd_name not in self.commands:
            app = importlib.import_module(entry.module).app
            self.commands.update(_commands_of(app, cmd_name))
        return self.commands.get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help, for which no command is imported."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False


def _commands_of(app: typer.Typer, name: str) -> dict[str, Any]:
    loaded: Any = typer.main.get_command(app)
    if not isinstance(loaded, TyperGroup):
        return {name: loaded}
    if name in loaded.commands:
        return dict(loaded.commands)
    loaded.name = name
    return {name: loaded}
