"""Two tenants attack each other through every method that the edge exposes."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from boundary.catalog import Method
from boundary.context import CONTEXT_KEY
from silo.data.v1 import campaign_pb2
from silo.search.v1 import event_pb2
from silo.storage.v1 import object_pb2
from tests.isolation.world import (
    OWN_METHODS,
    SINGLETONS,
    TENANT_METHODS,
    World,
    bearer,
    call,
    request_for,
)

BY_NAME = {method.descriptor.name: method for method in TENANT_METHODS}
NAMES_A_RESOURCE = [
    method
    for method in TENANT_METHODS
    if method.resource[-1:] in (("name",), ("path",), ("destination_path",))
    and not method.client_streaming
    and method.descriptor.name not in {f"Update{each}" for each in SINGLETONS}
    and not method.descriptor.name.startswith(
        "Sign"
    )  # signs what may come to be; it looks at nothing
]


@pytest.fixture(scope="module", autouse=True)
def _victims_are_unharmed(worlds: tuple[World, World]) -> Any:
    """Whatever the tests of this module did, both tenants still read what they wrote."""
    before = [world.snapshot() for world in worlds]
    assert all(
        world.canary.encode() in str(seen).encode()
        for world, seen in zip(worlds, before, strict=True)
    )
    yield
    for world, seen in zip(worlds, before, strict=True):
        after = world.snapshot()
        for method in ("GetCampaign", "GetUser", "GetRecipientList", "GetTemplate", "GetObject"):
            name = BY_NAME[method].name
            assert after[name] == seen[name], f"{method} of {world.tenant_id} has changed"


@pytest.mark.parametrize("method", TENANT_METHODS + OWN_METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("direction", [0, 1], ids=["forth", "back"])
def test_no_method_gives_or_takes_anything_of_anothers(
    worlds: tuple[World, World], method: Method, direction: int
) -> None:
    victim, attacker = worlds[direction], worlds[1 - direction]
    outcome = call(attacker.channel, method, request_for(method, victim), attacker.metadata)
    assert outcome.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), outcome
    everything = b"".join(outcome.responses) + outcome.details.encode()
    everything += outcome.status.SerializeToString()
    echoed = victim.canary.encode() in request_for(method, victim).SerializeToString()
    assert echoed or victim.canary.encode() not in everything


@pytest.mark.parametrize("method", NAMES_A_RESOURCE, ids=lambda method: method.name)
def test_a_foreign_resource_reads_exactly_like_a_missing_one(
    worlds: tuple[World, World], method: Method
) -> None:
    victim, attacker = worlds
    fresh = World(attacker.stack, attacker.channel, "B")  # has nothing of either name
    foreign = call(fresh.channel, method, request_for(method, victim), fresh.metadata)
    missing = call(
        fresh.channel, method, request_for(method, victim, own="never-was"), fresh.metadata
    )
    assert foreign.code is grpc.StatusCode.NOT_FOUND, foreign
    assert foreign.without(victim.own) == missing.without("never-was")


@pytest.mark.parametrize("method", TENANT_METHODS, ids=lambda method: method.name)
def test_a_context_that_a_client_brings_is_not_taken(
    worlds: tuple[World, World], method: Method
) -> None:
    victim, attacker = worlds
    stolen = victim.contexts()[method.service]
    for extra in (((CONTEXT_KEY, stolen),), ((CONTEXT_KEY, stolen), (CONTEXT_KEY, stolen))):
        outcome = call(
            attacker.channel, method, request_for(method, victim), (*attacker.metadata, *extra)
        )
        assert victim.canary.encode() not in b"".join(outcome.responses)
    alone = call(attacker.channel, method, request_for(method, victim), ((CONTEXT_KEY, stolen),))
    assert (alone.code, alone.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


@pytest.mark.parametrize("method", TENANT_METHODS + OWN_METHODS, ids=lambda method: method.name)
def test_a_permission_of_everything_else_is_not_enough(
    worlds: tuple[World, World], method: Method
) -> None:
    others = {m.permission for m in TENANT_METHODS} - {method.permission}
    world = worlds[0]
    token = world.stack.token(world.tenant_id, permissions=sorted(others))
    outcome = call(world.channel, method, request_for(method, world), bearer(token))
    assert (outcome.code, outcome.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PERMISSION_MISSING",
    )
    assert method.permission in outcome.details


def test_a_page_token_is_worth_nothing_elsewhere(worlds: tuple[World, World]) -> None:
    victim, attacker = worlds
    lists = {
        "ListCampaigns": campaign_pb2.ListCampaignsRequest(page_size=1),
        "ListObjects": object_pb2.ListObjectsRequest(page_size=1),
        "SearchEvents": event_pb2.SearchEventsRequest(page_size=1),
    }
    creating = BY_NAME["CreateCampaign"]
    uploading = BY_NAME["CopyObject"]
    ingesting = BY_NAME["IngestEvents"]
    for number in range(2):
        call(
            victim.channel,
            creating,
            campaign_pb2.CreateCampaignRequest(
                campaign_id=f"page-{number}", campaign=campaign_pb2.Campaign(display_name="p")
            ),
            victim.metadata,
        )
        call(
            victim.channel,
            uploading,
            object_pb2.CopyObjectRequest(
                source_path=victim.path, destination_path=f"pages/{number}"
            ),
            victim.metadata,
        )
        event = victim.event()
        event.event_id = f"page-{number}"
        call(
            victim.channel,
            ingesting,
            event_pb2.IngestEventsRequest(events=[event]),
            victim.metadata,
        )
    tokens = {}
    for name, request in lists.items():
        outcome = call(victim.channel, BY_NAME[name], request, victim.metadata)
        page = BY_NAME[name].response_type.FromString(outcome.responses[0])
        tokens[name] = page.next_page_token  # type: ignore[attr-defined]
        assert tokens[name], name
    for name, request in lists.items():
        for token_name, token in tokens.items():
            request.page_token = token
            stolen = call(attacker.channel, BY_NAME[name], request, attacker.metadata)
            assert (stolen.code, stolen.reason) == (
                grpc.StatusCode.INVALID_ARGUMENT,
                "INVALID_PAGE_TOKEN",
            )
            own = call(victim.channel, BY_NAME[name], request, victim.metadata)
            assert (own.code is grpc.StatusCode.OK) == (name == token_name)


@pytest.mark.parametrize(
    "path",
    [
        "../tenant-acme/secret/only-acme.txt",
        "x/../../tenant-acme/secret/only-acme.txt",
        "..%2ftenant-acme/secret/only-acme.txt",
        "%2e%2e/tenant-acme/secret/only-acme.txt",
        "/tenant-acme/secret/only-acme.txt",
        "//tenant-acme/secret",
        "..\\tenant-acme\\secret",
        "a\0b",
        "\u2025/tenant-acme",
        "a\u2215b",
        ".",
        "",
    ],
)
def test_no_path_leads_out_of_the_prefix(worlds: tuple[World, World], path: str) -> None:
    attacker = worlds[1]
    requests = {
        "GetObject": object_pb2.GetObjectRequest(path=path),
        "DownloadObject": object_pb2.DownloadObjectRequest(path=path),
        "CopyObject": object_pb2.CopyObjectRequest(source_path=path, destination_path="mine"),
        "DeleteObject": object_pb2.DeleteObjectRequest(path=path),
        "UploadObject": object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path=path)),
        "SignDownload": object_pb2.SignDownloadRequest(path=path),
        "SignUpload": object_pb2.SignUploadRequest(path=path),
    }
    for name, request in requests.items():
        outcome = call(attacker.channel, BY_NAME[name], request, attacker.metadata)
        assert outcome.code is grpc.StatusCode.INVALID_ARGUMENT, (name, outcome)
