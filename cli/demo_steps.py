"""What `silo demo` tries, in order, and what must come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cli import demo_actors
from cli.client import Client
from cli.demo_actors import Actors
from cli.failures import Failure
from silo.data.v1 import campaign_pb2, campaign_pb2_grpc
from silo.resolver.v1 import tenant_pb2, tenant_pb2_grpc
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc

TENANTS = ("A", "B", "C")


class Unexpected(Exception):
    """Something came back that isolation forbids; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that is tried.

    Attributes:
        title: what is tried, in words.
        attempt: tries it and says what came back.
        refusal: the code and the reason that it must be refused with; None where it must work.
    """

    title: str
    attempt: Callable[[], str]
    refusal: tuple[str, str] | None = None


class Script:
    """The steps. Ids are fresh for each run, so that it can be run again and again.

    Attributes:
        shared: an id that all three tenants use.
        private: an id that tenant A alone uses.
    """

    def __init__(self, actors: Actors, *, run: str) -> None:
        self._actors = actors
        self.shared = f"demo-{run}"
        self.private = f"demo-{run}-private"
        self._path = f"exports/{self.shared}.txt"
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
            Failure: a call was refused for another reason than that the thing is not there.
        """
        _resume(self._actors.operator(), "C")
        for tenant_id in TENANTS:
            client = self._actors.tenant(tenant_id)
            campaigns = client.stub(campaign_pb2_grpc.CampaignServiceStub)
            objects = client.stub(object_pb2_grpc.ObjectServiceStub)
            for campaign in (self.shared, self.private):
                request = campaign_pb2.DeleteCampaignRequest(name=f"campaigns/{campaign}")
                _unless_missing(lambda r=request: client.call(campaigns.DeleteCampaign, r))  # type: ignore[misc] # noqa: B023
            gone = object_pb2.DeleteObjectRequest(path=self._path)
            _unless_missing(lambda: client.call(objects.DeleteObject, gone))  # noqa: B023

    def _side_by_side(self) -> tuple[Step, ...]:
        steps = []
        for tenant_id in TENANTS:
            steps += [
                Step(
                    title=f"{tenant_id} creates campaigns/{self.shared}",
                    attempt=lambda t=tenant_id: self._create(t, self.shared),  # type: ignore[misc]
                ),
                Step(
                    title=f"{tenant_id} puts {self._path}",
                    attempt=lambda t=tenant_id: self._put(t),  # type: ignore[misc]
                ),
                Step(
                    title=f"{tenant_id} ingests event {self.shared}",
                    attempt=lambda t=tenant_id: self._ingest(t),  # type: ignore[misc]
                ),
            ]
        steps += [
            Step(
                title=f"{tenant_id} reads all three back",
                attempt=lambda t=tenant_id: self._read_back(t),  # type: ignore[misc]
            )
            for tenant_id in TENANTS
        ]
        return tuple(steps)

    def _crossings(self) -> tuple[Step, ...]:
        missing = ("NOT_FOUND", "RESOURCE_NOT_FOUND")
        b = self._actors.tenant("B")
        return (
            Step(
                title=f"A creates campaigns/{self.private}",
                attempt=lambda: self._create("A", self.private),
            ),
            Step(
                title="B reads it",
                attempt=lambda: _get_campaign(b, self.private),
                refusal=missing,
            ),
            Step(
                title="B is told so in the words for one that nobody has",
                attempt=lambda: self._same_words(b),
            ),
            Step(
                title="B changes it",
                attempt=lambda: _rename_campaign(b, self.private),
                refusal=missing,
            ),
            Step(
                title="B deletes it",
                attempt=lambda: _delete_campaign(b, self.private),
                refusal=missing,
            ),
            Step(title="B lists campaigns: not among them", attempt=lambda: self._unlisted(b)),
            Step(title="A asks for a page of campaigns", attempt=self._first_page),
            Step(
                title="B goes on with A's page token",
                attempt=lambda: _list_campaigns(b, self._page_token),
                refusal=("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"),
            ),
            Step(
                title=f"B gets ../tenant-a/{self._path}",
                attempt=lambda: _stat(b, f"../tenant-a/{self._path}"),
                refusal=("INVALID_ARGUMENT", "INVALID_PATH"),
            ),
            Step(
                title=f"B gets tenant-a/{self._path}",
                attempt=lambda: _stat(b, f"tenant-a/{self._path}"),
                refusal=missing,
            ),
        )

    def _tokens(self) -> tuple[Step, ...]:
        make = self._actors.token
        cases = (
            ("no token", lambda: "", "TOKEN_MISSING"),
            ("an expired token", lambda: make("A", exp=int(time.time()) - 60), "TOKEN_EXPIRED"),
            (
                "a token signed by a forger",
                lambda: demo_actors.forged_token("A"),
                "TOKEN_SIGNATURE",
            ),
            ("a token signed with HMAC", lambda: demo_actors.hmac_token("A"), "TOKEN_ALGORITHM"),
            (
                "a token that is not signed",
                lambda: demo_actors.unsigned_token("A"),
                "TOKEN_ALGORITHM",
            ),
            ("a token for another audience", lambda: make("A", aud="elsewhere"), "TOKEN_AUDIENCE"),
            (
                "a token of an unknown issuer",
                lambda: make("A", iss="https://example.com"),
                "TOKEN_ISSUER",
            ),
            (
                "a token of a tenant and the platform at once",
                lambda: make("A", permissions=["*", "platform.*"]),
                "TOKEN_CLAIMS",
            ),
        )
        return tuple(
            Step(
                title=title,
                attempt=lambda t=token: _get_campaign(self._actors.with_token(t()), self.shared),  # type: ignore[misc]
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
                attempt=lambda: _get_campaign(reader, self.shared),
            ),
            Step(
                title="with campaigns.read, A deletes it",
                attempt=lambda: _delete_campaign(reader, self.shared),
                refusal=denied,
            ),
            Step(
                title="A, with everything a tenant can have, suspends B",
                attempt=lambda: _suspend(self._actors.tenant("A"), "B"),
                refusal=denied,
            ),
            Step(
                title="a tenant that does not exist",
                attempt=lambda: _get_campaign(self._actors.tenant("Nobody"), self.shared),
                refusal=("PERMISSION_DENIED", "TENANT_UNAVAILABLE"),
            ),
        )

    def _contexts(self) -> tuple[Step, ...]:
        genuine = self._actors.context
        forge = demo_actors.forged_context
        at_data = self._actors.at_data
        return (
            Step(
                title="with a genuine context, A reads its campaign",
                attempt=lambda: _get_campaign(at_data(genuine("A", audience="data")), self.private),
            ),
            Step(
                title="with no context",
                attempt=lambda: _get_campaign(at_data(), self.private),
                refusal=("UNAUTHENTICATED", "CONTEXT_MISSING"),
            ),
            Step(
                title="with a forged context of A",
                attempt=lambda: _get_campaign(
                    at_data(forge(genuine("A", audience="data"))), self.private
                ),
                refusal=("UNAUTHENTICATED", "CONTEXT_INVALID"),
            ),
            Step(
                title="with B's genuine context and a forged one of A",
                attempt=lambda: _get_campaign(
                    at_data(genuine("B", audience="data"), forge(genuine("A", audience="data"))),
                    self.private,
                ),
                refusal=("UNAUTHENTICATED", "CREDENTIAL_DOUBLED"),
            ),
            Step(
                title="with A's genuine context for search",
                attempt=lambda: _get_campaign(
                    at_data(genuine("A", audience="search")), self.private
                ),
                refusal=("UNAUTHENTICATED", "CONTEXT_AUDIENCE"),
            ),
            Step(
                title="B slips A's context past the gateway",
                attempt=lambda: _get_campaign(
                    self._actors.with_token(
                        self._actors.token("B"),
                        metadata=[(demo_actors.CONTEXT_KEY, genuine("A", audience="data"))],
                    ),
                    self.private,
                ),
                refusal=("NOT_FOUND", "RESOURCE_NOT_FOUND"),
            ),
        )

    def _suspension(self) -> tuple[Step, ...]:
        c = self._actors.tenant("C")
        operator = self._actors.operator()
        return (
            Step(title="the operator suspends C", attempt=lambda: _suspend(operator, "C")),
            Step(
                title="C reads its campaign",
                attempt=lambda: _get_campaign(c, self.shared),
                refusal=("PERMISSION_DENIED", "TENANT_UNAVAILABLE"),
            ),
            Step(title="A goes on", attempt=lambda: self._read_back("A")),
            Step(title="the operator resumes C", attempt=lambda: _resume(operator, "C")),
            Step(title="C finds everything as it was", attempt=lambda: self._read_back("C")),
        )

    def _create(self, tenant_id: str, campaign: str) -> str:
        client = self._actors.tenant(tenant_id)
        stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
        request = campaign_pb2.CreateCampaignRequest(campaign_id=campaign)
        request.campaign.display_name = _name_of(tenant_id)
        return client.call(stub.CreateCampaign, request).campaign.display_name

    def _put(self, tenant_id: str) -> str:
        client = self._actors.tenant(tenant_id)
        stub = client.stub(object_pb2_grpc.ObjectServiceStub)
        spec = object_pb2.UploadSpec(path=self._path, content_type="text/plain")
        requests = [
            object_pb2.UploadObjectRequest(spec=spec),
            object_pb2.UploadObjectRequest(chunk=_name_of(tenant_id).encode()),
        ]
        return f"{client.upload(stub.UploadObject, requests).object.size} bytes"

    def _ingest(self, tenant_id: str) -> str:
        client = self._actors.tenant(tenant_id)
        stub = client.stub(event_pb2_grpc.EventServiceStub)
        event = event_pb2.Event(
            event_id=self.shared,
            event_type=event_pb2.EVENT_TYPE_OPEN,
            campaign_id=self.shared,
            recipient=f"someone@tenant-{tenant_id.lower()}.example",
        )
        event.timestamp.GetCurrentTime()
        batch = event_pb2.IngestEventsRequest(events=[event])
        answers = list(client.converse(stub.IngestEvents, iter([batch])))
        return f"{sum(answer.accepted_count for answer in answers)} accepted"

    def _read_back(self, tenant_id: str) -> str:
        client = self._actors.tenant(tenant_id)
        name = _name_of(tenant_id)
        _expect(name, _get_campaign(client, self.shared))
        objects = client.stub(object_pb2_grpc.ObjectServiceStub)
        request = object_pb2.DownloadObjectRequest(path=self._path)
        content = b"".join(m.chunk for m in client.download(objects.DownloadObject, request))
        _expect(name, content.decode())
        events = client.stub(event_pb2_grpc.EventServiceStub)
        search = event_pb2.SearchEventsRequest()
        search.filter.campaign_ids.append(self.shared)
        found = [event.recipient for event in client.call(events.SearchEvents, search).events]
        _expect(f"someone@tenant-{tenant_id.lower()}.example", ", ".join(found))
        return f"campaign, file and event say {name!r}"

    def _same_words(self, client: Client) -> str:
        answers = []
        for campaign in (self.private, f"{self.shared}-nobodys"):
            try:
                _get_campaign(client, campaign)
            except Failure as failure:
                answers.append(failure.line().replace(campaign, "..."))
        if len(answers) != 2:
            raise Unexpected("a campaign of somebody else's was read")
        _expect(answers[1], answers[0])
        return answers[0]

    def _unlisted(self, client: Client) -> str:
        names = _list_campaigns(client, "")
        if self.private in names:
            raise Unexpected(f"{self.private} is listed")
        return names

    def _first_page(self) -> str:
        client = self._actors.tenant("A")
        stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
        page = client.call(stub.ListCampaigns, campaign_pb2.ListCampaignsRequest(page_size=1))
        self._page_token = page.next_page_token
        return f"{len(page.campaigns)} campaign and a token for the next page"


