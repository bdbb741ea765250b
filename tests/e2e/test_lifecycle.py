"""A tenant's life: onboarded, furnished, offboarded, and a proof that nothing is left."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import pytest

from boundary.certificates import CertificateError, verify
from boundary.errors import error_info
from boundary.resolver_client import rich_status
from devstack.stack import Stack
from silo.resolver.v1 import (
    operation_pb2,
    subject_erasure_pb2,
    subject_erasure_pb2_grpc,
    tenant_key_pb2,
    tenant_key_pb2_grpc,
    tenant_lifecycle_pb2,
    tenant_pb2,
)
from tests.crowd import crowd
from tests.lifecycle import ENVIRONMENT, KINDS, Inhabitant, Operator, files_with, moments, rows_of

pytestmark = pytest.mark.embedded

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
CANCELLED = operation_pb2.OPERATION_STATE_CANCELLED
WAITING = operation_pb2.OPERATION_STATE_WAITING
BLOCKED = operation_pb2.OPERATION_STATE_BLOCKED

ITEMS, OBJECTS = 60_000, 6_000
"""How much makes a purge long enough to be cut off in the middle of it."""

CRASHES = moments(*KINDS)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, stack_environment: Mapping[str, str]
) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("lifecycle")
    environment = {**stack_environment, **ENVIRONMENT}
    with Stack(home=home, tenants=("Neighbour",), environment=environment) as stack:
        yield stack


@pytest.fixture(scope="module")
def operator(running: Stack) -> Operator:
    return Operator(running)


@pytest.fixture(scope="module")
def neighbour(running: Stack) -> Inhabitant:
    inhabitant = Inhabitant(running, "Neighbour", mark="NEIGHBOUR-qz")
    inhabitant.furnish()
    return inhabitant


def reason(error: grpc.RpcError) -> str:
    """The reason that a refusal gives."""
    info = error_info(rich_status(error))  # type: ignore[arg-type]
    return info.reason if info is not None else ""


def metrics_of(stack: Stack) -> str:
    """What the resolver's metrics say."""
    url = stack.addresses.url("resolver") + "/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())


def refused(call: Any) -> str:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return reason(caught.value)


def test_an_onboarded_tenant_works_and_its_steps_are_told(
    running: Stack, operator: Operator
) -> None:
    started = operator.onboard("Anna", tier=tenant_pb2.TENANT_TIER_PREMIUM)
    assert started.kind == "onboarding"
    over = operator.over(started)
    assert over.state == SUCCEEDED, over
    assert {step.state for step in over.steps} == {operation_pb2.STEP_STATE_DONE}
    assert over.tenant == "tenants/Anna"
    tenant = operator.tenant("Anna")
    assert tenant.status == tenant_pb2.TENANT_STATUS_ACTIVE
    assert tenant.limits.counter_shards == 8  # the tier's own
    assert 'silo_tenant_info{region="local",status="ACTIVE",tenant="Anna",tier="PREMIUM"} 1.0' in (
        metrics_of(running)
    )
    anna = Inhabitant(running, "Anna", mark="ANNA-qz")
    anna.furnish(1)
    assert anna.inventory() == (1, 1, 1)
    watched = operator.operations.WatchOperation(
        operation_pb2.WatchOperationRequest(name=over.name), **operator.common
    )
    assert [told.operation.state for told in watched] == [SUCCEEDED]


def test_ids_and_slugs_in_use_are_refused(operator: Operator, neighbour: Inhabitant) -> None:
    assert refused(lambda: operator.onboard("Neighbour")) == "TENANT_EXISTS"
    assert refused(lambda: operator.onboard("nEIGHBOUR")) == "SLUG_EXISTS"
    assert refused(lambda: operator.onboard("not an id")) == "INVALID_TENANT_ID"


