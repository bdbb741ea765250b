"""Writing small audit trails for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from boundary.audit import AuditLog
from boundary.catalog import methods_of
from boundary.ids import PrincipalId, TenantId
from boundary.interceptors.call import Call

GET_CAMPAIGN = next(m for m in methods_of("data") if m.descriptor.name == "GetCampaign")


def open_log(
    folder: Path, *, strict: bool = False, segment_seconds: float = 3600, service: str = "data"
) -> AuditLog:
    """A trail that takes every tenant for known."""
    return AuditLog(
        folder,
        service=service,
        keys=folder / "keys",
        strict=strict,
        segment_seconds=segment_seconds,
        known=lambda _: True,
    )


def note(log: AuditLog, tenant_id: str, resource: str) -> asyncio.Future[None] | None:
    """Records a call of a tenant."""
    call = Call(method=GET_CAMPAIGN, metadata=(), deadline=None)
    call.tenant_id, call.principal = TenantId(tenant_id), PrincipalId("alice")
    call.request_id, call.resource = f"request-{resource}", resource
    return log.record(call, status="OK", reason="", allowed=True)


def write_segment(folder: Path, tenants: Iterable[str]) -> Path:
    """A segment with a record for each tenant named, closed and signed; the writer's folder."""
    log = open_log(folder)
    for number, tenant_id in enumerate(tenants):
        note(log, tenant_id, f"campaigns/{number}")
    path = log.writer.folder.path
    log.close()
    return path
