"""OperationService and TenantOperationService: messages to operations and back; decides nothing."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from google.protobuf import timestamp_pb2

from boundary.errors import InvalidArgument, tenant_unavailable
from boundary.ids import TenantId, parse_tenant_id
from boundary.interceptors.call import Call
from boundary.pages import PageSealer, page_size, query_of
from services.resolver.directory import Directory
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.records import Operation, StepRecord
from services.resolver.lifecycle.store import Listing
from silo.resolver.v1 import operation_pb2 as pb

_NAME = re.compile(r"operations/([0-9a-f]{32})")
_NO_TENANT = TenantId("")


class OperationServicer:
    """silo.resolver.v1.OperationService."""

    def __init__(self, operations: Operations, pages: PageSealer) -> None:
        self._operations = operations
        self._pages = pages

    async def get_operation(
        self, request: pb.GetOperationRequest, _: Call
    ) -> pb.GetOperationResponse:
        """GetOperation."""
        operation = await self._operations.get(_id_in(request.name))
        return pb.GetOperationResponse(operation=operation_proto(operation))

    async def list_operations(
        self, request: pb.ListOperationsRequest, call: Call
    ) -> pb.ListOperationsResponse:
        """ListOperations."""
        tenant_id = parse_tenant_id(request.tenant_id) if request.tenant_id else ""
        listing = Listing(tenant_id=tenant_id, state=_state_in(request.state))
        found, token = await _page(self._operations, self._pages, request, call, listing)
        return pb.ListOperationsResponse(operations=found, next_page_token=token)

    async def watch_operation(
        self, request: pb.WatchOperationRequest, _: Call
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        """WatchOperation."""
        async for operation in self._operations.watch(_id_in(request.name)):
            yield pb.WatchOperationResponse(operation=operation_proto(operation))

    async def cancel_operation(
        self, request: pb.CancelOperationRequest, _: Call
    ) -> pb.CancelOperationResponse:
        """CancelOperation."""
        operation = await self._operations.get(_id_in(request.name))
        cancelled = await self._operations.cancel(operation)
        return pb.CancelOperationResponse(operation=operation_proto(cancelled))

    async def resume_operation(
        self, request: pb.ResumeOperationRequest, _: Call
    ) -> pb.ResumeOperationResponse:
        """ResumeOperation."""
        operation = await self._operations.get(_id_in(request.name))
        resumed = await self._operations.resume(operation)
        return pb.ResumeOperationResponse(operation=operation_proto(resumed))


class TenantOperationServicer:
    """silo.resolver.v1.TenantOperationService: the tenant is the caller's own."""

    def __init__(self, operations: Operations, directory: Directory, pages: PageSealer) -> None:
        self._operations = operations
        self._directory = directory
        self._pages = pages

    async def get_tenant_operation(
        self, request: pb.GetTenantOperationRequest, call: Call
    ) -> pb.GetTenantOperationResponse:
        """GetTenantOperation."""
        operation = await self._own(request.name, call)
        return pb.GetTenantOperationResponse(operation=operation_proto(operation))

    async def list_tenant_operations(
        self, request: pb.ListTenantOperationsRequest, call: Call
    ) -> pb.ListTenantOperationsResponse:
        """ListTenantOperations."""
        listing = Listing(
            tenant_id=await callers_tenant(call, self._directory),
            state=_state_in(request.state),
            tenant_visible=True,
        )
        found, token = await _page(self._operations, self._pages, request, call, listing)
        return pb.ListTenantOperationsResponse(operations=found, next_page_token=token)

    async def watch_tenant_operation(
        self, request: pb.WatchTenantOperationRequest, call: Call
    ) -> AsyncIterator[pb.WatchTenantOperationResponse]:
        """WatchTenantOperation."""
        tenant_id = await callers_tenant(call, self._directory)
        watched = self._operations.watch(_id_in(request.name), tenant_id=tenant_id)
        async for operation in watched:
            yield pb.WatchTenantOperationResponse(operation=operation_proto(operation))

    async def cancel_tenant_operation(
        self, request: pb.CancelTenantOperationRequest, call: Call
    ) -> pb.CancelTenantOperationResponse:
        """CancelTenantOperation."""
        cancelled = await self._operations.cancel(await self._own(request.name, call))
        return pb.CancelTenantOperationResponse(operation=operation_proto(cancelled))

    async def resume_tenant_operation(
        self, request: pb.ResumeTenantOperationRequest, call: Call
    ) -> pb.ResumeTenantOperationResponse:
        """ResumeTenantOperation."""
        resumed = await self._operations.resume(await self._own(request.name, call))
        return pb.ResumeTenantOperationResponse(operation=operation_proto(resumed))

    async def _own(self, name: str, call: Call) -> Operation:
        tenant_id = await callers_tenant(call, self._directory)
        return await self._operations.get(_id_in(name), tenant_id=tenant_id)


