"""`silo audit`: the audit trail, listed, exported, and verified offline."""

from __future__ import annotations

import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from boundary.trail.verification import Verified, verify
from cli.command import command, option
from cli.failures import Failure
from cli.render import console, document, enum_word, print_json, print_table
from cli.session import Session
from silo.audit.v1 import audit_pb2, audit_pb2_grpc

app = typer.Typer(help="The audit trail: list, export, verify.", no_args_is_help=True)

_PAGE = 500
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

TenantName = Annotated[
    str, typer.Argument(metavar="TENANT", help="The tenant's id; - for calls of no known tenant.")
]
Page = audit_pb2.ListAuditRecordsResponse | audit_pb2.ListTenantAuditRecordsResponse
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files go.")]


def _text(name: str, flag: str, help_: str, default: str = "") -> inspect.Parameter:
    return option(name, Annotated[str, typer.Option(flag, help=help_)], default)


_CHOICE = (
    _text("since", "--since", "From when: 15m, 2h, 7d ago, or an RFC 3339 time.", "1h"),
    _text("until", "--until", "Until when, likewise; now unless given."),
    _text("caller", "--principal", "Who called."),
    _text("method", "--method", "The method: GetCampaign, or its name in full."),
    _text("resource", "--resource", "The resource; with * at its end, what it begins with."),
    _text("decision", "--decision", "allowed or refused."),
    option(
        "limit",
        Annotated[int, typer.Option("--limit", min=1, help="How many records at the most.")],
        50,
    ),
)


@command(app, "list", options=_CHOICE)
def list_records(session: Session, options: Mapping[str, Any]) -> None:
    """Show the tenant's records, newest first."""
    limit = options["limit"]
    stub = session.client.stub(audit_pb2_grpc.AuditServiceStub)
    request = audit_pb2.ListAuditRecordsRequest(
        filter=_filter(options), page_size=min(limit, _PAGE)
    )

    def page(token: str) -> Page:
        request.page_token = token
        return session.client.call(stub.ListAuditRecords, request)

    _show(session, _pages(page, limit))


@command(app, "list-tenant", operator=True, options=_CHOICE)
def list_tenant(session: Session, tenant: TenantName, options: Mapping[str, Any]) -> None:
    """Show any tenant's records, newest first, as a platform operator."""
    limit = options["limit"]
    stub = session.client.stub(audit_pb2_grpc.AuditServiceStub)
    request = audit_pb2.ListTenantAuditRecordsRequest(
        parent=f"tenants/{tenant}", filter=_filter(options), page_size=min(limit, _PAGE)
    )

    def page(token: str) -> Page:
        request.page_token = token
        return session.client.call(stub.ListTenantAuditRecords, request)

    _show(session, _pages(page, limit))


@command(app, "export")
def export(session: Session, folder: Folder) -> None:
    """Write the tenant's whole trail into a folder, for `silo audit verify`."""
    _said(session, folder, _export(session, folder))


@command(app, "export-tenant", operator=True)
def export_tenant(session: Session, tenant: TenantName, folder: Folder) -> None:
    """Write any tenant's whole trail into a folder, as a platform operator."""
    stub = session.client.stub(audit_pb2_grpc.AuditServiceStub)
    request = audit_pb2.ExportTenantAuditTrailRequest(parent=f"tenants/{tenant}")
    files = (
        answer.file for answer in session.client.download(stub.ExportTenantAuditTrail, request)
    )
    _said(session, folder, _write(folder, files))


@command(app, "verify")
def verify_trail(
    session: Session,
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FOLDER]",
            help="An exported trail, or $SILO_HOME/audit; unless given, the tenant's, fetched now.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    writer: Annotated[
        list[str] | None,
        typer.Option("--writer", help="A writer of the platform; others are findings. Repeatable."),
    ] = None,
) -> None:
    """Find every record that was edited, removed or moved; ends with code 1 where there is one."""
    if folder is not None:
        _report(session, verify(folder, writers=writer or ()))
        return
    with tempfile.TemporaryDirectory(prefix="silo-audit-") as fetched:
        _export(session, Path(fetched))
        _report(session, verify(Path(fetched), writers=writer or ()))


