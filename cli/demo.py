"""`silo demo`: a walk through the isolation on a running suite."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.command import command
from cli.demo_actors import Actors
from cli.demo_steps import Script, Step, Unexpected
from cli.failures import Failure
from cli.render import console, print_json
from cli.session import Session
from devstack.issuer import DevIssuer, IssuerMissing

_TITLE_WIDTH = 42
_ROOMY_WIDTH = 110
_ROOMY_TITLE = 50

app = typer.Typer()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a step.

    Attributes:
        step: what was tried.
        code: the canonical code's name; `OK` where it worked.
        reason: the ErrorInfo reason of a refusal.
        message: what came back, for people.
        expected: whether that is as it must be.
    """

    step: Step
    code: str
    reason: str
    message: str
    expected: bool

    def document(self) -> dict[str, Any]:
        """The outcome for programs."""
        code, reason = self.step.refusal or ("OK", "")
        return {
            "title": self.step.title,
            "expected": {"code": code, "reason": reason},
            "actual": {"code": self.code, "reason": self.reason, "message": self.message},
            "as_expected": self.expected,
        }


@command(app, "demo", operator=True)
def demo(session: Session) -> None:
    """Walk through the isolation on a running suite, and show each refusal.

    Tries what tenants, forgers and neighbours might try. Exit code 1 where anything did not come out as it must.
    """
    try:
        issuer = DevIssuer.load(session.settings.home)
    except IssuerMissing as error:
        raise Failure(
            f"{error}; the demo needs a suite that `silo up` runs, and its SILO_HOME"
        ) from error
    actors = Actors(gateway=session.address, issuer=issuer)
    script = Script(actors, run=secrets.token_hex(3))
    try:
        outcomes = _walk(script, None if session.json else console())
    finally:
        try:
            script.clean_up()
        finally:
            actors.close()
    wrong = sum(not outcome.expected for outcome in outcomes)
    refused = sum(outcome.step.refusal is not None for outcome in outcomes)
    if session.json:
        print_json(
            {"steps": [outcome.document() for outcome in outcomes], "unexpected_count": wrong}
        )
    if wrong:
        raise Failure(f"{wrong} of {len(outcomes)} steps did not come out as they must")
    if not session.json:
        out = console()
        out.print()
        text = f"{len(outcomes)} steps, all as they must be; {refused} of them refusals."
        out.print(Text(text, style="bold green"))


def _walk(script: Script, out: Console | None) -> list[Outcome]:
    outcomes = []
    for title, steps in script.sections():
        if out is not None:
            out.print()
            out.print(Text(title, style="bold"))
        for step in steps:
            outcome = perform(step)
            outcomes.append(outcome)
            if out is not None:
                out.print(_row(outcome, width=out.width))
    return outcomes


def perform(step: Step) -> Outcome:
    """Tries a step, again and again within its patience.

    Raises:
        Failure: nobody answers; there is nothing to demonstrate then.
    """
    began = time.monotonic()
    while True:
        outcome = _try(step)
        if outcome.expected or time.monotonic() - began >= step.patience:
            break
        time.sleep(0.001)
    if not step.patience:
        return outcome
    milliseconds = (time.monotonic() - began) * 1000
    return replace(outcome, message=f"{outcome.message} (after {milliseconds:.0f} ms)")


def _try(step: Step) -> Outcome:
    try:
        message = step.attempt()
    except Failure as failure:
        if failure.reason == "NOT_REACHABLE":
            raise
        return Outcome(
            step=step,
            code=failure.code,
            reason=failure.reason,
            message=failure.message,
            expected=step.refusal == (failure.code, failure.reason),
        )
    except Unexpected as unexpected:
        return Outcome(step=step, code="OK", reason="", message=str(unexpected), expected=False)
    return Outcome(step=step, code="OK", reason="", message=message, expected=step.refusal is None)


def _row(outcome: Outcome, *, width: int) -> Table:
    """One outcome in columns, which fold where the terminal is narrow; the message stands where it has room."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, justify="right")
    grid.add_column(width=_ROOMY_TITLE if width >= _ROOMY_WIDTH else _TITLE_WIDTH)
    grid.add_column(overflow="fold")
    mark = Text("✓", style="green") if outcome.expected else Text("✗", style="bold red")
    said = f"{outcome.code} ({outcome.reason})" if outcome.reason else outcome.code
    result = Text(said, style="green" if outcome.code == "OK" else "yellow")
    if width >= _ROOMY_WIDTH or not outcome.expected:
        result.append(f"  {outcome.message}", style="dim")
    if not outcome.expected:
        wanted = " ".join(outcome.step.refusal) if outcome.step.refusal else "OK"
        result.append(f"  (must be {wanted})", style="bold red")
    grid.add_row(mark, Text(outcome.step.title), result)
    return grid
