"""silo.storage.v1.AuditArchiveService: messages to the archive's operations and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from boundary.errors import InvalidArgument, PermissionDenied
from boundary.interceptors.call import Call
from services.storage.audit_archive import AuditArchive
from services.storage.audit_query import Record, Wanted, find
from silo.audit.v1 import audit_pb2
from silo.storage.v1 import audit_archive_pb2

READER = "resolver"
"""The platform service that reads the archive and removes what is old, for tenants and operators."""

_MAX_LIMIT = 500
_DECISIONS = {
    "ALLOWED": audit_pb2.AUDIT_DECISION_ALLOWED,
    "REFUSED": audit_pb2.AUDIT_DECISION_REFUSED,
}
_TEXTS = (
    "request_id",
    "service",
    "principal",
    "issuer",
    "actor",
    "method",
    "resource",
    "status",
    "reason",
    "phase",
    "writer",
)


class AuditArchiveServicer:
    """Serves the RPCs behind the chain, which knows the platform service that calls."""

    def __init__(self, archive: AuditArchive) -> None:
        self._archive = archive

    async def append_audit_part(
        self, request: audit_archive_pb2.AppendAuditPartRequest, call: Call
    ) -> audit_archive_pb2.AppendAuditPartResponse:
        """AppendAuditPart."""
        await self._archive.append(request.content, peer=call.peer_service)
        return audit_archive_pb2.AppendAuditPartResponse()

    async def query_audit_records(
        self, request: audit_archive_pb2.QueryAuditRecordsRequest, call: Call
    ) -> audit_archive_pb2.QueryAuditRecordsResponse:
        """QueryAuditRecords."""
        _require_reader(call)
        if not 1 <= request.limit <= _MAX_LIMIT:
            raise InvalidArgument("limit", f"must be 1 to {_MAX_LIMIT}")
        page = await find(
            self._archive,
            request.tenant_id,
            _wanted(request.filter),
            limit=request.limit,
            position=request.position,
        )
        return audit_archive_pb2.QueryAuditRecordsResponse(
            records=[_message(record) for record in page.records], position=page.position or b""
        )

    async def read_audit_trail(
        self, request: audit_archive_pb2.ReadAuditTrailRequest, call: Call
    ) -> AsyncIterator[audit_archive_pb2.ReadAuditTrailResponse]:
        """ReadAuditTrail."""
        _require_reader(call)
        async for path, content in self._archive.files(request.tenant_id):
            file = audit_pb2.TrailFile(path=path, content=content)
            yield audit_archive_pb2.ReadAuditTrailResponse(file=file)

    async def expire_audit_trail(
        self, request: audit_archive_pb2.ExpireAuditTrailRequest, call: Call
    ) -> audit_archive_pb2.ExpireAuditTrailResponse:
        """ExpireAuditTrail."""
        _require_reader(call)
        if not request.HasField("before"):
            raise InvalidArgument("before", "must be set")
        before = request.before.ToDatetime(UTC)
        if before > datetime.now(UTC):
            raise InvalidArgument("before", "must not lie ahead")
        removed = await self._archive.expire(request.tenant_id, before=before)
        return audit_archive_pb2.ExpireAuditTrailResponse(removed_parts=removed)


def _require_reader(call: Call) -> None:
    if call.peer_service != READER:
        raise PermissionDenied("PEER_NOT_ALLOWED", "this platform service does not read the trail")


def _wanted(chosen: audit_pb2.AuditFilter) -> Wanted:
    if not chosen.HasField("start_time") or not chosen.HasField("end_time"):
        raise InvalidArgument("filter", "must have both times")
    return Wanted(
        start=_stamp(chosen.start_time),
        end=_stamp(chosen.end_time),
        principal=chosen.principal,
        method=chosen.method,
        resource=chosen.resource,
        decision={number: name for name, number in _DECISIONS.items()}.get(chosen.decision, ""),
    )


def _stamp(time: Timestamp) -> str:
    """RFC 3339 to the millisecond, as records have it."""
    moment = time.ToDatetime()
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _message(record: Record) -> audit_pb2.AuditRecord:
    message = audit_pb2.AuditRecord(
        tenant_id=str(record.get("tenant", "")),
        decision=_DECISIONS.get(str(record.get("decision")), audit_pb2.AUDIT_DECISION_UNSPECIFIED),
        duration_ms=float(str(record.get("duration_ms", 0))),
        seq=int(str(record["seq"])),
    )
    for name in _TEXTS:
        setattr(message, name, str(record.get(name, "")))
    message.time.FromJsonString(str(record["time"]))
    several = record.get("resources")
    if isinstance(several, list):
        message.resources.extend(str(name) for name in several)
    return message