def _pages(page_of: Callable[[str], Page], limit: int) -> list[audit_pb2.AuditRecord]:
    """The first records, over as many pages as it takes: a page may be short and not the last."""
    found: list[audit_pb2.AuditRecord] = []
    token = ""
    while len(found) < limit:
        page = page_of(token)
        found += page.records
        token = page.next_page_token
        if not token:
            break
    return found[:limit]


def _export(session: Session, folder: Path) -> int:
    stub = session.client.stub(audit_pb2_grpc.AuditServiceStub)
    request = audit_pb2.ExportAuditTrailRequest()
    files = (answer.file for answer in session.client.download(stub.ExportAuditTrail, request))
    return _write(folder, files)


def _write(folder: Path, files: Iterable[audit_pb2.TrailFile]) -> int:
    """Writes files below the folder, whatever their paths say; returns how many."""
    count = 0
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise Failure(f"the platform sent a file with the path {file.path!r}")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.content)
        count += 1
    return count


def _said(session: Session, folder: Path, files: int) -> None:
    if session.json:
        print_json({"folder": str(folder), "files": files})
    else:
        typer.echo(f"{files} files in {folder}; `silo audit verify {folder}` checks them")


def _filter(options: Mapping[str, Any]) -> audit_pb2.AuditFilter:
    chosen = audit_pb2.AuditFilter(
        principal=options["caller"], method=options["method"], resource=options["resource"]
    )
    decision = options["decision"]
    if decision:
        if decision.upper() not in ("ALLOWED", "REFUSED"):
            raise Failure(f"--decision takes allowed or refused, not {decision!r}")
        chosen.decision = audit_pb2.AuditDecision.Value(f"AUDIT_DECISION_{decision.upper()}")
    if options["since"]:
        chosen.start_time.CopyFrom(_time(options["since"], "--since"))
    if options["until"]:
        chosen.end_time.CopyFrom(_time(options["until"], "--until"))
    return chosen


def _time(text: str, option: str) -> Timestamp:
    stamp = Timestamp()
    ago = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if ago is not None:
        stamp.FromDatetime(datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        return stamp
    try:
        stamp.FromJsonString(text)
    except ValueError as error:
        raise Failure(
            f"{option} takes 15m, 2h, 7d or 2024-01-15T10:00:00Z, not {text!r}"
        ) from error
    return stamp


def _show(session: Session, records: list[audit_pb2.AuditRecord]) -> None:
    if session.json:
        print_json({"records": [document(record) for record in records]})
        return
    decisions = audit_pb2.DESCRIPTOR.enum_types_by_name["AuditDecision"]
    print_table(
        ("time", "principal", "method", "resource", "decision", "outcome", ">ms"),
        (
            (
                f"{record.time.ToDatetime():%Y-%m-%d %H:%M:%S.%f}"[:-3] + "Z",
                record.principal or "-",
                record.method.rpartition("/")[2],
                record.resource,
                enum_word(decisions, record.decision),
                record.reason or record.status or record.phase.lower(),
                "" if record.phase else f"{record.duration_ms:.1f}",
            )
            for record in records
        ),
        empty="no records; they come some seconds after their calls",
    )


def _report(session: Session, result: Verified) -> None:
    if session.json:
        print_json(
            {
                "records": result.records,
                "chains": result.chains,
                "writers": sorted(result.writers),
                "expired": result.expired,
                "unsigned": result.unsigned,
                "torn": [str(path) for path in result.torn],
                "findings": [
                    {
                        "file": str(finding.file),
                        "line": finding.line,
                        "writer": finding.writer,
                        "tenant": finding.chain,
                        "what": finding.what,
                    }
                    for finding in result.findings
                ],
            }
        )
    else:
        _print_report(result)
    if result.findings:
        raise typer.Exit(1)


def _print_report(result: Verified) -> None:
    for finding in result.findings:
        typer.echo(str(finding))
    said = [f"{result.records:,} records in {result.chains:,} chains"]
    if result.expired:
        said.append(f"{result.expired:,} chains begin where older records were over")
    if result.unsigned:
        said.append(f"{result.unsigned:,} records not signed yet")
    said += [f"{path}: a crash cut off the last line" for path in result.torn]
    typer.echo("; ".join(said))
    for writer in sorted(result.writers):
        console(stderr=True).print(f"writer {writer}", style="dim")
    typer.echo(f"{len(result.findings)} findings" if result.findings else "nothing was changed")
