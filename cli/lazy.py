"""A group whose commands are imported when they are needed: `silo token` does not wait for gRPC."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class LazyGroup(TyperGroup):
    """The top of `silo`: each command stands in the module of its name.

    Attributes:
        modules: the module of each command, by its name, in the order of the help. The module's `app` is a
            group, or a single command where it holds one of the same name.
    """

    modules: ClassVar[dict[str, str]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands' names."""
        return list(self.modules)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now, or None where there is none."""
        if cmd_name not in self.commands and cmd_name in self.modules:
            app = importlib.import_module(self.modules[cmd_name]).app
            self.commands.update(_commands_of(app, cmd_name))
        return self.commands.get(cmd_name)


def _commands_of(app: typer.Typer, name: str) -> dict[str, Any]:
    loaded: Any = typer.main.get_command(app)
    if not isinstance(loaded, TyperGroup):
        return {name: loaded}
    if name in loaded.commands:
        return dict(loaded.commands)
    loaded.name = name
    return {name: loaded}
