"""Opens a process's part of the audit trail, as its settings say."""

from __future__ import annotations

from collections.abc import Callable

from boundary.audit import AuditLog
from boundary.ids import TenantId
from boundary.settings import ProcessSettings


def open_audit(
    settings: ProcessSettings, *, service: str, known: Callable[[TenantId], bool]
) -> AuditLog:
    """The audit trail of a process.

    Args:
        known: whether a tenant that a JWT names is one.

    Raises:
        OSError: its folder can be neither read nor written.
    """
    return AuditLog(
        settings.audit_folder,
        service=service,
        keys=settings.keys_folder,
        strict=settings.audit_strict,
        segment_seconds=settings.audit_segment_seconds,
        known=known,
    )
