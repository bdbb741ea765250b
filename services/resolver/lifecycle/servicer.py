"""TenantLifecycleService: messages to operations of the resolver's kinds and back; decides nothing."""

from __future__ import annotations

import re

from boundary.context import Placement
from boundary.errors import InvalidArgument, NotFound
from boundary.ids import TenantId
from boundary.interceptors.call import Call
from services.resolver.certificates import Certificates
from services.resolver.lifecycle import move, offboarding, onboarding
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.operation_servicer import operation_proto
from services.resolver.lifecycle.records import Operation
from services.resolver.operations import Tenants
from services.resolver.servicer import new_tenant_of, tenant_id_in, tenant_proto
from silo.resolver.v1 import tenant_lifecycle_pb2 as pb

MAX_GRACE_SECONDS = 366 * 24 * 3600

_CERTIFICATE = re.compile(r"certificates/([0-9a-f]{32})")


class TenantLifecycleServicer:
    """silo.resolver.v1.TenantLifecycleService."""

    def __init__(
        self,
        *,
        operations: Operations,
        tenants: Tenants,
        onboarding: onboarding.Onboarding,
        offboarding: offboarding.Offboarding,
        move: move.Move,
        certificates: Certificates,
        grace_seconds: int,
    ) -> None:
        """Takes the parts.

        Args:
            grace_seconds: the grace period of those who name none.
        """
        self._operations = operations
        self._tenants = tenants
        self._onboarding = onboarding
        self._offboarding = offboarding
        self._move = move
        self._certificates = certificates
        self._grace_seconds = grace_seconds

    async def start_onboarding(
        self, request: pb.StartOnboardingRequest, call: Call
    ) -> pb.StartOnboardingResponse:
        """StartOnboarding."""
        new = new_tenant_of(request.tenant_id, request.tenant, request_id="")
        tenant_id = TenantId(request.tenant_id)
        known = await self._operations.repeated(onboarding.NAME, tenant_id, request.request_id)
        if known is None:
            parameters = await self._onboarding.check(new)
            known = await self._operations.start(
                onboarding.NAME,
                tenant_id,
                principal=call.principal,
                parameters=parameters,
                request_id=request.request_id,
            )
        return pb.StartOnboardingResponse(operation=operation_proto(known))

    async def start_offboarding(
        self, request: pb.StartOffboardingRequest, call: Call
    ) -> pb.StartOffboardingResponse:
        """StartOffboarding."""
        tenant_id = tenant_id_in(request.name, "name")
        known = await self._operations.repeated(offboarding.NAME, tenant_id, request.request_id)
        if known is None:
            grace = self._grace_seconds
            if request.HasField("grace_period"):
                grace = _seconds_in(request)
            parameters = await self._offboarding.check(tenant_id, grace_seconds=grace)
            known = await self._operations.start(
                offboarding.NAME,
                tenant_id,
                principal=call.principal,
                parameters=parameters,
                request_id=request.request_id,
            )
        return pb.StartOffboardingResponse(operation=operation_proto(known))

    async def start_move(self, request: pb.StartMoveRequest, call: Call) -> pb.StartMoveResponse:
        """StartMove."""
        tenant_id = tenant_id_in(request.name, "name")
        known = await self._operations.repeated(move.MOVE, tenant_id, request.request_id)
        if known is None:
            tenant = await self._tenants.get(tenant_id)
            wanted = Placement(
                region=request.placement.region,
                table=request.placement.table,
                bucket=request.placement.bucket,
                search_cluster=request.placement.search_cluster,
            )
            known = await self._operations.start(
                move.MOVE,
                tenant_id,
                principal=call.principal,
                parameters=self._move.check(tenant, wanted),
                request_id=request.request_id,
            )
        return pb.StartMoveResponse(operation=operation_proto(known))

    async def set_legal_hold(
        self, request: pb.SetLegalHoldRequest, _: Call
    ) -> pb.SetLegalHoldResponse:
        """SetLegalHold."""
        if not request.reason.strip():
            raise InvalidArgument("reason", "must be set")
        tenant = await self._tenants.hold(tenant_id_in(request.name, "name"), why=request.reason)
        return pb.SetLegalHoldResponse(tenant=tenant_proto(tenant))

    async def release_legal_hold(
        self, request: pb.ReleaseLegalHoldRequest, _: Call
    ) -> pb.ReleaseLegalHoldResponse:
        """ReleaseLegalHold."""
        tenant = await self._tenants.hold(tenant_id_in(request.name, "name"), why="")
        await self._operations.look_again(tenant.tenant_id)
        return pb.ReleaseLegalHoldResponse(tenant=tenant_proto(tenant))

    async def get_erasure_certificate(
        self, request: pb.GetErasureCertificateRequest, _: Call
    ) -> pb.GetErasureCertificateResponse:
        """GetErasureCertificate."""
        operation = await self._operations.find(certificate_in(request.name))
        return pb.GetErasureCertificateResponse(certificate=certificate_of(operation, request.name))

    async def get_certificate_key_set(
        self, _: pb.GetCertificateKeySetRequest, __: Call
    ) -> pb.GetCertificateKeySetResponse:
        """GetCertificateKeySet."""
        return pb.GetCertificateKeySetResponse(jwks=self._certificates.jwks())


def certificate_in(name: str) -> str:
    """The id of the operation that a certificate's name names.

    Raises:
        InvalidArgument: the name is none.
    """
    match = _CERTIFICATE.fullmatch(name)
    if match is None:
        raise InvalidArgument("name", "must be certificates/{operation}")
    return match.group(1)


def certificate_of(operation: Operation | None, name: str) -> str:
    """The certificate that an operation has given.

    Raises:
        NotFound: it has given none.
    """
    certificate = operation.memory.get("certificate") if operation is not None else None
    if not isinstance(certificate, str):
        raise NotFound(name, field="name")
    return certificate


def _seconds_in(request: pb.StartOffboardingRequest) -> int:
    grace = request.grace_period
    if grace.nanos or not 0 <= grace.seconds <= MAX_GRACE_SECONDS:
        raise InvalidArgument(
            "grace_period", f"must be whole seconds from 0 to {MAX_GRACE_SECONDS}"
        )
    return grace.seconds
