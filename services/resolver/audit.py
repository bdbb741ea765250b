"""The audit trail for tenants and operators: the storage service has it, and searches it.

What it answers is passed on as it is; nothing of it is read here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from boundary.channel import connected
from boundary.errors import InvalidArgument, tenant_unavailable
from boundary.ids import TenantId, is_tenant_id, parse_tenant_id
from boundary.interceptors.call import Call
from boundary.metadata import PEER_KEY
from boundary.resolver_client import unreachable
from boundary.tokens import Caller
from services.resolver.directory import Directory
from silo.audit.v1 import audit_pb2
from silo.storage.v1 import audit_archive_pb2, audit_archive_pb2_grpc

_log = logging.getLogger(__name__)

NO_TENANT = TenantId("")
"""Whose chain has the records of no known tenant."""

_COLLECTION = "tenants/"
_NONE = "-"
_SPAN = timedelta(days=7)
_QUERY_SECONDS = 20.0
_EXPIRE_SECONDS = 300.0
_FIRST_SWEEP_SECONDS = 120.0
_SWEEP_SECONDS = 3600.0
_PAGE = 200


class AuditTrail:
    """Reads the archive, and removes from it what is over."""

    def __init__(self, channel: grpc.aio.Channel, *, peer_token: str, directory: Directory) -> None:
        """Takes a channel to the storage service, and what the resolver proves itself with there."""
        self._stub: audit_archive_pb2_grpc.AuditArchiveServiceAsyncStub = (
            audit_archive_pb2_grpc.AuditArchiveServiceStub(channel)
        )
        self._channel = channel
        self._metadata = ((PEER_KEY, peer_token),)
        self._directory = directory

    async def chain_of(self, caller: Caller) -> TenantId:
        """The chain that a tenant's caller may read: its own.

        Raises:
            PermissionDenied: the caller has no tenant, or it is not available.
        """
        tenant = None
        if is_tenant_id(caller.tenant_id):
            tenant = await self._directory.find(TenantId(caller.tenant_id))
        if tenant is None or not tenant.active:
            raise tenant_unavailable()
        return tenant.tenant_id

    async def query(
        self,
        chain: TenantId,
        chosen: audit_pb2.AuditFilter,
        *,
        limit: int,
        position: bytes,
        call: Call,
    ) -> audit_archive_pb2.QueryAuditRecordsResponse:
        """A page of records, newest first.

        Raises:
            InvalidArgument: a time is out of range.
            Unavailable: the storage service does not answer.
        """
        request = audit_archive_pb2.QueryAuditRecordsRequest(
            tenant_id=chain, filter=_with_times(chosen), limit=limit, position=position
        )
        await connected(self._channel)
        try:
            return await self._stub.QueryAuditRecords(
                request,
                metadata=self._metadata,
                timeout=call.remaining(at_most=_QUERY_SECONDS),
            )
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error

    async def files(self, chain: TenantId, *, call: Call) -> AsyncIterator[audit_pb2.TrailFile]:
        """Every file of a trail.

        Raises:
            Unavailable: the storage service does not answer, or not to the end.
        """
        await connected(self._channel)
        seconds = None if call.deadline is None else call.remaining(at_most=float("inf"))
        stream: Any = self._stub.ReadAuditTrail(
            audit_archive_pb2.ReadAuditTrailRequest(tenant_id=chain),
            metadata=self._metadata,
            timeout=seconds,
        )
        try:
            async for response in stream:
                yield response.file
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error
        finally:
            stream.cancel()

    async def expire(self, chain: TenantId, *, days: int) -> int:
        """Removes the days of a trail that are older than some days; says how many parts.

        Raises:
            Unavailable: the storage service does not answer.
        """
        before = Timestamp()
        before.FromDatetime(datetime.now(UTC) - timedelta(days=days))
        request = audit_archive_pb2.ExpireAuditTrailRequest(tenant_id=chain, before=before)
        try:
            response = await self._stub.ExpireAuditTrail(
                request, metadata=self._metadata, timeout=_EXPIRE_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise _failed(error) from error
        return response.removed_parts


class AuditRetention:
    """Removes, once an hour, what is older than a tenant's tier keeps it."""

    def __init__(self, trail: AuditTrail, directory: Directory, days: Mapping[str, int]) -> None:
        """Takes for how many days records are kept by tier; under the empty name those of no known tenant."""
        self._trail = trail
        self._directory = directory
        self._days = days

    async def run(self) -> None:
        """Removes until it is cancelled."""
        await asyncio.sleep(_FIRST_SWEEP_SECONDS)
        while True:
            began = time.monotonic()
            removed = await self.sweep()
            if removed:
                seconds = time.monotonic() - began
                _log.info("%d parts of audit trails were over, %.0f s", removed, seconds)
            await asyncio.sleep(_SWEEP_SECONDS)

    async def sweep(self) -> int:
        """Removes what is over at this moment; says how many parts.

        Raises:
            Unavailable: the storage service does not answer.
        """
        removed = await self._trail.expire(NO_TENANT, days=self._days[""])
        position: bytes | None = None
        while True:
            tenants, position = await self._directory.page(limit=_PAGE, position=position)
            for tenant in tenants:
                removed += await self._trail.expire(tenant.tenant_id, days=self._days[tenant.tier])
            if position is None:
                return removed


def chain_in(parent: str) -> TenantId:
    """The chain that an operator names: `tenants/{tenant_id}`, or `tenants/-` for that of no known tenant.

    Raises:
        InvalidArgument: it names none.
    """
    if not parent.startswith(_COLLECTION):
        raise InvalidArgument("parent", "must be tenants/{tenant_id} or tenants/-")
    tenant_id = parent.removeprefix(_COLLECTION)
    return NO_TENANT if tenant_id == _NONE else parse_tenant_id(tenant_id, field="parent")


def _with_times(chosen: audit_pb2.AuditFilter) -> audit_pb2.AuditFilter:
    """The filter with both times set."""
    complete = audit_pb2.AuditFilter()
    complete.CopyFrom(chosen)
    if not complete.HasField("end_time"):
        complete.end_time.FromDatetime(datetime.now(UTC))
    end = _moment(complete.end_time, "filter.end_time")
    if not complete.HasField("start_time"):
        complete.start_time.FromDatetime(max(end - _SPAN, datetime(1970, 1, 1, tzinfo=UTC)))
    _moment(complete.start_time, "filter.start_time")
    return complete


def _moment(time: Timestamp, field: str) -> datetime:
    try:
        return time.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(field, "is out of range") from error


def _failed(error: grpc.aio.AioRpcError) -> Exception:
    _log.warning("the audit archive answered %s: %s", error.code().name, error.details())
    return unreachable("storage")
