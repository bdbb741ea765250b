"""Every command: what it asks for, and what it shows of the answer."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from cli.main import app
from silo.data.v1 import analytics_pb2, campaign_pb2, entity_pb2, template_pb2, tenant_config_pb2
from silo.resolver.v1 import signing_key_pb2
from silo.storage.v1 import object_pb2


def every_command() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []

    def walk(command: Any, path: tuple[str, ...]) -> None:
        if isinstance(command, TyperGroup):
            for name in command.list_commands(None):
                walk(command.get_command(None, name), (*path, name))
        else:
            found.append(path)

    walk(typer.main.get_command(app), ())
    return found


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_has_help(silo, path) -> None:
    result = silo(*path, "--help")
    assert result.exit_code == 0
    assert " ".join(path) in result.stdout
    if path not in {("up",), ("token",), ("engines", "create"), ("engines", "check")}:
        assert "--json" in result.stdout


def test_all_the_promised_commands_are_there() -> None:
    standard = ("create", "get", "list", "update", "delete")
    promised = {
        ("up",),
        ("demo",),
        ("token",),
        ("put",),
        ("get",),
        ("ls",),
        ("stat",),
        ("cp",),
        ("rm",),
    }
    promised |= {
        (group, verb) for group in ("users", "campaigns", "lists", "templates") for verb in standard
    }
    promised |= {("engines", "create"), ("engines", "check")}
    tenants = ("create", "get", "list", "update", "suspend", "resume")
    tenants += ("onboard", "offboard", "move", "hold", "release")
    archives = ("export", "export-tenant", "backup", "list", "import", "fetch", "send", "verify")
    promised |= {("archives", verb) for verb in archives}
    promised |= {("operations", verb) for verb in ("list", "get", "watch", "cancel", "resume")}
    promised |= {("certificate", verb) for verb in ("show", "keys", "verify")}
    promised |= {("subjects", "erase"), ("subjects", "certificate")}
    promised |= {("tenants", verb) for verb in tenants}
    promised |= {
        ("keys", "rotate"),
        ("keys", "destroy"),
        ("keys", "reencrypt"),
        ("config", "get"),
        ("config", "update"),
        ("templates", "content"),
        ("policies", "get-objects"),
        ("policies", "update-objects"),
        ("policies", "get-events"),
        ("policies", "update-events"),
        ("policies", "get-items"),
        ("policies", "update-items"),
    }
    promised |= {("entities", verb) for verb in ("batch-get", "batch-write", "transact")}
    promised |= {("analytics", "increment"), ("analytics", "report")}
    promised |= {("sign", "upload"), ("sign", "download")}
    promised |= {("events", verb) for verb in ("ingest", "search", "count", "report")}
    audit = ("list", "list-tenant", "export", "export-tenant", "verify")
    promised |= {("audit", verb) for verb in audit}
    assert set(every_command()) == promised


def test_the_top_shows_every_group(silo) -> None:
    shown = silo("--help").stdout
    for name in ("up", "demo", "campaigns", "put", "get", "events"):
        assert f" {name} " in shown


def test_the_help_of_the_top_imports_no_command() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from cli.main import app;"
        "assert 'campaigns' in CliRunner().invoke(app, ['--help']).stdout;"
        "sys.exit('grpc' in sys.modules or 'plotext' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_command(silo) -> None:
    assert silo("campaign").exit_code == 2


def test_tenants_create_reaches_into_small_messages(silo, gateway) -> None:
    result = silo(
        *("tenants", "create", "acme", "--display-name", "Acme", "--tier", "premium"),
        *("--region", "local", "--max-object-bytes", "1000"),
    )
    assert result.exit_code == 0, result.stderr
    tenant = gateway.requests[0].tenant
    assert (tenant.placement.region, tenant.limits.max_object_bytes) == ("local", 1000)


def test_placement_cannot_be_updated(silo, gateway) -> None:
    assert silo("tenants", "update", "acme", "--region", "x").exit_code == 2
    silo("tenants", "update", "acme", "--max-object-bytes", "7")
    assert list(gateway.requests[0].update_mask.paths) == ["limits"]


def test_keys_rotate(silo, gateway) -> None:
    gateway.answers["RotateSigningKey"] = signing_key_pb2.RotateSigningKeyResponse(key_id="ctx-1")
    assert "ctx-1" in silo("keys", "rotate").stdout
    assert json.loads(silo("keys", "rotate", "--json").stdout) == {"key_id": "ctx-1"}


def test_config(silo, gateway) -> None:
    gateway.answers["GetTenantConfig"] = tenant_config_pb2.GetTenantConfigResponse(
        tenant_config=tenant_config_pb2.TenantConfig(name="config", track_opens=True)
    )
    assert "track_opens  yes" in silo("config", "get", "--tenant", "A").stdout
    silo("config", "update", "--tenant", "A", "--no-track-clicks", "--time-zone", "UTC")
    request = gateway.requests[-1]
    assert sorted(request.update_mask.paths) == ["time_zone", "track_clicks"]


def test_templates_carry_their_content(silo, gateway, tmp_path) -> None:
    (tmp_path / "t.html").write_text("<h1>é</h1>")
    silo(
        "templates", "create", "t", str(tmp_path / "t.html"), "--tenant", "A", "--display-name", "T"
    )
    assert gateway.requests[0].content == "<h1>é</h1>".encode()
    silo("templates", "update", "t", "--tenant", "A", "--content", "-", stdin="new")
    assert gateway.requests[1].content == b"new"
    assert list(gateway.requests[1].update_mask.paths) == []
    silo("templates", "update", "t", "--tenant", "A", "--subject", "s")
    assert not gateway.requests[2].HasField("content")
    gateway.answers["GetTemplateContent"] = template_pb2.GetTemplateContentResponse(content=b"<p>")
    assert silo("templates", "content", "t", "--tenant", "A").stdout == "<p>"
    silo("templates", "content", "t", str(tmp_path / "out"), "--tenant", "A")
    assert (tmp_path / "out").read_bytes() == b"<p>"


def test_entities_are_described_in_json(silo, gateway) -> None:
    answer = entity_pb2.BatchWriteEntitiesResponse()
    answer.results.add().entity.user.name = "users/1"
    answer.results.add().status.code = 5
    answer.results[1].status.message = "users/2 was not found"
    gateway.answers["BatchWriteEntities"] = answer
    writes = [{"delete": {"name": "users/1"}}, {"delete": {"name": "users/2"}}]
    result = silo("entities", "batch-write", "-", "--tenant", "A", stdin=json.dumps(writes))
    assert result.exit_code == 1
    assert "NOT_FOUND" in result.stdout
    assert result.stderr == "silo: 1 of 2 writes were refused\n"
    assert [write.delete.name for write in gateway.requests[0].writes] == ["users/1", "users/2"]
    silo("entities", "transact", "-", "--tenant", "A", stdin=json.dumps({"writes": writes}))
    assert len(gateway.requests[1].writes) == 2
    bad = silo("entities", "transact", "-", "--tenant", "A", stdin='[{"explode": {}}]')
    assert bad.stderr.startswith("INVALID_ARGUMENT (INVALID_JSON)")


def test_entities_by_name(silo, gateway) -> None:
    answer = entity_pb2.BatchGetEntitiesResponse(missing_names=["users/2"])
    answer.entities.add().campaign.CopyFrom(campaign_pb2.Campaign(name="campaigns/1"))
    gateway.answers["BatchGetEntities"] = answer
    result = silo("entities", "batch-get", "campaigns/1", "users/2", "--tenant", "A")
    assert list(gateway.requests[0].names) == ["campaigns/1", "users/2"]
    assert "missing" in result.stdout


def test_counters(silo, gateway) -> None:
    result = silo(
        *("analytics", "increment", "OPENS=3", "CLICKS=-1", "--tenant", "A"),
        *("--date", "2024-01-15", "--request-id", "r1"),
    )
    assert result.stdout == "counted (request r1)\n"
    request = gateway.requests[0]
    assert [(i.date, i.metric, i.delta) for i in request.increments] == [
        ("2024-01-15", "OPENS", 3),
        ("2024-01-15", "CLICKS", -1),
    ]
    for bad in ("OPENS", "OPENS=many"):
        assert silo("analytics", "increment", bad, "--tenant", "A").exit_code == 1


def test_a_report_of_counters(silo, gateway) -> None:
    answer = analytics_pb2.GetAnalyticsReportResponse()
    for day, value in (("2024-01-15", 1200), ("2024-01-16", 300)):
        answer.counters.add(date=day, metric="OPENS", value=value)
    answer.totals.add(metric="OPENS", value=1500)
    gateway.answers["GetAnalyticsReport"] = answer
    shown = silo("analytics", "report", "--tenant", "A", "--end", "2024-01-31").stdout
    assert gateway.requests[0].start_date == "2024-01-02"
    assert "1,500" in shown
    assert "OPENS by day" in shown
    assert "01-16" in shown
    assert silo("analytics", "report", "--tenant", "A", "--end", "soon").exit_code == 1


def test_lists_folders_and_objects(silo, gateway) -> None:
    answer = object_pb2.ListObjectsResponse(prefixes=["exports/"], next_page_token="")
    answer.objects.add(path="readme", size=2048, content_type="text/plain")
    gateway.answers["ListObjects"] = answer
    shown = silo("ls", "--tenant", "A").stdout
    assert "folder" in shown
    assert "2.0 KiB" in shown
    silo("ls", "ex", "-r", "--tenant", "A")
    assert [(r.prefix, r.delimiter) for r in gateway.requests] == [("", "/"), ("ex", "")]


def test_copies_and_removes(silo, gateway) -> None:
    silo("cp", "a", "b", "--tenant", "A", "--create-only")
    assert gateway.requests[0] == object_pb2.CopyObjectRequest(
        source_path="a", destination_path="b", create_only=True
    )
    assert silo("rm", "a", "--tenant", "A").stdout == "1 deleted\n"
    gateway.answers["DeleteObjects"] = object_pb2.DeleteObjectsResponse(deleted_count=12)
    assert silo("rm", "a/", "-r", "--tenant", "A").stdout == "12 deleted\n"
    assert silo("rm", "--everything", "--tenant", "A").exit_code == 0
    assert gateway.requests[-1].all
    for arguments in ((), ("a", "--everything")):
        assert silo("rm", *arguments, "--tenant", "A").exit_code == 1


def test_signs_urls(silo, gateway) -> None:
    gateway.answers["SignUpload"] = object_pb2.SignUploadResponse(
        url="http://h/p?a=1&b=2", headers={"Content-Type": "text/plain"}
    )
    gateway.answers["SignDownload"] = object_pb2.SignDownloadResponse(url="http://h/p?c=3")
    uploaded = silo("sign", "upload", "x", "--tenant", "A", "--ttl", "60")
    assert uploaded.stdout == "curl -T FILE -H 'Content-Type: text/plain' 'http://h/p?a=1&b=2'\n"
    assert gateway.requests[0].ttl.seconds == 60
    assert silo("sign", "download", "x", "--tenant", "A").stdout == "http://h/p?c=3\n"
