"""The audit trail from a call to its proof: recorded, shipped, listed, exported, verified, and never another's."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from boundary.metadata import PEER_KEY
from boundary.peers import read_peer_token
from boundary.trail.parts import cut
from boundary.trail.verification import verify
from devstack.onboarding import onboard
from devstack.stack import Stack
from silo.audit.v1 import audit_pb2, audit_pb2_grpc
from silo.data.v1 import campaign_pb2, campaign_pb2_grpc
from silo.storage.v1 import audit_archive_pb2, audit_archive_pb2_grpc
from tests.audit_records import records_in

TENANTS = ("acme", "acme-corp")
WAIT = 20.0


@pytest.fixture(scope="module")
def suite(
    tmp_path_factory: pytest.TempPathFactory, stack_environment: Mapping[str, str]
) -> Iterator[Stack]:
    """A suite of its own in strict mode, whose segments are shipped at once."""
    home = tmp_path_factory.mktemp("audit-home")
    environment = {
        **stack_environment,
        "SILO_AUDIT_MODE": "strict",
        "SILO_AUDIT_SEGMENT_SECONDS": "0.2",
        "SILO_AUDIT_LOCAL_HOURS": "0.0003",
    }
    with Stack(home=home, environment=environment, tenants=TENANTS, drain_seconds=1.0) as running:
        yield running


@pytest.fixture(scope="module")
def channel(suite: Stack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(suite.gateway) as opened:
        yield opened


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


def ask(channel: grpc.Channel, token: str, campaign: str) -> str:
    """GetCampaign; the reason why it was refused, or empty."""
    stub = campaign_pb2_grpc.CampaignServiceStub(channel)
    try:
        stub.GetCampaign(
            campaign_pb2.GetCampaignRequest(name=f"campaigns/{campaign}"),
            metadata=bearer(token),
            timeout=5,
        )
    except grpc.RpcError as error:
        return reason_of(error)
    return ""


def reason_of(error: Any) -> str:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            info = error_details_pb2.ErrorInfo()
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return str(info.reason)
    return ""


def listed(
    channel: grpc.Channel, token: str, *, page_size: int = 0, **chosen: Any
) -> list[audit_pb2.AuditRecord]:
    """All records of the caller's tenant that a filter takes."""
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    request = audit_pb2.ListAuditRecordsRequest(
        filter=audit_pb2.AuditFilter(**chosen), page_size=page_size
    )
    found: list[audit_pb2.AuditRecord] = []
    while True:
        page = stub.ListAuditRecords(request, metadata=bearer(token), timeout=20)
        found += page.records
        request.page_token = page.next_page_token
        if not request.page_token:
            return found


def await_listed(
    channel: grpc.Channel, token: str, count: int, **chosen: Any
) -> list[audit_pb2.AuditRecord]:
    """The records, once there are as many: they are archived a little after their calls."""
    deadline = time.monotonic() + WAIT
    while True:
        found = listed(channel, token, **chosen)
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def export(channel: grpc.Channel, token: str, folder: Path, *, tenant: str = "") -> Path:
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    metadata = bearer(token)
    responses: Any = (
        stub.ExportTenantAuditTrail(
            audit_pb2.ExportTenantAuditTrailRequest(parent=f"tenants/{tenant}"), metadata=metadata
        )
        if tenant
        else stub.ExportAuditTrail(audit_pb2.ExportAuditTrailRequest(), metadata=metadata)
    )
    for response in responses:
        path = folder / response.file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(response.file.content)
    return folder


def test_calls_are_listed_by_what_they_were(suite: Stack, channel: grpc.Channel) -> None:
    alice = suite.token("acme", subject="alice")
    bob = suite.token("acme", subject="bob", permissions=["objects.read"])
    for number in range(7):
        assert ask(channel, alice, f"listed-{number}") == "RESOURCE_NOT_FOUND"
    assert ask(channel, bob, "listed-bob") == "PERMISSION_MISSING"
    found = await_listed(channel, alice, 8, method="GetCampaign", resource="campaigns/listed-*")
    assert [record.resource for record in found] == [
        f"campaigns/listed-{number}" for number in reversed(range(7))
    ]
    times = [record.time.ToNanoseconds() for record in found]
    assert times == sorted(times, reverse=True)
    assert {(r.tenant_id, r.principal, r.service, r.status) for r in found} == {
        ("acme", "alice", "data", "NOT_FOUND")
    }
    refused = await_listed(
        channel, alice, 1, principal="bob", decision=audit_pb2.AUDIT_DECISION_REFUSED
    )
    assert [(r.reason, r.method) for r in refused] == [
        ("PERMISSION_MISSING", "silo.data.v1.CampaignService/GetCampaign")
    ]
    window = {"start_time": found[4].time, "end_time": found[1].time}
    within = listed(channel, alice, method="GetCampaign", resource="campaigns/listed-*", **window)
    assert [record.resource for record in within] == [record.resource for record in found[2:5]]
    paged = listed(channel, alice, page_size=2, method="silo.data.v1.CampaignService/GetCampaign")
    whole = listed(channel, alice, method="silo.data.v1.CampaignService/GetCampaign")
    assert [(r.writer, r.seq) for r in paged] == [(r.writer, r.seq) for r in whole]


