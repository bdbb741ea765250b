from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode
from itertools import count

import jwt
import pytest

from cli import demo_actors, demo_steps
from cli.demo import perform
from cli.demo_steps import Step, Unexpected
from cli.failures import Failure
from devstack.issuer import DevIssuer

REFUSAL = ("NOT_FOUND", "RESOURCE_NOT_FOUND")


def refused() -> str:
    raise Failure("it was not found", code="NOT_FOUND", reason="RESOURCE_NOT_FOUND")


def test_a_refusal_that_happens_is_as_expected() -> None:
    outcome = perform(Step(title="t", attempt=refused, refusal=REFUSAL))
    assert outcome.expected
    assert outcome.document()["actual"]["reason"] == "RESOURCE_NOT_FOUND"


@pytest.mark.parametrize(
    "refusal", [("PERMISSION_DENIED", "RESOURCE_NOT_FOUND"), ("NOT_FOUND", "ELSE"), None]
)
def test_another_refusal_is_not(refusal) -> None:
    assert not perform(Step(title="t", attempt=refused, refusal=refusal)).expected


def test_an_answer_where_a_refusal_is_due_is_not() -> None:
    assert not perform(Step(title="t", attempt=lambda: "the secret", refusal=REFUSAL)).expected
    assert perform(Step(title="t", attempt=lambda: "fine")).expected


def test_an_answer_that_isolation_forbids_is_not() -> None:
    def leaks() -> str:
        raise Unexpected("A's campaign is listed")

    outcome = perform(Step(title="t", attempt=leaks))
    assert not outcome.expected
    assert outcome.message == "A's campaign is listed"


def test_is_patient_within_bounds() -> None:
    calls = count()

    def soon() -> str:
        return refused() if next(calls) < 3 else "fine"

    outcome = perform(Step(title="t", attempt=soon, patience=5))
    assert outcome.expected
    assert "(after " in outcome.message
    assert not perform(Step(title="t", attempt=refused, patience=0.02)).expected


def test_where_nobody_answers_there_is_no_demo() -> None:
    def unreachable() -> str:
        raise Failure("nothing answers", code="UNAVAILABLE", reason="NOT_REACHABLE")

    with pytest.raises(Failure):
        perform(Step(title="t", attempt=unreachable))


def test_fails_in_one_line_where_no_suite_runs(silo) -> None:
    result = silo("demo")
    assert result.exit_code == 1
    assert "nothing answers" in result.stderr
    assert result.stderr.count("\n") == 1


def test_forgeries_are_what_they_say(silo) -> None:
    issuer = DevIssuer.load(silo.home)
    head, body, signature = demo_actors.hmac_token(issuer, "A").split(".")
    expected = hmac.new(issuer.public_key(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert urlsafe_b64decode(signature + "=") == expected
    assert jwt.get_unverified_header(demo_actors.unsigned_token("A"))["alg"] == "none"
    forged = demo_actors.forged_token("A")
    assert jwt.get_unverified_header(forged)["kid"] == "dev-1"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(forged, issuer.public_key(), algorithms=["ES256"], audience="silo")


def test_every_section_has_refusals_or_neighbours(silo) -> None:
    actors = demo_actors.Actors(gateway="127.0.0.1:1", issuer=DevIssuer.load(silo.home))
    script = demo_steps.Script(actors, run="x")
    try:
        steps = [*script._side_by_side(), *script._crossings(), *script._tokens()]
        steps += [*script._permissions(), *script._suspension()]
    finally:
        actors.close()
    assert sum(step.refusal is not None for step in steps) >= 15
    assert len({step.title for step in steps}) == len(steps)
