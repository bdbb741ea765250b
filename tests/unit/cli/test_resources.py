from __future__ import annotations

import json

import jwt
import pytest

from silo.data.v1 import campaign_pb2


def test_creates_from_options(silo, gateway) -> None:
    result = silo(
        *("campaigns", "create", "spring", "--tenant", "A", "--request-id", "r1"),
        *("--display-name", "Spring sale", "--subject", "Hello", "--status", "draft"),
        *("--labels", "team=blue", "--labels", "year=2024"),
        *("--schedule-time", "2026-12-01T08:00:00Z"),
    )
    assert result.exit_code == 0, result.stderr
    (request,) = gateway.requests
    assert (request.campaign_id, request.request_id) == ("spring", "r1")
    campaign = request.campaign
    assert (campaign.display_name, campaign.subject) == ("Spring sale", "Hello")
    assert campaign.status == campaign_pb2.CAMPAIGN_STATUS_DRAFT
    assert dict(campaign.labels) == {"team": "blue", "year": "2024"}
    assert campaign.schedule_time.seconds == 1796112000
    assert "campaigns/spring" in result.stdout
    assert "draft" in result.stdout


def test_creates_from_json_with_options_on_top(silo, gateway) -> None:
    described = {"display_name": "Beneath", "from_address": "a@example.com"}
    result = silo(
        *("campaigns", "create", "spring", "--tenant", "A", "--from", "-"),
        *("--set", "labels.team=blue", "--set", "display_name=On top"),
        stdin=json.dumps(described),
    )
    assert result.exit_code == 0, result.stderr
    campaign = gateway.requests[0].campaign
    assert (campaign.display_name, campaign.from_address) == ("On top", "a@example.com")
    assert dict(campaign.labels) == {"team": "blue"}


def test_an_update_masks_what_was_given(silo, gateway) -> None:
    silo("campaigns", "update", "spring", "--tenant", "A", "--subject", "", "--etag", "7")
    (request,) = gateway.requests
    assert list(request.update_mask.paths) == ["subject"]
    assert (request.campaign.name, request.campaign.etag) == ("campaigns/spring", "7")


def test_a_mask_can_be_said(silo, gateway) -> None:
    silo("campaigns", "update", "campaigns/spring", "--tenant", "A", "--mask", "subject, labels")
    assert list(gateway.requests[0].update_mask.paths) == ["subject", "labels"]


def test_deletes(silo, gateway) -> None:
    result = silo("campaigns", "delete", "spring", "--tenant", "A", "--etag", "7")
    assert result.stdout == "campaigns/spring is deleted\n"
    assert gateway.requests == [
        campaign_pb2.DeleteCampaignRequest(name="campaigns/spring", etag="7")
    ]


def test_lists_a_page_and_tells_of_more(silo, gateway) -> None:
    result = silo("campaigns", "list", "--tenant", "A", "--status", "sent", "--order-by", "id desc")
    assert result.stdout.splitlines()[0].split() == [
        "name", "display_name", "status", "subject", "update_time",
    ]  # fmt: skip
    assert "campaigns/1" in result.stdout
    assert "--page-token 2" in result.stderr
    request = gateway.requests[0]
    assert (request.status, request.order_by) == (campaign_pb2.CAMPAIGN_STATUS_SENT, "id desc")


def test_follows_the_pages(silo, gateway) -> None:
    result = silo("campaigns", "list", "--tenant", "A", "--all", "--json", "--page-size", "2")
    answer = json.loads(result.stdout)
    assert [item["name"] for item in answer["campaigns"]] == [f"campaigns/{n}" for n in range(5)]
    assert answer["next_page_token"] == ""
    assert [request.page_token for request in gateway.requests] == ["", "2", "4"]


def test_json_has_every_field_by_its_proto_name(silo, gateway) -> None:
    answer = json.loads(silo("campaigns", "get", "spring", "--tenant", "A", "--json").stdout)
    assert answer["display_name"] == "Spring [bold]sale[/bold]"
    assert answer["status"] == "CAMPAIGN_STATUS_UNSPECIFIED"
    assert answer["labels"] == {}


def test_prints_what_looks_like_markup_as_it_is(silo, gateway) -> None:
    assert "Spring [bold]sale[/bold]" in silo("campaigns", "get", "x", "--tenant", "A").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--status", "soon"), "'soon' is none of draft, scheduled"),
        (("--set", "subject"), "--set takes key=value"),
        (("--set", "nowhere=1"), "there is no field nowhere"),
        (("--set", "labels=x"), "labels takes JSON"),
        (("--from", "/nonexistent"), "/nonexistent: no such file or directory"),
        (("--schedule-time", "tomorrow"), "INVALID_ARGUMENT (INVALID_JSON)"),
    ],
)
def test_says_what_it_cannot_take(silo, gateway, arguments, said) -> None:
    result = silo("campaigns", "create", "spring", "--tenant", "A", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert gateway.requests == []


def test_the_subject_of_a_campaign_is_not_the_caller(silo, gateway) -> None:
    silo("campaigns", "create", "x", "--tenant", "A", "--as", "bob", "--subject", "Hello")
    silo("campaigns", "get", "x", "--tenant", "A", "--subject", "carol")
    callers = [
        jwt.decode(sent["authorization"].split()[1], options={"verify_signature": False})["sub"]
        for sent in gateway.metadata
    ]
    assert callers == ["bob", "carol"]
    assert gateway.requests[0].campaign.subject == "Hello"
