"""ArchiveService and TenantExportService: messages to operations and back; decides nothing."""

from __future__ import annotations

from boundary.archives import BACKUPS, EXPORTS, is_archive
from boundary.certificates import keys_in
from boundary.errors import FailedPrecondition, InvalidArgument
from boundary.ids import TenantId
from boundary.interceptors.call import Call
from services.resolver.directory import Directory
from services.resolver.lifecycle.archives import export, restore
from services.resolver.lifecycle.archives.listing import archives_in
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.operation_servicer import callers_tenant, operation_proto
from services.resolver.lifecycle.records import Operation
from services.resolver.lifecycle.services import Services
from services.resolver.lifecycle.settling import require_at_rest
from services.resolver.operations import Tenants
from services.resolver.resolution import subject_of
from services.resolver.servicer import tenant_id_in
from silo.resolver.v1 import archive_pb2 as pb

MAX_JWKS = 64 * 1024
"""The longest key set that an import takes, in characters."""


class ArchiveServicer:
    """silo.resolver.v1.ArchiveService."""

    def __init__(self, *, operations: Operations, tenants: Tenants, services: Services) -> None:
        self._operations = operations
        self._tenants = tenants
        self._services = services

    async def start_export(
        self, request: pb.StartExportRequest, call: Call
    ) -> pb.StartExportResponse:
        """StartExport."""
        operation = await self._start(
            export.EXPORT, request.name, call, request_id=request.request_id
        )
        return pb.StartExportResponse(operation=operation_proto(operation))

    async def start_backup(
        self, request: pb.StartBackupRequest, call: Call
    ) -> pb.StartBackupResponse:
        """StartBackup."""
        operation = await self._start(
            export.BACKUP, request.name, call, request_id=request.request_id
        )
        return pb.StartBackupResponse(operation=operation_proto(operation))

    async def start_import(
        self, request: pb.StartImportRequest, call: Call
    ) -> pb.StartImportResponse:
        """StartImport."""
        tenant_id = tenant_id_in(request.name, "name")
        known = await self._operations.repeated(restore.IMPORT, tenant_id, request.request_id)
        if known is None:
            source = ""
            if request.source:
                source = (await self._tenants.get(tenant_id_in(request.source, "source"))).tenant_id
            parameters = restore.parameters_of(
                archive=_archive_in(request.archive),
                source="" if source == tenant_id else source,
                trusted=_jwks_in(request.trusted_jwks),
            )
            require_at_rest(await self._tenants.get(tenant_id))
            known = await self._operations.start(
                restore.IMPORT,
                tenant_id,
                principal=call.principal,
                parameters=parameters,
                request_id=request.request_id,
            )
        return pb.StartImportResponse(operation=operation_proto(known))

    async def list_archives(
        self, request: pb.ListArchivesRequest, _: Call
    ) -> pb.ListArchivesResponse:
        """ListArchives."""
        tenant = await self._tenants.get(tenant_id_in(request.parent, "parent"))
        storage = self._services.at(
            "storage", subject=subject_of(tenant), permissions=("lifecycle.read",)
        )
        found = [
            pb.Archive(path=archive.path, complete=archive.complete)
            for folder in (BACKUPS, EXPORTS)
            for archive in await archives_in(storage, folder)
        ]
        return pb.ListArchivesResponse(archives=found)

    async def _start(self, kind: str, name: str, call: Call, *, request_id: str) -> Operation:
        tenant = await self._tenants.get(tenant_id_in(name, "name"))
        if not tenant.has_data:
            raise FailedPrecondition("TENANT_STATUS", f"the tenant is {tenant.status}")
        return await self._operations.start(
            kind, tenant.tenant_id, principal=call.principal, parameters={}, request_id=request_id
        )


class TenantExportServicer:
    """silo.resolver.v1.TenantExportService: the tenant is the caller's own."""

    def __init__(self, *, operations: Operations, directory: Directory) -> None:
        self._operations = operations
        self._directory = directory

    async def start_tenant_export(
        self, request: pb.StartTenantExportRequest, call: Call
    ) -> pb.StartTenantExportResponse:
        """StartTenantExport."""
        tenant_id: TenantId = await callers_tenant(call, self._directory)
        operation = await self._operations.start(
            export.EXPORT,
            tenant_id,
            principal=call.principal,
            parameters={},
            request_id=request.request_id,
        )
        return pb.StartTenantExportResponse(operation=operation_proto(operation))


def _archive_in(path: str) -> str:
    if not is_archive(path):
        raise InvalidArgument(
            "archive", "must be exports/{archive} or backups/{archive}", reason="INVALID_ARCHIVE"
        )
    return path


def _jwks_in(text: str) -> str:
    if not text:
        return ""
    try:
        if len(text) > MAX_JWKS:
            raise ValueError
        keys_in(text)
    except ValueError as error:
        raise InvalidArgument(
            "trusted_jwks", "must be a JSON Web Key Set of Ed25519 keys"
        ) from error
    return text