def test_everything_goes_but_the_neighbours_and_a_certificate_says_so(
    running: Stack, operator: Operator, neighbour: Inhabitant
) -> None:
    before = neighbour.inventory()
    assert operator.over(operator.onboard("Bert")).state == SUCCEEDED
    bert = Inhabitant(running, "Bert", mark="CANARY-bert-zq")
    bert.furnish(5)
    assert files_with(running.home, bert.mark)  # it is looked for rightly
    over = operator.over(operator.offboard("Bert"))
    assert over.state == SUCCEEDED, over
    assert bert.refusal() == "PERMISSION_DENIED"
    assert operator.tenant("Bert").status == tenant_pb2.TENANT_STATUS_PURGED
    assert operator.tenant("Bert").display_name == ""
    assert refused(lambda: operator.onboard("Bert")) == "TENANT_PURGED"
    assert refused(lambda: operator.onboard("bert")) == "SLUG_EXISTS"
    assert refused(lambda: operator.offboard("Bert")) == "TENANT_PURGED"
    rename = tenant_pb2.UpdateTenantRequest(
        tenant=tenant_pb2.Tenant(name="tenants/Bert", display_name="again")
    )
    assert refused(lambda: operator.tenants.UpdateTenant(rename, **operator.common)) == (
        "TENANT_PURGED"
    )
    assert files_with(running.home, bert.mark) == []
    assert 'tenant="Bert"' not in metrics_of(running)
    assert neighbour.inventory() == before
    sections = verify(operator.certificate(over))
    assert sections["tenant"]["tenant_id"] == "Bert"
    assert sections["items"]["removed"] >= 5 * 5
    assert sections["objects"]["removed"] >= 5 * 2
    assert sections["events"]["removed"] == 5
    assert {sections[store]["left"] for store in ("items", "objects", "events")} == {0}


def test_a_certificate_that_was_changed_is_refused_with_the_place(operator: Operator) -> None:
    assert operator.over(operator.onboard("Cora")).state == SUCCEEDED
    text = operator.certificate(operator.over(operator.offboard("Cora")))
    keys = {key["kid"] for key in json.loads(operator.jwks())["keys"]}
    assert json.loads(text)["key_id"] in keys
    for place, change in {
        "sections.items": lambda d: d["sections"]["items"].update(removed=7),
        "sections.key": lambda d: d["sections"].pop("key"),
        "sections.more": lambda d: d["sections"].update(more={}),
        "signature": lambda d: d["digests"].update(items="0" * 64),
        "document": lambda d: d.update(extra=1),
    }.items():
        document = json.loads(text)
        change(document)
        with pytest.raises(CertificateError) as caught:
            verify(json.dumps(document))
        assert caught.value.place == place
    with pytest.raises(CertificateError) as caught:
        verify(text, keys={json.loads(text)["key_id"]: b"\0" * 32})
    assert caught.value.place == "public_key"


def test_within_the_grace_period_everything_can_be_taken_back(
    running: Stack, operator: Operator
) -> None:
    assert operator.over(operator.onboard("Dora")).state == SUCCEEDED
    dora = Inhabitant(running, "Dora", mark="DORA-qz")
    dora.furnish(1)
    leaving = operator.offboard("Dora", grace=3600)
    waiting = operator.until(leaving, lambda now: now.state == WAITING)
    assert waiting.due_time.seconds > 0
    assert dora.refusal() == "PERMISSION_DENIED"
    resume = tenant_pb2.ResumeTenantRequest(name="tenants/Dora")
    assert refused(lambda: operator.tenants.ResumeTenant(resume, **operator.common)) == (
        "TENANT_STATUS"
    )
    assert refused(lambda: operator.offboard("Dora")) == "OPERATION_UNDER_WAY"
    cancel = operation_pb2.CancelOperationRequest(name=leaving.name)
    operator.operations.CancelOperation(cancel, **operator.common)
    assert operator.over(leaving).state == CANCELLED
    assert dora.inventory() == (1, 1, 1)