def _name_of(tenant_id: str) -> str:
    return f"Spring sale of {tenant_id}"


def _expect(wanted: str, got: str) -> None:
    if wanted != got:
        raise Unexpected(f"{got!r} instead of {wanted!r}")


def _get_campaign(client: Client, campaign: str) -> str:
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    request = campaign_pb2.GetCampaignRequest(name=f"campaigns/{campaign}")
    return client.call(stub.GetCampaign, request).campaign.display_name


def _rename_campaign(client: Client, campaign: str) -> str:
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    request = campaign_pb2.UpdateCampaignRequest()
    request.campaign.name = f"campaigns/{campaign}"
    request.campaign.display_name = "Taken over"
    return client.call(stub.UpdateCampaign, request).campaign.display_name


def _delete_campaign(client: Client, campaign: str) -> str:
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    client.call(
        stub.DeleteCampaign, campaign_pb2.DeleteCampaignRequest(name=f"campaigns/{campaign}")
    )
    return "deleted"


def _list_campaigns(client: Client, page_token: str) -> str:
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    size = 1 if page_token else 200
    request = campaign_pb2.ListCampaignsRequest(page_size=size, page_token=page_token)
    page = client.call(stub.ListCampaigns, request)
    return ", ".join(campaign.name.partition("/")[2] for campaign in page.campaigns)


def _stat(client: Client, path: str) -> str:
    stub = client.stub(object_pb2_grpc.ObjectServiceStub)
    return client.call(stub.GetObject, object_pb2.GetObjectRequest(path=path)).object.path


def _suspend(client: Client, tenant_id: str) -> str:
    stub = client.stub(tenant_pb2_grpc.TenantServiceStub)
    request = tenant_pb2.SuspendTenantRequest(name=f"tenants/{tenant_id}")
    client.call(stub.SuspendTenant, request)
    return "suspended"


def _resume(client: Client, tenant_id: str) -> str:
    stub = client.stub(tenant_pb2_grpc.TenantServiceStub)
    request = tenant_pb2.ResumeTenantRequest(name=f"tenants/{tenant_id}")
    client.call(stub.ResumeTenant, request)
    return "resumed"


def _unless_missing(attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except Failure as failure:
        if failure.code != "NOT_FOUND":
            raise
