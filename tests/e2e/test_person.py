"""`make run`'s stack in processes, used as a person at a shell would, with nothing but its address and a token."""

from __future__ import annotations

import urllib.request

import pytest

from boundary.catalog import all_methods
from devstack.stack import Stack
from tests.e2e.person import Person, Reflecting, Refused, person_at

CAMPAIGNS = "silo.data.v1.CampaignService"


@pytest.fixture(scope="module", params=["at a shell", "by reflection"])
def person(stack: Stack, request: pytest.FixtureRequest) -> Person:
    """With grpcurl where there is one, and always with reflection alone."""
    return person_at(stack.gateway) if request.param == "at a shell" else Reflecting(stack.gateway)


def test_list_and_describe_show_every_exposed_service(person: Person) -> None:
    exposed = {m.descriptor.containing_service.full_name for m in all_methods() if m.edge}
    assert exposed <= set(person.services())
    for service in exposed:
        declared = {
            m.descriptor.name
            for m in all_methods()
            if m.descriptor.containing_service.full_name == service
        }
        assert set(person.methods(service)) == declared


def test_a_tenant_works_and_its_neighbour_sees_nothing(
    person: Person, stack: Stack, request: pytest.FixtureRequest
) -> None:
    mine, theirs = stack.token("A"), stack.token("B")
    own = "shell" if "shell" in request.node.name else "reflection"
    name = f"campaigns/person-{own}"
    created = person.call(
        f"{CAMPAIGNS}/CreateCampaign",
        {"campaignId": f"person-{own}", "campaign": {"displayName": "Spring", "subject": "Spring"}},
        mine,
    )
    assert created["campaign"]["name"] == name
    read = person.call(f"{CAMPAIGNS}/GetCampaign", {"name": name}, mine)
    assert read["campaign"]["subject"] == "Spring"
    with pytest.raises(Refused) as caught:
        person.call(f"{CAMPAIGNS}/GetCampaign", {"name": name}, theirs)
    assert caught.value.code == "NOT_FOUND"
    with pytest.raises(Refused) as caught:
        person.call(f"{CAMPAIGNS}/GetCampaign", {"name": name})
    assert caught.value.code == "UNAUTHENTICATED"
    listed = person.call(f"{CAMPAIGNS}/ListCampaigns", {}, theirs)
    assert name not in {campaign["name"] for campaign in listed.get("campaigns", [])}


def test_an_operator_governs_tenants(person: Person, stack: Stack) -> None:
    answer = person.call("silo.resolver.v1.TenantService/ListTenants", {}, stack.operator_token())
    assert {"tenants/A", "tenants/B", "tenants/C"} <= {t["name"] for t in answer["tenants"]}
    with pytest.raises(Refused) as caught:
        person.call("silo.resolver.v1.TenantService/ListTenants", {}, stack.token("A"))
    assert caught.value.code == "PERMISSION_DENIED"


def test_health_says_serving_at_every_process(stack: Stack) -> None:
    for name in ("gateway", "resolver", "data", "storage", "search"):
        someone = Reflecting(stack.addresses.dial(name))
        answer = someone.call("grpc.health.v1.Health/Check", {})
        assert answer == {"status": "SERVING"}, name
        for path in ("/healthz", "/readyz", "/metrics"):
            with urllib.request.urlopen(stack.addresses.url(name) + path, timeout=5) as response:
                assert response.status == 200, (name, path)
