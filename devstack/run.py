"""`silo up`: runs the suite until it is told to stop."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

from rich.console import Console
from rich.text import Text

from devstack.banner import print_banner
from devstack.errors import StackError
from devstack.settings import StackSettings
from devstack.stack import Stack


class _Interrupted(BaseException):
    """Somebody wants the suite to stop. No `except Exception` on the way may swallow it."""


def run(console: Console | None = None, *, errors: Console | None = None) -> int:
    """Starts the suite, tells where it is, and returns an exit code once it has stopped."""
    console = console or Console(highlight=False)
    errors = errors or Console(stderr=True, highlight=False)
    try:
        settings = StackSettings.load()
    except ValueError as error:
        errors.print(Text(f"silo up: a setting is malformed: {error}", style="red"))
        return 2
    if settings.environment.get("SILO_ENVIRONMENT", "development") != "development":
        errors.print(
            Text(
                "silo up: this is the development suite; docs/deploying.md says how to deploy",
                "red",
            )
        )
        return 2
    stack = Stack(
        home=settings.home,
        addresses=settings.addresses,
        environment=settings.environment,
        drain_seconds=settings.drain_seconds,
        report=lambda text: console.print(f"{time.strftime('%H:%M:%S')}  {text}", markup=False),
    )
    _stop_on_signals()
    try:
        return _serve(stack, console)
    except _Interrupted:
        console.print("\nDraining ...")
        stack.stop()
        console.print("Silo has stopped; its state is kept.")
        return 0
    except (StackError, OSError) as error:
        errors.print(Text(f"silo up: {error}", style="red"), soft_wrap=True)
        return 1


def _serve(stack: Stack, console: Console) -> int:
    began = time.monotonic()
    with console.status("Starting resolver, data, storage, search and gateway ..."):
        stack.start()
    print_banner(console, stack, seconds=time.monotonic() - began)
    threading.Event().wait()  # until a signal
    return 0


def _stop_on_signals() -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        # From here on the stop is under way and bounded in time; further signals change nothing.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise _Interrupted

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
