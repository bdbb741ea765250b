"""What `silo` says where something did not work: one line, on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


class Failure(Exception):
    """An expected failure.

    Attributes:
        code: the canonical code's name, or empty where the failure is this side's.
        reason: what went wrong, for programs; may be empty.
        message: what went wrong, for people.
        field: the request field at fault, or empty.
    """

    def __init__(self, message: str, *, code: str = "", reason: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.reason = reason
        self.field = field

    def line(self) -> str:
        """The failure in one line, for example `NOT_FOUND (RESOURCE_NOT_FOUND): ... was not found`."""
        text = " ".join(self.message.split())
        head = f"{self.code} ({self.reason})" if self.code and self.reason else self.code
        said = f"{head}: {text}" if head else f"silo: {text}"
        # Where the message begins with the field, as that of an invalid argument does, once is enough.
        return f"{said} [{self.field}]" if self.field and self.field not in text else said


@contextmanager
def reported() -> Iterator[None]:
    """Turns failures within the block into a line on standard error and exit code 1."""
    try:
        yield
    except Failure as failure:
        typer.echo(failure.line(), err=True)
        raise typer.Exit(1) from failure
    except BrokenPipeError:
        # Whoever read the output has seen enough; the flush at the interpreter's exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        typer.echo(f"silo: {where}{(error.strerror or str(error)).lower()}", err=True)
        raise typer.Exit(1) from error
    except (ValueError, OverflowError) as error:
        # What protobuf and the system say of a number that no field and no clock can hold.
        typer.echo(f"silo: a value cannot be sent: {error}", err=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        typer.echo("silo: interrupted", err=True)
        raise typer.Exit(130) from None
