"""`silo archives`: everything of a tenant as an archive, fetched, verified, and brought in again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from boundary.archive_files import ArchiveError, verify_archive
from boundary.archives import STORES
from cli.certificate import platform_keys
from cli.command import command
from cli.failures import Failure, reported
from cli.operations import Detach, RequestId, begun, begun_by_tenant
from cli.render import document, print_json, print_table, size
from cli.session import Session
from cli.tenants import TENANTS
from cli.transfers import fetch, store
from silo.resolver.v1 import archive_pb2 as pb
from silo.resolver.v1 import archive_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc

app = typer.Typer(
    help="Everything of a tenant as an archive: export, back up, fetch, verify, import.",
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")]
ArchivePath = Annotated[
    str, typer.Argument(metavar="ARCHIVE", help="For example exports/20240115T083000Z-0123abcd.")
]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder on this machine.")]


@command(app, "export")
def export(session: Session, request_id: RequestId = "", detach: Detach = False) -> None:
    """Write everything of the tenant as an archive below its exports/. Shows the steps live."""
    stub = session.client.stub(archive_pb2_grpc.TenantExportServiceStub)
    request = pb.StartTenantExportRequest(request_id=request_id)
    operation = session.client.call(stub.StartTenantExport, request).operation
    begun_by_tenant(session, operation, detach=detach)


@command(app, "export-tenant", operator=True)
def export_tenant(
    session: Session, tenant: Tenant, request_id: RequestId = "", detach: Detach = False
) -> None:
    """Write everything of any tenant as an archive below its exports/, as a platform operator."""
    request = pb.StartExportRequest(name=TENANTS.name(tenant), request_id=request_id)
    operation = session.client.call(_stub(session).StartExport, request).operation
    begun(session, operation, detach=detach)


@command(app, "backup", operator=True)
def backup(
    session: Session, tenant: Tenant, request_id: RequestId = "", detach: Detach = False
) -> None:
    """Back a tenant up now, besides its schedule (`silo tenants update --interval-hours`)."""
    request = pb.StartBackupRequest(name=TENANTS.name(tenant), request_id=request_id)
    operation = session.client.call(_stub(session).StartBackup, request).operation
    begun(session, operation, detach=detach)


@command(app, "list", operator=True)
def list_(session: Session, tenant: Tenant) -> None:
    """List a tenant's exports and backups, by time."""
    request = pb.ListArchivesRequest(parent=TENANTS.name(tenant))
    found = session.client.call(_stub(session).ListArchives, request).archives
    if session.json:
        print_json([document(archive) for archive in found])
        return
    rows = [(archive.path, "yes" if archive.complete else "no") for archive in found]
    print_table(("archive", "complete"), rows, empty="no archives")


@command(app, "import", operator=True)
def import_(
    session: Session,
    tenant: Tenant,
    archive: ArchivePath,
    *,
    source: Annotated[
        str, typer.Option("--from", metavar="TENANT", help="Whose archive it is, if another's.")
    ] = "",
    trusted: Annotated[
        Path | None,
        typer.Option(
            "--trusted",
            metavar="JWKS",
            help="The keys of the deployment that it comes from, from `silo certificate keys` there.",
        ),
    ] = None,
    request_id: RequestId = "",
    detach: Detach = False,
) -> None:
    """Bring an archive into an empty tenant, held against its signed manifest. Shows the steps live."""
    request = pb.StartImportRequest(
        name=TENANTS.name(tenant),
        archive=archive,
        source=TENANTS.name(source) if source else "",
        trusted_jwks=trusted.read_text() if trusted else "",
        request_id=request_id,
    )
    operation = session.client.call(_stub(session).StartImport, request).operation
    begun(session, operation, detach=detach)


@command(app, "fetch")
def fetch_archive(session: Session, archive: ArchivePath, folder: Folder) -> None:
    """Fetch an archive of the tenant into a folder, as it is; a backup with backups.read, too."""
    prefix = archive.rstrip("/") + "/"
    count = 0
    for found in _objects(session, prefix):
        target = folder / found.path.removeprefix(prefix)
        if not target.resolve().is_relative_to(folder.resolve()):
            raise Failure(f"{found.path} would leave the folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        fetch(session, found.path, target)
        count += 1
    if not count:
        raise Failure(f"there is no {archive}", code="NOT_FOUND")
    _said(session, {"archive": archive, "folder": str(folder), "files": count})


@command(app, "send")
def send(session: Session, folder: Folder, archive: ArchivePath) -> None:
    """Store a folder that holds an archive as an archive of the tenant; its manifest last."""
    files = sorted(
        (path for path in folder.rglob("*") if path.is_file()),
        key=lambda path: (path.name == "manifest.json", path),
    )
    if not files or files[-1].name != "manifest.json":
        raise Failure(f"{folder} holds no archive: it has no manifest.json")
    for path in files:
        name = f"{archive.rstrip('/')}/{path.relative_to(folder).as_posix()}"
        store(session, path, object_pb2.UploadSpec(path=name))
    _said(session, {"archive": archive, "folder": str(folder), "files": len(files)})


@app.command("verify")
def verify(
    folder: Folder,
    keys: Annotated[
        Path,
        typer.Option(
            "--keys",
            metavar="JWKS",
            help="The platform's public keys, from `silo certificate keys`.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print what it holds as JSON.")] = False,
) -> None:
    """Hold a fetched archive against its manifest, without the platform: what was changed is named."""
    with reported():
        try:
            manifest = verify_archive(folder, keys=platform_keys(keys))
        except ArchiveError as error:
            raise Failure(str(error), reason="ARCHIVE_TAMPERED") from error
        held = {store: manifest.count(store) for store in STORES}
        if as_json:
            print_json({"tenant_id": manifest.tenant_id, "path": manifest.path, **held})
            return
        counted = ", ".join(f"{count:,} {store}" for store, count in held.items())
        typer.echo(
            f"whole, {manifest.path} of {manifest.tenant_id}: "
            f"{counted}, {size(manifest.content_bytes)}"
        )


def _objects(session: Session, prefix: str) -> Iterator[object_pb2.Object]:
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    request = object_pb2.ListObjectsRequest(prefix=prefix, page_size=1000)
    while True:
        page = session.client.call(stub.ListObjects, request)
        yield from page.objects
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _said(session: Session, what: dict[str, str | int]) -> None:
    if session.json:
        print_json(what)
    else:
        typer.echo(f"{what['files']:,} files of {what['archive']} in {what['folder']}")


def _stub(session: Session) -> archive_pb2_grpc.ArchiveServiceStub:
    return session.client.stub(archive_pb2_grpc.ArchiveServiceStub)