async def callers_tenant(call: Call, directory: Directory) -> TenantId:
    """The tenant of a caller's JWT.

    Raises:
        PermissionDenied: there is none, or it may not work.
    """
    claimed = call.operator.tenant_id
    try:
        tenant = await directory.find(parse_tenant_id(claimed)) if claimed else None
    except InvalidArgument:
        tenant = None
    if tenant is None or not tenant.active:
        raise tenant_unavailable()
    return tenant.tenant_id


async def _page(
    operations: Operations,
    pages: PageSealer,
    request: pb.ListOperationsRequest | pb.ListTenantOperationsRequest,
    call: Call,
    listing: Listing,
) -> tuple[list[pb.Operation], str]:
    limit = page_size(request.page_size, default=50, maximum=200)
    owner = TenantId(listing.tenant_id) if listing.tenant_visible else _NO_TENANT
    query, method, position = query_of(request), call.method.name, None
    if request.page_token:
        position = pages.open(request.page_token, tenant_id=owner, method=method, query=query)
    found, following = await operations.page(listing, limit=limit, position=position)
    token = ""
    if following is not None:
        token = pages.seal(following, tenant_id=owner, method=method, query=query)
    return [operation_proto(operation) for operation in found], token


def operation_proto(operation: Operation) -> pb.Operation:
    """The message that tells of an operation."""
    message = pb.Operation(
        name=operation.name,
        tenant_id=operation.tenant_id,
        kind=operation.kind,
        state=pb.OperationState.Value(f"OPERATION_STATE_{operation.state}"),
        steps=[_step_proto(step) for step in operation.steps],
        principal=operation.principal,
        create_time=_time(operation.created_at),
        update_time=_time(operation.updated_at),
        cancellable=operation.cancellable and not operation.over,
        cancel_requested=operation.cancel_requested,
    )
    if operation.ended_at:
        message.end_time.CopyFrom(_time(operation.ended_at))
    if operation.state in ("WAITING", "BLOCKED"):
        message.due_time.CopyFrom(_time(operation.due_at))
    error = operation.error
    if error is not None:
        message.error.CopyFrom(
            pb.OperationError(code=error.code, reason=error.reason, message=error.message)
        )
    if operation.state == "SUCCEEDED":
        for name, value in operation.result.items():
            setattr(message, name, value)
    return message


def _step_proto(step: StepRecord) -> pb.OperationStep:
    message = pb.OperationStep(
        name=step.name,
        state=pb.StepState.Value(f"STEP_STATE_{step.state}"),
        done=step.done,
        total=step.total,
        unit=step.unit,
        detail=step.detail,
    )
    if step.started_at:
        message.start_time.CopyFrom(_time(step.started_at))
    if step.ended_at:
        message.end_time.CopyFrom(_time(step.ended_at))
    return message


def _time(micros: int) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromMicroseconds(micros)
    return timestamp


def _id_in(name: str) -> str:
    match = _NAME.fullmatch(name)
    if match is None:
        raise InvalidArgument("name", "must be operations/{operation}")
    return match.group(1)


def _state_in(state: pb.OperationState.ValueType) -> str:
    if state == pb.OPERATION_STATE_UNSPECIFIED:
        return ""
    if state not in pb.OperationState.values():
        raise InvalidArgument("state", "is none")
    return pb.OperationState.Name(state).removeprefix("OPERATION_STATE_")