def test_nothing_that_is_held_is_purged(running: Stack, operator: Operator) -> None:
    assert operator.over(operator.onboard("Emil")).state == SUCCEEDED
    emil = Inhabitant(running, "Emil", mark="EMIL-qz")
    emil.furnish(1)
    leaving = operator.offboard("Emil", grace=1)
    hold = tenant_lifecycle_pb2.SetLegalHoldRequest(name="tenants/Emil", reason="case 7")
    assert operator.lifecycle.SetLegalHold(hold, **operator.common).tenant.legal_hold == "case 7"
    blocked = operator.until(leaving, lambda now: now.state == BLOCKED)
    assert blocked.error.reason == "LEGAL_HOLD"
    assert files_with(running.home, emil.mark)
    release = tenant_lifecycle_pb2.ReleaseLegalHoldRequest(name="tenants/Emil")
    operator.lifecycle.ReleaseLegalHold(release, **operator.common)
    assert operator.over(leaving).state == SUCCEEDED
    assert files_with(running.home, emil.mark) == []
    assert operator.over(operator.onboard("Frida")).state == SUCCEEDED
    hold = tenant_lifecycle_pb2.SetLegalHoldRequest(name="tenants/Frida", reason="case 8")
    operator.lifecycle.SetLegalHold(hold, **operator.common)
    assert refused(lambda: operator.offboard("Frida")) == "LEGAL_HOLD"


@pytest.mark.timeout(120)
def test_a_hold_ends_the_purge_that_is_under_way(running: Stack, operator: Operator) -> None:
    assert operator.over(operator.onboard("Olga")).state == SUCCEEDED
    crowd(running.home, "Olga", mark="CANARY-olga-zq", items=ITEMS)
    leaving = operator.offboard("Olga")
    operator.removing(leaving, "items", some=True)
    hold = tenant_lifecycle_pb2.SetLegalHoldRequest(name="tenants/Olga", reason="case 9")
    operator.lifecycle.SetLegalHold(hold, **operator.common)
    blocked = operator.until(leaving, lambda now: now.state == BLOCKED)
    assert blocked.error.reason == "LEGAL_HOLD"
    (items,) = [step for step in blocked.steps if step.name == "items"]
    assert 0 < items.done < ITEMS
    cancel = operation_pb2.CancelOperationRequest(name=leaving.name)
    assert refused(lambda: operator.operations.CancelOperation(cancel, **operator.common)) == (
        "OPERATION_NOT_CANCELLABLE"
    )
    time.sleep(0.5)  # what the engine was asked for by then still goes
    left = rows_of(running.home, "Olga")
    assert left > 1000
    time.sleep(0.5)
    assert rows_of(running.home, "Olga") == left
    release = tenant_lifecycle_pb2.ReleaseLegalHoldRequest(name="tenants/Olga")
    operator.lifecycle.ReleaseLegalHold(release, **operator.common)
    over = operator.over(leaving)
    assert over.state == SUCCEEDED, over
    assert verify(operator.certificate(over))["items"]["removed"] > items.done
    assert files_with(running.home, "CANARY-olga-zq") == []


