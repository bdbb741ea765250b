"""SubjectErasureService: messages to operations and back; decides nothing."""

from __future__ import annotations

from boundary.errors import NotFound
from boundary.interceptors.call import Call
from services.resolver.directory import Directory
from services.resolver.lifecycle import subject_erasure
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.operation_servicer import callers_tenant, operation_proto
from services.resolver.lifecycle.servicer import certificate_in, certificate_of
from services.resolver.operations import held
from silo.resolver.v1 import subject_erasure_pb2 as pb


class SubjectErasureServicer:
    """silo.resolver.v1.SubjectErasureService: the tenant is the caller's own."""

    def __init__(
        self,
        *,
        operations: Operations,
        directory: Directory,
        erasure: subject_erasure.SubjectErasure,
    ) -> None:
        self._operations = operations
        self._directory = directory
        self._erasure = erasure

    async def start_subject_erasure(
        self, request: pb.StartSubjectErasureRequest, call: Call
    ) -> pb.StartSubjectErasureResponse:
        """StartSubjectErasure."""
        tenant_id = await callers_tenant(call, self._directory)
        tenant = await self._directory.find(tenant_id)
        if tenant is not None and tenant.legal_hold:
            raise held(tenant)
        operation = await self._operations.start(
            subject_erasure.NAME,
            tenant_id,
            principal=call.principal,
            parameters=self._erasure.parameters(tenant_id, request.email),
            request_id=request.request_id,
        )
        return pb.StartSubjectErasureResponse(operation=operation_proto(operation))

    async def get_subject_erasure_certificate(
        self, request: pb.GetSubjectErasureCertificateRequest, call: Call
    ) -> pb.GetSubjectErasureCertificateResponse:
        """GetSubjectErasureCertificate."""
        tenant_id = await callers_tenant(call, self._directory)
        operation = await self._operations.find(certificate_in(request.name))
        if operation is None or operation.tenant_id != tenant_id or not operation.tenant_visible:
            raise NotFound(request.name, field="name")
        return pb.GetSubjectErasureCertificateResponse(
            certificate=certificate_of(operation, request.name)
        )
