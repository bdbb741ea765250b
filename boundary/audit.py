"""The audit trail: one JSON line for each call, allowed or refused.

A line is handed to the operating system before the caller has its answer, so that it survives the end of the
process. Where lines cannot be written, further calls are refused: no access goes unrecorded.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from boundary.errors import Unavailable

if TYPE_CHECKING:
    from boundary.interceptors.call import Call

_log = logging.getLogger(__name__)

_MAX_UNWRITTEN = 1000
"""Records that wait for space on the disk. They are of calls that were under way when it filled up; what comes
afterwards is refused unserved, and past this number those refusals are not kept."""


_MAX_RESOURCE = 1024
"""Characters of a resource's name that are kept; longer ones break their own grammar and were refused."""


_MAX_TENANT = 64
"""Characters of a tenant's id that are kept: more than any has; a JWT may claim whatever it likes."""

_MAX_RESOURCES = 200
_MAX_NAME = 200


def _several(resources: Sequence[str]) -> list[str]:
    return [name[:_MAX_NAME] for name in resources[:_MAX_RESOURCES]]


def _bounded(resource: str) -> str:
    return resource[:_MAX_RESOURCE] + "..."


class AuditLog:
    """Appends audit records to `{folder}/{service}.jsonl`. Lines are atomic: each is one append.

    Attributes:
        behind: whether records wait to be written.
    """

    def __init__(self, folder: Path, *, service: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.behind = False
        self._service = service
        self._path = folder / f"{service}.jsonl"
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        self._unwritten: list[bytes] = []
        self._second = 0
        self._to_the_second = ""

    def require_writable(self) -> None:
        """Returns where every record so far is written.

        Raises:
            Unavailable: records cannot be written; the call must not be served.
        """
        self._flush()
        if self.behind:
            raise Unavailable("AUDIT_UNAVAILABLE", "calls cannot be recorded", retry_after=5.0)

    def record(self, call: Call, *, status: str, reason: str, allowed: bool) -> None:
        """Records how a call ended.

        Args:
            status: the canonical status code's name.
            reason: the ErrorInfo reason, or empty.
            allowed: whether the boundary let the call through to its handler.
        """
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._to_the_second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        context, resource = call.context, call.resource
        vouched = context or call.caller
        line = orjson.dumps(
            {
                # RFC 3339, to the millisecond
                "time": f"{self._to_the_second}.{int((now - second) * 1000):03d}Z",
                "request_id": call.request_id,
                "service": self._service,
                "tenant": (call.tenant_id or "")[:_MAX_TENANT],
                "principal": call.principal,
                "issuer": vouched.issuer if vouched else "",
                "actor": context.actor if context else "",
                "method": call.method.name,
                "resource": resource if len(resource) <= _MAX_RESOURCE else _bounded(resource),
                "decision": "ALLOWED" if allowed else "REFUSED",
                "status": status,
                "reason": reason,
                "duration_ms": round(call.seconds * 1000, 3),
                **({"resources": _several(call.resources)} if call.resources else {}),
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        rest = line if self.behind else self._append(line)
        if rest:
            self._keep(rest)

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)

    def _append(self, line: bytes) -> bytes:
        """Appends a line; returns what of it could not be written."""
        try:
            return line[os.write(self._file, line) :]
        except OSError:
            _log.exception("audit records cannot be written to %s", self._path)
            return line

    def _keep(self, line: bytes) -> None:
        if len(self._unwritten) < _MAX_UNWRITTEN:
            self._unwritten.append(line)
        self._flush()

    def _flush(self) -> None:
        while self._unwritten:
            line = self._unwritten[0]
            rest = self._append(line)
            if len(rest) == len(line):
                break
            self._unwritten[0] = rest
            if not rest:
                del self._unwritten[0]
        self.behind = bool(self._unwritten)