def test_a_person_is_taken_out_of_everything_and_nobody_else(
    running: Stack, operator: Operator, neighbour: Inhabitant
) -> None:
    assert operator.over(operator.onboard("Ines")).state == SUCCEEDED
    ines = Inhabitant(running, "Ines", mark="INES-qz")
    ines.furnish(2)
    ines.mention("Person.Zq@example.com")
    ines.mention("sperson.zq@example.com")  # somebody else, whose address holds the other
    erasures = subject_erasure_pb2_grpc.SubjectErasureServiceStub(ines.channel)
    request = subject_erasure_pb2.StartSubjectErasureRequest(email="person.zq@EXAMPLE.com")
    begun = erasures.StartSubjectErasure(request, **ines.common).operation
    over = operator.over(begun)
    assert over.state == SUCCEEDED, over
    name = f"certificates/{begun.name.partition('/')[2]}"
    get = subject_erasure_pb2.GetSubjectErasureCertificateRequest(name=name)
    text = erasures.GetSubjectErasureCertificate(get, **ines.common).certificate
    sections = verify(text)
    assert sections["items"] == {
        "users_deleted": 1,
        "lists_changed": 1,
        "left": 0,
        "read_back": True,
    }
    assert sections["events"]["events_deleted"] == 1
    assert sections["mentions_left"]["archives"] == 0
    assert sections["objects"]["metadata_changed"] == 1
    told = f"{sections['subject']['salt']}person.zq@example.com".encode()
    assert sections["subject"]["sha256_of_salt_and_address"] == hashlib.sha256(told).hexdigest()
    assert files_with(running.home, "Person.Zq@example.com") == []
    assert ines.inventory() == (2, 2 + 2, 2 + 1)
    assert files_with(running.home, "sperson.zq@example.com")
    foreign = subject_erasure_pb2_grpc.SubjectErasureServiceStub(neighbour.channel)
    assert (
        refused(lambda: foreign.GetSubjectErasureCertificate(get, **neighbour.common))
        == "RESOURCE_NOT_FOUND"
    )
    invalid = subject_erasure_pb2.StartSubjectErasureRequest(email="nobody")
    assert refused(lambda: erasures.StartSubjectErasure(invalid, **ines.common)) == "INVALID_EMAIL"


def test_a_person_is_taken_out_of_what_is_encrypted(running: Stack, operator: Operator) -> None:
    encryption = tenant_pb2.TenantEncryption(enabled=True)
    assert operator.over(operator.onboard("Jana", encryption=encryption)).state == SUCCEEDED
    jana = Inhabitant(running, "Jana", mark="JANA-qz")
    jana.furnish(1)
    jana.mention("gone.zq@example.com")
    erasures = subject_erasure_pb2_grpc.SubjectErasureServiceStub(jana.channel)
    request = subject_erasure_pb2.StartSubjectErasureRequest(email="gone.zq@example.com")
    hold = tenant_lifecycle_pb2.SetLegalHoldRequest(name="tenants/Jana", reason="case 9")
    operator.lifecycle.SetLegalHold(hold, **operator.common)
    assert refused(lambda: erasures.StartSubjectErasure(request, **jana.common)) == "LEGAL_HOLD"
    destroy = tenant_key_pb2.DestroyTenantKeyRequest(name="tenants/Jana", confirmation="Jana")
    keys = tenant_key_pb2_grpc.TenantKeyServiceStub(operator.channel)
    assert refused(lambda: keys.DestroyTenantKey(destroy, **operator.common)) == "LEGAL_HOLD"
    release = tenant_lifecycle_pb2.ReleaseLegalHoldRequest(name="tenants/Jana")
    operator.lifecycle.ReleaseLegalHold(release, **operator.common)
    over = operator.over(erasures.StartSubjectErasure(request, **jana.common).operation)
    assert over.state == SUCCEEDED, over
    name = f"certificates/{over.name.partition('/')[2]}"
    get = subject_erasure_pb2.GetSubjectErasureCertificateRequest(name=name)
    sections = verify(erasures.GetSubjectErasureCertificate(get, **jana.common).certificate)
    assert sections["items"]["users_deleted"] == 1
    assert sections["items"]["lists_changed"] == 1


