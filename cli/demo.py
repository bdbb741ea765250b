"""`silo demo`: a walk through the isolation on a running suite."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from cli.command import command
from cli.demo_actors import Actors
from cli.demo_steps import Script, Step, Unexpected
from cli.failures import Failure
from cli.render import console, print_json
from cli.session import Session
from devstack.issuer import DevIssuer, IssuerMissing

_TITLE_WIDTH = 52

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
                out.print(_line(outcome), soft_wrap=True)
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


def _line(outcome: Outcome) -> Text:
    mark = ("✓ ", "green") if outcome.expected else ("✗ ", "bold red")
    title = outcome.step.title.ljust(_TITLE_WIDTH)
    said = f"{outcome.code} ({outcome.reason})" if outcome.reason else outcome.code
    style = "yellow" if outcome.code != "OK" else "green"
    parts: list[Any] = ["  ", mark, title, " ", (said, style), ("  " + outcome.message, "dim")]
    if not outcome.expected:
        wanted = " ".join(outcome.step.refusal) if outcome.step.refusal else "OK"
        parts.append((f"  (must be {wanted})", "bold red"))
    return Text.assemble(*parts)
