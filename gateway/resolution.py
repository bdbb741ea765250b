"""Asks the resolver for tenant contexts on callers' behalf."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2

from boundary.errors import (
    PermissionDenied,
    SiloError,
    Unauthenticated,
    Unavailable,
    error_info,
    tenant_unavailable,
)
from boundary.ids import TenantId
from boundary.metadata import REQUEST_ID_KEY
from boundary.resolver_client import rich_status, unreachable
from boundary.tokens import AUTHORIZATION_KEY, Caller
from silo.resolver.v1 import context_pb2, context_pb2_grpc

_CALL_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A context as the resolver minted it.

    Attributes:
        context: the signed token.
        tenant_id: the tenant.
        generation: the tenant's generation that it carries.
        expires_at: seconds since the epoch.
    """

    context: str = field(repr=False)
    tenant_id: TenantId
    generation: int
    expires_at: float


class Resolution:
    """Resolves over a channel to the resolver."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: context_pb2_grpc.ContextServiceAsyncStub = context_pb2_grpc.ContextServiceStub(
            channel
        )

    async def resolve(self, caller: Caller, audience: str, *, request_id: str) -> Resolved:
        """A new context for the caller's tenant at one service.

        Raises:
            PermissionDenied, Unauthenticated: the resolver refused, with the reason that it gave.
            Unavailable: the resolver does not answer, or cannot verify the caller at present.
        """
        try:
            response = await self._stub.ResolveTenant(
                context_pb2.ResolveTenantRequest(audience=audience),
                metadata=(
                    (AUTHORIZATION_KEY, f"Bearer {caller.token}"),
                    (REQUEST_ID_KEY, request_id),
                ),
                timeout=_CALL_SECONDS,
            )
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error
        if response.tenant_id != caller.tenant_id:
            raise tenant_unavailable()
        return Resolved(
            context=response.context,
            tenant_id=TenantId(response.tenant_id),
            generation=response.generation,
            expires_at=response.expire_time.seconds + response.expire_time.nanos / 1e9,
        )


def _refusal(error: grpc.aio.AioRpcError) -> SiloError:
    """What the resolver's answer means to the caller: its refusals word for word, all else as its absence.

    The error is built anew, because the caller's request id belongs in it and callers may share one resolution.
    """
    info = _info(error)
    code, message = error.code(), error.details() or ""
    if info is None:
        return unreachable("resolver")
    facts = {key: value for key, value in info.metadata.items() if key != "request_id"}
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return PermissionDenied(info.reason, message, metadata=facts)
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(info.reason, message, metadata=facts)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(info.reason, message)
    return unreachable("resolver")


def _info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo | None:
    try:
        return error_info(rich_status(error))
    except DecodeError:
        return None