@pytest.mark.timeout(240)
def test_a_resolver_that_is_killed_at_every_step_is_followed_by_one_that_finishes(
    tmp_path: Any, stack_environment: Mapping[str, str]
) -> None:
    environment = {**stack_environment, **ENVIRONMENT, "SILO_CRASH_AT": ",".join(CRASHES)}
    with Stack(
        home=tmp_path, tenants=("Neighbour",), environment=environment, max_backoff=0.2
    ) as stack:
        operator = Operator(stack)
        neighbour = Inhabitant(stack, "Neighbour", mark="NEIGHBOUR-qz")
        neighbour.furnish(1)
        over = operator.over(operator.onboard("Gina"), seconds=120)
        assert over.state == SUCCEEDED, over
        gina = Inhabitant(stack, "Gina", mark="CANARY-gina-zq")
        gina.furnish(2)
        over = operator.over(operator.offboard("Gina"), seconds=120)
        assert over.state == SUCCEEDED, over
        assert (tmp_path / "resolver" / "crashed").read_text().split() == CRASHES
        assert files_with(stack.home, gina.mark) == []
        assert verify(operator.certificate(over))["items"]["left"] == 0
        assert neighbour.inventory() == (1, 1, 1)


@pytest.mark.timeout(120)
def test_what_is_rolled_back_leaves_nothing_and_frees_the_id(
    tmp_path: Any, stack_environment: Mapping[str, str]
) -> None:
    """The search service is away, so that onboarding stands still half way."""
    with Stack(
        home=tmp_path, tenants=(), environment={**stack_environment, **ENVIRONMENT}
    ) as stack:
        operator = Operator(stack)
        stack.kill("search")
        begun = operator.onboard("Hugo")
        operator.until(begun, lambda now: now.steps[3].state == operation_pb2.STEP_STATE_RUNNING)
        cancel = operation_pb2.CancelOperationRequest(name=begun.name)
        operator.operations.CancelOperation(cancel, **operator.common)
        stack.await_ready()
        assert operator.over(begun).state == CANCELLED
        get = tenant_pb2.GetTenantRequest(name="tenants/Hugo")
        assert refused(lambda: operator.tenants.GetTenant(get, **operator.common)) == (
            "RESOURCE_NOT_FOUND"
        )
        # Services that have heard of the one that is gone take the next one for another.
        create = tenant_pb2.CreateTenantRequest(
            tenant_id="Hugo", tenant=tenant_pb2.Tenant(display_name="Hugo")
        )
        operator.tenants.CreateTenant(create, **operator.common)
        hugo = Inhabitant(stack, "Hugo", mark="HUGO-fr")
        hugo.furnish(1)
        assert hugo.inventory()[0] == 1


@pytest.mark.timeout(180)
def test_services_that_are_killed_within_their_purge_are_asked_again_and_finish(
    tmp_path: Any, stack_environment: Mapping[str, str]
) -> None:
    """Data and storage are killed once something has gone; search, whose purge is one removal, as it is asked."""
    environment = {**stack_environment, **ENVIRONMENT}
    with Stack(
        home=tmp_path, tenants=("Neighbour",), environment=environment, max_backoff=0.2
    ) as stack:
        operator = Operator(stack)
        neighbour = Inhabitant(stack, "Neighbour", mark="NEIGHBOUR-qz")
        neighbour.furnish(2)
        before = neighbour.inventory()
        assert operator.over(operator.onboard("Nina")).state == SUCCEEDED
        nina = Inhabitant(stack, "Nina", mark="CANARY-nina-zq")
        nina.furnish(2)
        crowd(stack.home, "Nina", mark=nina.mark, items=ITEMS, objects=OBJECTS)
        os.kill(stack.pids()["search"], signal.SIGSTOP)
        leaving = operator.offboard("Nina")
        for step, service in (("items", "data"), ("objects", "storage"), ("events", "search")):
            operator.removing(leaving, step, some=step != "events")
            stack.kill(service)
        over = operator.over(leaving, seconds=120)
        assert over.state == SUCCEEDED, over
        assert files_with(stack.home, nina.mark) == []
        sections = verify(operator.certificate(over))
        for store in ("items", "objects", "events"):
            assert sections[store]["left"] == 0
            assert sections[store]["removed_is"] == "at least", f"{store}: not cut off"
        assert neighbour.inventory() == before