def test_nobody_sees_anothers_records(suite: Stack, channel: grpc.Channel) -> None:
    mine, theirs = suite.token("acme"), suite.token("acme-corp")
    ask(channel, mine, "only-acme")
    ask(channel, theirs, "only-acme-corp")
    assert len(await_listed(channel, mine, 1, resource="campaigns/only-acme")) == 1
    assert len(await_listed(channel, theirs, 1, resource="campaigns/only-acme-corp")) == 1
    assert {record.tenant_id for record in listed(channel, theirs)} == {"acme-corp"}
    assert listed(channel, theirs, resource="campaigns/only-acme") == []
    first = audit_pb2_grpc.AuditServiceStub(channel).ListAuditRecords(
        audit_pb2.ListAuditRecordsRequest(page_size=1), metadata=bearer(mine), timeout=20
    )
    refusals = [
        (theirs, audit_pb2.ListAuditRecordsRequest(page_token=first.next_page_token)),
        (suite.token("nobody"), audit_pb2.ListAuditRecordsRequest()),
        (suite.token("acme", permissions=["campaigns.*"]), audit_pb2.ListAuditRecordsRequest()),
        (suite.operator_token(), audit_pb2.ListAuditRecordsRequest()),
    ]
    reasons = []
    for token, request in refusals:
        with pytest.raises(grpc.RpcError) as refused:
            audit_pb2_grpc.AuditServiceStub(channel).ListAuditRecords(
                request, metadata=bearer(token), timeout=20
            )
        reasons.append(reason_of(refused.value))
    assert reasons == [
        "INVALID_PAGE_TOKEN",
        "TENANT_UNAVAILABLE",
        "PERMISSION_MISSING",
        "PERMISSION_MISSING",
    ]


def test_an_attempt_on_another_tenant_stands_under_who_made_it(
    suite: Stack, channel: grpc.Channel, tmp_path: Path
) -> None:
    stranger = suite.token("acme-corp", subject="mallory")
    assert ask(channel, stranger, "only-acme") == "RESOURCE_NOT_FOUND"
    assert ask(channel, suite.token("no-such-tenant", subject="nobody"), "x")
    attempts = await_listed(channel, stranger, 1, principal="mallory", method="GetCampaign")
    assert [record.tenant_id for record in attempts] == ["acme-corp"]
    assert listed(channel, suite.token("acme"), principal="mallory") == []
    stub = audit_pb2_grpc.AuditServiceStub(channel)
    operator = bearer(suite.operator_token())
    deadline = time.monotonic() + WAIT
    seen: set[str] = set()
    while "no-such-tenant" not in seen and time.monotonic() < deadline:
        request = audit_pb2.ListTenantAuditRecordsRequest(
            parent="tenants/-", filter=audit_pb2.AuditFilter(principal="nobody")
        )
        page = stub.ListTenantAuditRecords(request, metadata=operator, timeout=20)
        seen = {record.tenant_id for record in page.records}
        time.sleep(0.1)
    assert seen == {"no-such-tenant"}
    assert verify(export(channel, suite.operator_token(), tmp_path, tenant="-")).findings == []


