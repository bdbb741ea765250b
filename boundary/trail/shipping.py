"""Sends closed segments of the trail to the archive, and removes those that it has had for long enough.

What is sent is cut from the files each time, so that nothing is lost where this process, the storage service or
its engine is away: it goes on where it was. Segments are sent in order, because the archive takes nothing that
does not go on from what it has.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Sequence

import grpc

from boundary.audit import AuditLog
from boundary.channel import open_channel
from boundary.metadata import PEER_KEY
from boundary.settings import ProcessSettings
from boundary.tls import Tls
from boundary.trail.parts import cut
from silo.storage.v1 import audit_archive_pb2, audit_archive_pb2_grpc

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_CALL_SECONDS = 20.0
_AT_ONCE = 8
_MAX_BACKOFF = 30.0


class Shipper:
    """Ships one process's part of the trail."""

    def __init__(
        self, audit: AuditLog, settings: ProcessSettings, *, peer_token: str, tls: Tls | None
    ) -> None:
        """Takes the trail, where the storage service is, and what this process proves itself with."""
        self._audit = audit
        self._folder = audit.writer.folder
        self._address = settings.storage_address
        self._tls = tls
        self._kept_seconds = settings.audit_local_hours * 3600
        self._look_seconds = min(_LOOK_SECONDS, settings.audit_segment_seconds)
        self._metadata = ((PEER_KEY, peer_token),)
        self._archived_at = time.monotonic()

    @property
    def unarchived_seconds(self) -> float:
        """Seconds since the archive had every closed segment; a second or so while all is well."""
        return time.monotonic() - self._archived_at

    async def run(self) -> None:
        """Ships until it is cancelled."""
        async with open_channel(self._address, tls=self._tls) as channel:
            stub: audit_archive_pb2_grpc.AuditArchiveServiceAsyncStub = (
                audit_archive_pb2_grpc.AuditArchiveServiceStub(channel)
            )
            await self._go_on(stub)

    async def _go_on(self, stub: audit_archive_pb2_grpc.AuditArchiveServiceAsyncStub) -> None:
        backoff = self._look_seconds
        while True:
            try:
                await self._round(stub)
                self._archived_at = time.monotonic()
                backoff = self._look_seconds
            except* (grpc.aio.AioRpcError, OSError, ValueError) as errors:
                if backoff == self._look_seconds:
                    said = _said(errors.exceptions[0])
                    _log.warning("the audit trail is not archived at present: %s", said)
                backoff = min(_MAX_BACKOFF, 2 * backoff)
            await asyncio.sleep(backoff * random.uniform(0.8, 1.0))  # noqa: S311 - jitter

    async def _round(self, stub: audit_archive_pb2_grpc.AuditArchiveServiceAsyncStub) -> None:
        for number in await asyncio.to_thread(self._folder.segments):
            if number >= self._audit.writer.open_segment:
                return
            if await asyncio.to_thread(self._folder.shipped, number):
                await asyncio.to_thread(self._remove_when_over, number)
                continue
            places = asyncio.Semaphore(_AT_ONCE)
            async with asyncio.TaskGroup() as sending:
                for parts in await asyncio.to_thread(self._parts, number):
                    sending.create_task(self._send(stub, parts, places))
            await asyncio.to_thread(self._folder.note_shipped, number)

    async def _send(
        self,
        stub: audit_archive_pb2_grpc.AuditArchiveServiceAsyncStub,
        parts: Sequence[bytes],
        places: asyncio.Semaphore,
    ) -> None:
        """Sends the parts of one chain, one after the other."""
        async with places:
            for content in parts:
                await stub.AppendAuditPart(
                    audit_archive_pb2.AppendAuditPartRequest(content=content),
                    metadata=self._metadata,
                    timeout=_CALL_SECONDS,
                )

    def _parts(self, number: int) -> Collection[Sequence[bytes]]:
        """A segment's parts by chain."""
        by_chain: dict[str, list[bytes]] = {}
        for chain, content in cut(self._folder.segment(number), self._folder.signer):
            by_chain.setdefault(chain, []).append(content)
        return by_chain.values()

    def _remove_when_over(self, number: int) -> None:
        if time.time() - self._folder.shipped_at(number) >= self._kept_seconds:
            self._audit.forget(number)


def _said(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return _said(error.exceptions[0])
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error)
