"""What `silo demo` tries, in order, and what must come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from cli import demo_actors, demo_calls
from cli.client import Client
from cli.demo_actors import Actors
from cli.failures import Failure

TENANTS = ("A", "B", "C")

SUSPENSION_SECONDS = 0.1
"""Within which a suspension is in force everywhere."""

RESUMPTION_SECONDS = 1.0

_MISSING = ("NOT_FOUND", "RESOURCE_NOT_FOUND")


class Unexpected(Exception):
    """Something came back that isolation forbids; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that is tried.

    Attributes:
        title: what is tried, in words.
        attempt: tries it and says what came back.
        refusal: the code and the reason that it must be refused with; None where it must work.
        patience: seconds within which it must come out so.
    """

    title: str
    attempt: Callable[[], str]
    refusal: tuple[str, str] | None = None
    patience: float = 0.0


class Script:
    """The steps. Ids are fresh for each run, so that it can be run again and again."""

    def __init__(self, actors: Actors, *, run: str) -> None:
        self._actors = actors
        self._shared = f"demo-{run}"
        self._private = f"demo-{run}-private"
        self._path = f"exports/{self._shared}.txt"
        self._page_token = ""

    def sections(self) -> Iterator[tuple[str, tuple[Step, ...]]]:
        """The steps by section, in order."""
        yield "Three tenants side by side, with the same ids", self._side_by_side()
        yield "One tenant reaches for another's", self._crossings()
        yield "Tokens that prove nothing", self._tokens()
        yield "Permissions", self._permissions()
        yield "Past the gateway, straight at the data service", self._contexts()
        yield "A tenant is suspended and resumed", self._suspension()

    def clean_up(self) -> None:
        """Resumes the tenant that was suspended and deletes what was made; events stay.

        Raises:
            Failure: a call was refused, or nobody answers.
        """
        demo_calls.resume(self._actors.operator(), "C")
        for tenant_id in TENANTS:
            client = self._actors.tenant(tenant_id)
            for delete in (
                partial(demo_calls.delete_campaign, client, self._shared),
                partial(demo_calls.delete_campaign, client, self._private),
                partial(demo_calls.delete_object, client, self._path),
            ):
                demo_calls.gone(delete, patience=RESUMPTION_SECONDS)

    def _side_by_side(self) -> tuple[Step, ...]:
        steps = []
        for tenant_id in TENANTS:
            client, name = self._actors.tenant(tenant_id), _name_of(tenant_id)
            steps += [
                Step(
                    title=f"{tenant_id} creates campaigns/{self._shared}",
                    attempt=partial(demo_calls.create_campaign, client, self._shared, name=name),
                ),
                Step(
                    title=f"{tenant_id} puts {self._path}",
                    attempt=partial(demo_calls.put, client, self._path, content=name),
                ),
                Step(
                    title=f"{tenant_id} ingests event {self._shared}",
                    attempt=partial(demo_calls.ingest, client, self._shared, subject=name),
                ),
            ]
        read_back = [
            Step(
                title=f"{tenant_id} reads all three back",
                attempt=partial(self._read_back, tenant_id),
            )
            for tenant_id in TENANTS
        ]
        return (*steps, *read_back)

    def _crossings(self) -> tuple[Step, ...]:
        a, b = self._actors.tenant("A"), self._actors.tenant("B")
        private, path = self._private, self._path
        return (
            Step(
                title=f"A creates campaigns/{private}",
                attempt=partial(demo_calls.create_campaign, a, private, name=_name_of("A")),
            ),
            Step(
                title="B reads it",
                attempt=partial(demo_calls.get_campaign, b, private),
                refusal=_MISSING,
            ),
            Step(
                title="B hears the words for one that nobody has",
                attempt=partial(self._same_words, b),
            ),
            Step(
                title="B changes it",
                attempt=partial(demo_calls.rename_campaign, b, private),
                refusal=_MISSING,
            ),
            Step(
                title="B deletes it",
                attempt=partial(demo_calls.delete_campaign, b, private),
                refusal=_MISSING,
            ),
            Step(title="B lists campaigns: not among them", attempt=partial(self._unlisted, b)),
            Step(title="A asks for a page of campaigns", attempt=partial(self._first_page, a)),
            Step(
                title="B goes on with A's page token",
                attempt=lambda: demo_calls.list_campaigns(b, self._page_token),
                refusal=("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"),
            ),
            Step(
                title=f"B gets ../tenant-a/{path}",
                attempt=partial(demo_calls.stat, b, f"../tenant-a/{path}"),
                refusal=("INVALID_ARGUMENT", "INVALID_PATH"),
            ),
            Step(
                title=f"B gets tenant-a/{path}",
                attempt=partial(demo_calls.stat, b, f"tenant-a/{path}"),
                refusal=_MISSING,
            ),
        )

    def _tokens(self) -> tuple[Step, ...]:
        sign = self._actors.token
        cases = (
            ("no token", "", "TOKEN_MISSING"),
            ("an expired token", sign("A", exp=int(time.time()) - 60), "TOKEN_EXPIRED"),
            ("a token signed by a forger", demo_actors.forged_token("A"), "TOKEN_SIGNATURE"),
            (
                "a token with the public key as HMAC secret",
                demo_actors.hmac_token(self._actors.issuer, "A"),
                "TOKEN_ALGORITHM",
            ),
            ("a token with algorithm none", demo_actors.unsigned_token("A"), "TOKEN_ALGORITHM"),
            ("a token for another audience", sign("A", aud="elsewhere"), "TOKEN_AUDIENCE"),
            ("a token of an unknown issuer", sign("A", iss="https://example.com"), "TOKEN_ISSUER"),
            (
                "a token of a tenant and the platform at once",
                sign("A", permissions=["*", "platform.*"]),
                "TOKEN_CLAIMS",
            ),
        )
        return tuple(
            Step(
                title=title,
                attempt=partial(
                    demo_calls.get_campaign, self._actors.with_token(token), self._shared
                ),
                refusal=("UNAUTHENTICATED", reason),
            )
            for title, token, reason in cases
        )

    def _permissions(self) -> tuple[Step, ...]:
        denied = ("PERMISSION_DENIED", "PERMISSION_MISSING")
        reader = self._actors.tenant("A", permissions=["campaigns.read"])
        return (
            Step(
                title="with campaigns.read, A reads a campaign",
                attempt=partial(demo_calls.get_campaign, reader, self._shared),
            ),
            Step(
                title="with campaigns.read, A deletes it",
                attempt=partial(demo_calls.delete_campaign, reader, self._shared),
                refusal=denied,
            ),
            Step(
                title="A, with all that a tenant can have, suspends B",
                attempt=partial(demo_calls.suspend, self._actors.tenant("A"), "B"),
                refusal=denied,
            ),
            Step(
                title="a tenant that does not exist",
                attempt=partial(
                    demo_calls.get_campaign, self._actors.tenant("Nobody"), self._shared
                ),
                refusal=("PERMISSION_DENIED", "TENANT_UNAVAILABLE"),
            ),
        )

    def _contexts(self) -> tuple[Step, ...]:
        of_a, of_b = (self._actors.context(name, audience="data") for name in ("A", "B"))
        for_search = self._actors.context("A", audience="search")
        forged = demo_actors.forged_context(of_a)
        cases = (
            ("with a genuine context, A reads its campaign", (of_a,), ""),
            ("with no context", (), "CONTEXT_MISSING"),
            ("with a forged context of A", (forged,), "CONTEXT_INVALID"),
            (
                "with B's genuine context and a forged one of A",
                (of_b, forged),
                "CREDENTIAL_DOUBLED",
            ),
            ("with A's genuine context for search", (for_search,), "CONTEXT_AUDIENCE"),
        )
        direct = tuple(
            Step(
                title=title,
                attempt=partial(
                    demo_calls.get_campaign, self._actors.at_data(*contexts), self._private
                ),
                refusal=("UNAUTHENTICATED", reason) if reason else None,
            )
            for title, contexts, reason in cases
        )
        smuggler = self._actors.with_token(
            self._actors.token("B"), metadata=[(demo_actors.CONTEXT_KEY, of_a)]
        )
        smuggling = Step(
            title="B sends A's context along to the gateway",
            attempt=partial(demo_calls.get_campaign, smuggler, self._private),
            refusal=_MISSING,
        )
        return (*direct, smuggling)

    def _suspension(self) -> tuple[Step, ...]:
        c, operator = self._actors.tenant("C"), self._actors.operator()
        return (
            Step(
                title="the operator suspends C", attempt=partial(demo_calls.suspend, operator, "C")
            ),
            Step(
                title="C reads its campaign",
                attempt=partial(demo_calls.get_campaign, c, self._shared),
                refusal=("PERMISSION_DENIED", "TENANT_UNAVAILABLE"),
                patience=SUSPENSION_SECONDS,
            ),
            Step(title="A goes on", attempt=partial(self._read_back, "A")),
            Step(title="the operator resumes C", attempt=partial(demo_calls.resume, operator, "C")),
            Step(
                title="C finds everything as it was",
                attempt=partial(self._read_back, "C"),
                patience=RESUMPTION_SECONDS,
            ),
        )

    def _read_back(self, tenant_id: str) -> str:
        client, name = self._actors.tenant(tenant_id), _name_of(tenant_id)
        _expect(name, demo_calls.get_campaign(client, self._shared))
        _expect(name, demo_calls.read(client, self._path))
        _expect(name, demo_calls.subjects_of(client, self._shared))
        return f"campaign, file and event are those of {tenant_id}"

    def _same_words(self, client: Client) -> str:
        answers = []
        for campaign in (self._private, f"{self._shared}-nobodys"):
            try:
                demo_calls.get_campaign(client, campaign)
            except Failure as failure:
                answers.append(failure.line().replace(campaign, "..."))
        if len(answers) != 2:
            raise Unexpected("somebody else's campaign was read")
        _expect(answers[1], answers[0])
        return answers[0]

    def _unlisted(self, client: Client) -> str:
        names = demo_calls.list_campaigns(client, "")
        if self._private in names:
            raise Unexpected(f"{self._private} is listed")
        return names

    def _first_page(self, client: Client) -> str:
        self._page_token = demo_calls.first_page_token(client)
        return "one campaign, and a token for the next page"


def _name_of(tenant_id: str) -> str:
    return f"Spring sale of {tenant_id}"


def _expect(wanted: str, got: str) -> None:
    if wanted != got:
        raise Unexpected(f"{got!r} instead of {wanted!r}")