def test_an_exported_trail_verifies_and_one_that_was_changed_does_not(
    suite: Stack, channel: grpc.Channel, tmp_path: Path
) -> None:
    token = suite.token("acme")
    for number in range(5):
        ask(channel, token, f"exported-{number}")
        time.sleep(0.15)
    await_listed(channel, token, 5, resource="campaigns/exported-*")
    result = verify(export(channel, token, tmp_path / "whole"))
    assert result.findings == []
    assert result.unsigned == 0
    assert result.records >= 5
    assert {writer.rpartition("-")[0] for writer in result.writers} >= {"data"}
    parts = sorted((tmp_path / "whole").rglob("20*/*/*-data-*.jsonl"))
    changed = export(channel, token, tmp_path / "changed")
    edited = next(
        p for p in sorted(changed.rglob("*-data-*.jsonl")) if b"exported-1" in p.read_bytes()
    )
    edited.write_bytes(edited.read_bytes().replace(b"exported-1", b"exported-X"))
    found = verify(changed).findings
    assert {finding.file for finding in found} == {edited}
    assert len(parts) > 2
    for number, part in enumerate((parts[0], parts[len(parts) // 2], parts[-1])):
        lacking = export(channel, token, tmp_path / f"lacking-{number}")
        (lacking / part.relative_to(tmp_path / "whole")).unlink()
        assert any("missing" in str(finding) for finding in verify(lacking).findings), part


def test_segments_leave_this_machine_once_they_are_archived(
    suite: Stack, channel: grpc.Channel
) -> None:
    token = suite.token("acme")
    ask(channel, token, "leaves")
    assert len(await_listed(channel, token, 1, resource="campaigns/leaves")) == 1
    deadline = time.monotonic() + WAIT
    audit = suite.home / "audit"

    def local() -> list[Any]:
        return [r for r in records_in(audit) if r["resource"] == "campaigns/leaves"]

    while local() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert local() == []
    assert verify(audit).findings == []
    statements = b"".join(path.read_bytes() for path in audit.glob("data-*/heads.jsonl"))
    assert b'{"kind":"expiry"' in statements


def test_what_is_not_archived_shows_in_the_metrics(suite: Stack) -> None:
    for name in ("gateway", "resolver", "data", "storage", "search"):
        with urllib.request.urlopen(f"{suite.addresses.url(name)}/metrics", timeout=5) as answer:
            shown = answer.read().decode()
        assert "silo_audit_writable 1.0" in shown
        (seconds,) = re.findall(r"^silo_audit_unarchived_seconds (.*)$", shown, re.MULTILINE)
        assert float(seconds) < 10


def test_after_kill_every_answered_call_is_in_the_trail(
    suite: Stack, channel: grpc.Channel, tmp_path: Path
) -> None:
    token = suite.token("acme")
    answered = []
    for number in range(40):
        if ask(channel, token, f"killed-{number}") == "RESOURCE_NOT_FOUND":
            answered.append(f"campaigns/killed-{number}")
        if number in (10, 25):
            suite.kill("data")
        if number == 30:
            suite.kill("storage")
    suite.await_ready()
    assert len(answered) > 10
    found = await_listed(channel, token, len(answered), resource="campaigns/killed-*")
    assert set(answered) <= {record.resource for record in found}
    assert verify(export(channel, token, tmp_path)).findings == []


def archive_call(suite: Stack, peer: str, method: str, request: Any) -> str:
    token = read_peer_token(suite.home / "peers", peer)
    with grpc.insecure_channel(suite.addresses.dial("storage")) as channel:
        stub = audit_archive_pb2_grpc.AuditArchiveServiceStub(channel)
        try:
            answer = getattr(stub, method)(request, metadata=((PEER_KEY, token),), timeout=10)
            list(answer) if method == "ReadAuditTrail" else None
        except grpc.RpcError as error:
            return reason_of(error)
    return ""


def test_the_archive_takes_what_chains_from_its_own_writer_alone(
    suite: Stack, channel: grpc.Channel, tmp_path: Path
) -> None:
    from tests.unit.boundary.trails import note, open_log

    log = open_log(tmp_path / "audit", service="search")
    folder = log.writer.folder
    for number in range(3):
        note(log, "acme", f"forged-{number}")
        log.flush()
        log._do(log.writer.close_segment)
    one, two, three = (next(cut(folder.segment(n), folder.signer))[1] for n in (1, 2, 3))
    log.close()

    def append(content: bytes, peer: str = "search") -> str:
        request = audit_archive_pb2.AppendAuditPartRequest(content=content)
        return archive_call(suite, peer, "AppendAuditPart", request)

    assert append(one, peer="data") == "AUDIT_WRITER_FOREIGN"
    assert append(two) == "AUDIT_CHAIN_BROKEN"
    assert append(one.replace(b"forged-0", b"forged-9")) == "AUDIT_PART_BROKEN"
    assert append(one.partition(b"\n")[0] + b"\n") == "AUDIT_PART_BROKEN"
    assert append(b"") == "AUDIT_PART_BROKEN"
    assert append(one) == ""
    assert append(one) == ""
    assert append(three) == "AUDIT_CHAIN_BROKEN"
    assert append(two) == ""
    assert append(one) == ""
    assert append(three) == ""
    for method, request in {
        "QueryAuditRecords": audit_archive_pb2.QueryAuditRecordsRequest(tenant_id="acme", limit=1),
        "ReadAuditTrail": audit_archive_pb2.ReadAuditTrailRequest(tenant_id="acme"),
        "ExpireAuditTrail": audit_archive_pb2.ExpireAuditTrailRequest(tenant_id="acme"),
    }.items():
        assert archive_call(suite, "data", method, request) == "PEER_NOT_ALLOWED"


def test_a_trail_outlives_its_tenants_suspension_for_the_operator(
    suite: Stack, channel: grpc.Channel
) -> None:
    onboard(suite.gateway, token=suite.operator_token(), tenants=("brief",))
    token = suite.token("brief")
    ask(channel, token, "brief-call")
    assert len(await_listed(channel, token, 1, resource="campaigns/brief-call")) == 1
    found = audit_pb2_grpc.AuditServiceStub(channel).ListTenantAuditRecords(
        audit_pb2.ListTenantAuditRecordsRequest(parent="tenants/brief"),
        metadata=bearer(suite.operator_token()),
        timeout=20,
    )
    assert "campaigns/brief-call" in {record.resource for record in found.records}
