"""Exports, imports, backups and moves as an operator asks for them, and what a tenant has, to compare."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Any

from devstack.stack import Stack
from silo.data.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    campaign_pb2,
    campaign_pb2_grpc,
    recipient_list_pb2,
    recipient_list_pb2_grpc,
    template_pb2,
    template_pb2_grpc,
    tenant_config_pb2,
    tenant_config_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from silo.resolver.v1 import (
    archive_pb2,
    archive_pb2_grpc,
    operation_pb2,
    tenant_lifecycle_pb2,
    tenant_pb2,
)
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.lifecycle import Inhabitant, Operator

PAGE = 200


class Archivist(Operator):
    """A platform operator who has archives written and brought in."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.archives = archive_pb2_grpc.ArchiveServiceStub(self.channel)

    def export(self, tenant_id: str) -> Any:
        """The export that was begun."""
        request = archive_pb2.StartExportRequest(
            name=f"tenants/{tenant_id}", request_id=secrets.token_hex(8)
        )
        return self.patient(lambda: self.archives.StartExport(request, **self.common)).operation

    def backup(self, tenant_id: str) -> Any:
        """The backup that was begun."""
        request = archive_pb2.StartBackupRequest(
            name=f"tenants/{tenant_id}", request_id=secrets.token_hex(8)
        )
        return self.patient(lambda: self.archives.StartBackup(request, **self.common)).operation

    def bring_in(self, tenant_id: str, archive: str, *, source: str = "", jwks: str = "") -> Any:
        """The import that was begun."""
        request = archive_pb2.StartImportRequest(
            name=f"tenants/{tenant_id}",
            archive=archive,
            source=f"tenants/{source}" if source else "",
            trusted_jwks=jwks,
            request_id=secrets.token_hex(8),
        )
        return self.patient(lambda: self.archives.StartImport(request, **self.common)).operation

    def move(self, tenant_id: str, **placement: str) -> Any:
        """The move that was begun."""
        request = tenant_lifecycle_pb2.StartMoveRequest(
            name=f"tenants/{tenant_id}",
            placement=tenant_pb2.Placement(**placement),
            request_id=secrets.token_hex(8),
        )
        return self.patient(lambda: self.lifecycle.StartMove(request, **self.common)).operation

    def operations_of(self, tenant_id: str, kind: str) -> list[Any]:
        """The newest operations of a kind of a tenant."""
        request = operation_pb2.ListOperationsRequest(tenant_id=tenant_id)
        found = self.operations.ListOperations(request, **self.common).operations
        return [operation for operation in found if operation.kind == kind]

    def archives_of(self, tenant_id: str) -> list[str]:
        """The complete archives of a tenant."""
        request = archive_pb2.ListArchivesRequest(parent=f"tenants/{tenant_id}")
        found = self.archives.ListArchives(request, **self.common).archives
        return [archive.path for archive in found if archive.complete]


class Resident(Inhabitant):
    """Somebody of a tenant with something of everything outside of the archives."""

    def furnish(self, count: int = 3) -> None:
        """Besides what every inhabitant has: settings, a counter, odd paths and metadata."""
        super().furnish(count)
        tenant_config_pb2_grpc.TenantConfigServiceStub(self.channel).UpdateTenantConfig(
            tenant_config_pb2.UpdateTenantConfigRequest(
                tenant_config=tenant_config_pb2.TenantConfig(
                    name="config", default_from_name=self.mark
                )
            ),
            **self.common,
        )
        self._upload("attachments/ä b/1.bin", campaign="spring", note="a b")
        self._upload("attachments/ä b/2.bin")  # the same content once more

    def upload(self, path: str, content: bytes) -> None:
        """Stores an object as it is."""

        def parts() -> Iterator[object_pb2.UploadObjectRequest]:
            yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path=path))
            for start in range(0, len(content), 1024 * 1024):
                yield object_pb2.UploadObjectRequest(chunk=content[start : start + 1024 * 1024])

        object_pb2_grpc.ObjectServiceStub(self.channel).UploadObject(parts(), **self.common)

    def download(self, path: str) -> bytes:
        """An object's content."""
        stub = object_pb2_grpc.ObjectServiceStub(self.channel)
        answers = stub.DownloadObject(object_pb2.DownloadObjectRequest(path=path), **self.common)
        return b"".join(answer.chunk for answer in answers)

    def paths(self, prefix: str = "") -> list[str]:
        """The paths of the objects that begin so."""
        return [found.path for found in self._objects(prefix)]

    def belongings(self) -> dict[str, list[Any]]:
        """Everything that the tenant can read of itself, but for archives and the times of objects."""
        return {
            "users": self._listed(user_pb2, user_pb2_grpc, "User"),
            "campaigns": self._listed(campaign_pb2, campaign_pb2_grpc, "Campaign"),
            "lists": self._listed(recipient_list_pb2, recipient_list_pb2_grpc, "RecipientList"),
            "templates": self._templates(),
            "config": [self._config()],
            "counters": [self._counter()],
            "objects": self._contents(),
            "events": self._events(),
        }

    def _listed(self, messages: Any, services: Any, kind: str) -> list[Any]:
        stub = getattr(services, f"{kind}ServiceStub")(self.channel)
        request = getattr(messages, f"List{kind}sRequest")(page_size=PAGE)
        answer = getattr(stub, f"List{kind}s")(request, **self.common)
        (found,) = [value for field, value in answer.ListFields() if field.is_repeated] or [[]]
        return [each.SerializeToString(deterministic=True) for each in found]

    def _templates(self) -> list[Any]:
        stub = template_pb2_grpc.TemplateServiceStub(self.channel)
        names = stub.ListTemplates(
            template_pb2.ListTemplatesRequest(page_size=PAGE), **self.common
        ).templates
        found = []
        for each in names:
            request = template_pb2.GetTemplateContentRequest(name=each.name)
            content = stub.GetTemplateContent(request, **self.common)
            found.append((each.SerializeToString(deterministic=True), content.content))
        return found

    def _config(self) -> Any:
        stub = tenant_config_pb2_grpc.TenantConfigServiceStub(self.channel)
        request = tenant_config_pb2.GetTenantConfigRequest()
        config = stub.GetTenantConfig(request, **self.common).tenant_config
        return (config.default_from_name, config.etag)

    def _counter(self) -> Any:
        stub = analytics_pb2_grpc.AnalyticsServiceStub(self.channel)
        request = analytics_pb2.GetAnalyticsReportRequest(
            start_date="2024-01-15", end_date="2024-01-15"
        )
        report = stub.GetAnalyticsReport(request, **self.common)
        return report.SerializeToString(deterministic=True)

    def _contents(self) -> list[Any]:
        return [
            (
                found.path,
                found.content_type,
                sorted(found.metadata.items()),
                hashlib.sha256(self.download(found.path)).hexdigest(),
            )
            for found in self._objects("")
            if not found.path.startswith(("exports/", "backups/"))
        ]

    def _objects(self, prefix: str) -> list[Any]:
        stub = object_pb2_grpc.ObjectServiceStub(self.channel)
        found, token = [], ""
        while True:
            request = object_pb2.ListObjectsRequest(prefix=prefix, page_size=PAGE, page_token=token)
            answer = stub.ListObjects(request, **self.common)
            found += answer.objects
            token = answer.next_page_token
            if not token:
                return found

    def _events(self) -> list[Any]:
        stub = event_pb2_grpc.EventServiceStub(self.channel)
        answer = stub.SearchEvents(event_pb2.SearchEventsRequest(page_size=PAGE), **self.common)
        return sorted(each.SerializeToString(deterministic=True) for each in answer.events)
