"""`silo audit`: what it asks for, shows, writes and finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from boundary.trail.parts import cut
from silo.audit.v1 import audit_pb2
from tests.unit.boundary.trails import note, open_log, write_segment


def a_record(resource: str) -> audit_pb2.AuditRecord:
    record = audit_pb2.AuditRecord(
        principal="alice",
        method="silo.data.v1.CampaignService/GetCampaign",
        resource=resource,
        decision=audit_pb2.AUDIT_DECISION_REFUSED,
        status="PERMISSION_DENIED",
        reason="PERMISSION_MISSING",
        duration_ms=1.25,
    )
    record.time.FromJsonString("2024-01-15T10:00:00.123Z")
    return record


def test_list_asks_for_what_was_chosen_and_shows_it(silo, gateway) -> None:
    gateway.answers["ListAuditRecords"] = audit_pb2.ListAuditRecordsResponse(
        records=[a_record("campaigns/1")]
    )
    result = silo(
        *("audit", "list", "--tenant", "A", "--since", "2024-01-15T00:00:00Z", "--until", "1m"),
        *("--principal", "alice", "--method", "GetCampaign", "--resource", "campaigns/*"),
        *("--decision", "refused", "--limit", "7"),
    )
    assert result.exit_code == 0, result.stderr
    (request,) = gateway.requests
    chosen = request.filter
    assert (chosen.principal, chosen.method, chosen.resource, request.page_size) == (
        "alice",
        "GetCampaign",
        "campaigns/*",
        7,
    )
    assert chosen.decision == audit_pb2.AUDIT_DECISION_REFUSED
    assert chosen.start_time.ToJsonString() == "2024-01-15T00:00:00Z"
    assert chosen.end_time.seconds > chosen.start_time.seconds
    assert "2024-01-15 10:00:00.123Z" in result.stdout
    assert "PERMISSION_MISSING" in result.stdout


def test_list_goes_on_over_pages_that_are_empty(silo, gateway) -> None:
    pages = iter(
        [
            audit_pb2.ListTenantAuditRecordsResponse(next_page_token="2"),
            audit_pb2.ListTenantAuditRecordsResponse(
                records=[a_record("campaigns/1")], next_page_token="3"
            ),
            audit_pb2.ListTenantAuditRecordsResponse(records=[a_record("campaigns/2")]),
        ]
    )

    def answer(request, context):
        gateway.took(type(request).FromString(request.SerializeToString()), context)
        return next(pages)

    gateway.ListTenantAuditRecords = answer
    result = silo("audit", "list-tenant", "A", "--json")
    assert [r["resource"] for r in json.loads(result.stdout)["records"]] == [
        "campaigns/1",
        "campaigns/2",
    ]
    assert [(r.parent, r.page_token) for r in gateway.requests] == [
        ("tenants/A", ""),
        ("tenants/A", "2"),
        ("tenants/A", "3"),
    ]


@pytest.mark.parametrize(
    "wrong", [("--decision", "perhaps"), ("--since", "yesterday"), ("--until", "5 parsecs")]
)
def test_a_choice_that_is_none_is_said(silo, gateway, wrong) -> None:
    result = silo("audit", "list", "--tenant", "A", *wrong)
    assert result.exit_code == 1
    assert wrong[0] in result.stderr
    assert gateway.requests == []


def a_part(folder: Path) -> bytes:
    log = open_log(folder)
    for number in range(3):
        note(log, "A", f"campaigns/{number}")
    log.close()
    return next(cut(log.writer.folder.segment(1), log.writer.folder.signer))[1]


def test_a_trail_is_fetched_and_verified(silo, gateway, tmp_path) -> None:
    part = a_part(tmp_path / "made")
    for content, code, said in (
        (part, 0, "3 records in 1 chains"),
        (part.replace(b"campaigns/1", b"campaigns/9"), 1, "edited"),
    ):
        file = audit_pb2.TrailFile(path="2024-01-15/10/part.jsonl", content=content)
        gateway.answers["ExportAuditTrail"] = iter([audit_pb2.ExportAuditTrailResponse(file=file)])
        result = silo("audit", "verify", "--tenant", "A")
        assert result.exit_code == code
        assert said in result.stdout
        assert ("part.jsonl:2" in result.stdout) == bool(code)


def test_a_trail_is_exported_and_verified_offline(silo, gateway, tmp_path) -> None:
    file = audit_pb2.TrailFile(path="2024-01-15/10/part.jsonl", content=a_part(tmp_path / "made"))
    gateway.answers["ExportTenantAuditTrail"] = iter(
        [audit_pb2.ExportTenantAuditTrailResponse(file=file)]
    )
    out = tmp_path / "out"
    assert silo("audit", "export-tenant", "A", str(out)).exit_code == 0
    assert (out / file.path).read_bytes() == file.content
    asked = len(gateway.requests)
    assert silo("audit", "verify", str(out)).exit_code == 0
    stranger = silo("audit", "verify", str(out), "--writer", "data-0000")
    assert stranger.exit_code == 1
    assert "is not a writer of the platform" in stranger.stdout
    assert len(gateway.requests) == asked


@pytest.mark.parametrize("path", ["../out.jsonl", "/etc/out.jsonl", "a/../../out.jsonl", ""])
def test_a_file_that_would_leave_the_folder_is_not_written(silo, gateway, tmp_path, path) -> None:
    file = audit_pb2.TrailFile(path=path, content=b"x")
    gateway.answers["ExportAuditTrail"] = iter([audit_pb2.ExportAuditTrailResponse(file=file)])
    result = silo("audit", "export", str(tmp_path / "out"), "--tenant", "A")
    assert result.exit_code == 1
    assert "sent a file" in result.stderr
    assert not list(tmp_path.rglob("*.jsonl"))


def test_the_trail_of_this_machine_is_verified_where_it_is(silo, tmp_path) -> None:
    writer = write_segment(tmp_path / "audit", ["A", "B", "A"])
    result = silo("audit", "verify", str(tmp_path / "audit"), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["writers"] == [writer.name]
    heads = writer / "heads.jsonl"
    heads.write_bytes(heads.read_bytes().replace(b'"seq":2', b'"seq":1'))
    result = silo("audit", "verify", str(tmp_path / "audit"), "--json")
    assert result.exit_code == 1
    (finding,) = json.loads(result.stdout)["findings"]
    assert (finding["file"], finding["what"]) == (str(heads), "the signature does not hold")
