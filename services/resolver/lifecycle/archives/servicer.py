"""ArchiveService and TenantExportService: messages to operations and back; decides nothing."""

from __future__ import annotations

from boundary.archives import BACKUPS, EXPORTS, is_archive
from boundary.certificates import keys_in
from boundary.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from boundary.ids import TenantId
from boundary.interceptors.call import Call
from services.resolver.certificates import Certificates
from services.resolver.directory import Directory, Tenant, now_micros
from services.resolver.lifecycle.archives import export, restore
from services.resolver.lifecycle.archives.listing import archives_in
from services.resolver.lifecycle.archives.parts import manifest_in, require_place
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.operation_servicer import callers_tenant, operation_proto
from services.resolver.lifecycle.records import Operation
from services.resolver.lifecycle.services import Access, Services
from services.resolver.lifecycle.settling import require_at_rest
from services.resolver.lifecycle.store import Listing
from services.resolver.operations import Tenants
from services.resolver.resolution import subject_of
from services.resolver.servicer import tenant_id_in
from silo.resolver.v1 import archive_pb2 as pb

MAX_JWKS = 64 * 1024
"""The longest key set that an import takes, in characters."""


MAX_EXPORTS_AT_ONCE = 2
MAX_EXPORTS_AN_HOUR = 4
"""How many exports a tenant's own people may have: what is left of the tenant's operations is for backups, and in
between them what needs the tenant to itself, such as the erasure of a person, finds room."""

_HOUR_MICROS = 3_600_000_000
_RECENT = 50
"""How many operations are looked at for that; a tenant has no more in an hour."""


class ArchiveServicer:
    """silo.resolver.v1.ArchiveService."""

    def __init__(
        self,
        *,
        operations: Operations,
        tenants: Tenants,
        services: Services,
        certificates: Certificates,
    ) -> None:
        self._operations = operations
        self._certificates = certificates
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
            tenant = source = await self._tenants.get(tenant_id)
            if request.source:
                source = await self._tenants.get(tenant_id_in(request.source, "source"))
            archive, trusted = _archive_in(request.archive), _jwks_in(request.trusted_jwks)
            require_at_rest(tenant)
            await self._require_archive(archive, of=source, trusted=trusted)
            parameters = restore.parameters_of(
                archive=archive,
                source="" if source.tenant_id == tenant_id else source.tenant_id,
                trusted=trusted,
            )
            known = await self._operations.start(
                restore.IMPORT,
                tenant_id,
                principal=call.principal,
                parameters=parameters,
                request_id=request.request_id,
            )
        return pb.StartImportResponse(operation=operation_proto(known))

    async def _require_archive(self, archive: str, *, of: Tenant, trusted: str) -> None:
        """Returns where there is such an archive: what is only misspelt begins no operation.

        Raises:
            FailedPrecondition: there is none (`ARCHIVE_MISSING`), or another than was signed (`ARCHIVE_TAMPERED`).
        """
        manifest = await manifest_in(
            self._storage(of), archive, certificates=self._certificates, trusted=trusted
        )
        require_place(manifest, archive, of=of.tenant_id)

    def _storage(self, tenant: Tenant) -> Access:
        """The storage service, for reading what a tenant has."""
        return self._services.at(
            "storage", subject=subject_of(tenant), permissions=("lifecycle.read",)
        )

    async def list_archives(
        self, request: pb.ListArchivesRequest, _: Call
    ) -> pb.ListArchivesResponse:
        """ListArchives."""
        tenant = await self._tenants.get(tenant_id_in(request.parent, "parent"))
        storage = self._storage(tenant)
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
        operation = await self._operations.repeated(export.EXPORT, tenant_id, request.request_id)
        if operation is None:
            await self._require_room(tenant_id)
            operation = await self._operations.start(
                export.EXPORT,
                tenant_id,
                principal=call.principal,
                parameters={},
                request_id=request.request_id,
            )
        return pb.StartTenantExportResponse(operation=operation_proto(operation))

    async def _require_room(self, tenant_id: TenantId) -> None:
        """Returns where the tenant's people may have another export.

        Raises:
            ResourceExhausted: enough were begun lately, or are not over yet (`EXPORTS_FULL`).
        """
        recent, _ = await self._operations.page(
            Listing(tenant_id=tenant_id), limit=_RECENT, position=None
        )
        exports = [operation for operation in recent if operation.kind == export.EXPORT]
        if sum(not operation.over for operation in exports) >= MAX_EXPORTS_AT_ONCE:
            raise ResourceExhausted(
                "EXPORTS_FULL",
                f"{MAX_EXPORTS_AT_ONCE} exports are not over yet; wait, or cancel what failed",
                retry_after=60.0,
            )
        hour_ago = now_micros() - _HOUR_MICROS
        begun = [operation.created_at for operation in exports if operation.created_at > hour_ago]
        if len(begun) >= MAX_EXPORTS_AN_HOUR:
            raise ResourceExhausted(
                "EXPORTS_FULL",
                f"at most {MAX_EXPORTS_AN_HOUR} exports may be begun in an hour",
                retry_after=(sorted(begun)[-MAX_EXPORTS_AN_HOUR] - hour_ago) / 1e6,
            )


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
