"""Writes one process's part of the audit trail. Blocks; used from one thread.

Records of all tenants go into one file, so that one fsync makes a whole batch durable; each is chained to its
tenant's record before it. A segment is closed after a while: signed heads of every chain that it touched stand in
`heads.jsonl` before the next one begins.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

from boundary.trail.chains import HELD, Chains
from boundary.trail.folder import WriterFolder, lines_of, open_to_write, sync_folder
from boundary.trail.records import Facts, Formatter, digest_of, link_of, now, parse
from boundary.trail.statements import Statement, statement_of

_log = logging.getLogger(__name__)

SEGMENT_BYTES = 8 * 1024 * 1024
"""After how many bytes a segment is closed at the latest."""

_QUIET_SECONDS = 3600.0
"""After how long a segment is closed that holds nothing but the archive's own calls: shipping them makes more."""

_ARCHIVE = "silo.storage.v1.AuditArchiveService/"
_COMPACT_BYTES = 4 * 1024 * 1024


class TrailWriter:
    """The chains, the segment that is written, and the signed heads of one writer.

    Attributes:
        folder: the writer's folder.
    """

    def __init__(
        self, audit: Path, *, service: str, keys: Path, segment_seconds: float, held: int = HELD
    ) -> None:
        """Takes a writer of the service and finds out where its chains stand, also after a crash.

        Raises:
            OSError: the folder can be neither read nor written.
        """
        self.folder = WriterFolder(audit, service=service, keys=keys)
        self._segment_seconds = segment_seconds
        self._format = Formatter(writer=self.folder.signer.name, service=service)
        self._chains = Chains(self.folder.heads, writer=self.folder.signer.name, held=held)
        self._unsynced = bytearray()
        self._segment = -1
        self._size = 0
        self._close_at = float("inf")
        self._head_at = float("inf")
        self._number = self._recover() + 1

    @property
    def due_at(self) -> float:
        """When the open segment is to be closed or its chains signed, in `time.monotonic()` seconds."""
        return min(self._close_at, self._head_at)

    @property
    def open_segment(self) -> int:
        """The number of the segment that is written; those before it are closed."""
        return self._number

    def append(self, batch: Iterable[tuple[Facts, str]]) -> None:
        """Takes records with the names of their chains; they are on their way until sync returns."""
        unsynced, chains, line_of = self._unsynced, self._chains, self._format.line
        urgent = False
        for facts, name in batch:
            chain = chains.of(name)
            seq = chain.seq + 1
            line = line_of(facts, chain=name, seq=seq, prev=chain.hash)
            chain.seq, chain.hash = seq, digest_of(line)
            unsynced += line
            unsynced += b"\n"
            urgent = urgent or not facts.call.method.name.startswith(_ARCHIVE)
        moment = time.monotonic()
        self._head_at = min(self._head_at, moment + self._segment_seconds)
        wait = self._segment_seconds if urgent else _QUIET_SECONDS
        self._close_at = min(self._close_at, moment + wait)

    def sync(self) -> None:
        """Makes every record that was taken durable. Where it fails, all of them are written anew the next time.

        Raises:
            OSError: it failed; none of the records since the last sync may be taken as written.
        """
        if not self._unsynced:
            return
        if self._segment < 0:
            self._segment = open_to_write(self.folder.segment(self._number))
            self._size = 0
        try:
            _write_all(self._segment, self._unsynced, self._size)
            os.fdatasync(self._segment)
        except OSError:
            # What a failed fsync left in the page cache is not to be relied on, so all of it is written again.
            with contextlib.suppress(OSError):
                os.ftruncate(self._segment, self._size)
            raise
        self._size += len(self._unsynced)
        self._unsynced.clear()

    def tend(self) -> None:
        """Signs heads and closes the segment where it is time. Everything must be synced.

        Raises:
            OSError: it cannot be done now; the next call tries again.
        """
        moment = time.monotonic()
        if self._size >= SEGMENT_BYTES or moment >= self._close_at:
            self.close_segment()
        elif moment >= self._head_at or self._chains.full:
            self._sign_heads()

    def close_segment(self) -> None:
        """Signs every chain that the open segment touched, and begins a new one with the next record.

        Raises:
            OSError: the heads cannot be written; the segment stays open.
        """
        self._sign_heads()
        if self._segment >= 0:
            os.close(self._segment)
            self._segment = -1
            self._number += 1
        self._size = 0
        self._close_at = float("inf")

    def forget(self, number: int) -> None:
        """Removes a closed segment, and says so in a signed statement for every chain in it.

        Raises:
            OSError: it cannot be done.
        """
        path = self.folder.segment(number)
        last: dict[str, tuple[int, str]] = {}
        for line in lines_of(path):
            link = link_of(parse(line))
            last[link.chain] = (link.seq, digest_of(line.rstrip(b"\n")))
        moment = now()
        self._state(
            self.folder.signer.sign("expiry", chain=name, seq=seq, digest=digest, time=moment)
            for name, (seq, digest) in last.items()
        )
        self.folder.remove(number)
        if self.folder.heads.stat().st_size > _COMPACT_BYTES:
            self._compact()

    def close(self) -> None:
        """Writes what is on its way, closes the segment and lets another process have the writer.

        Raises:
            OSError: not everything could be written.
        """
        try:
            self.sync()
            self.close_segment()
        finally:
            if self._segment >= 0:
                os.close(self._segment)
                self._segment = -1
            self.folder.release()

    def _sign_heads(self) -> None:
        moment = now()
        unsigned = list(self._chains.unsigned())
        if unsigned:
            self._state(
                self.folder.signer.sign(
                    "head", chain=name, seq=chain.seq, digest=chain.hash, time=moment
                )
                for name, chain in unsigned
            )
        for _, chain in unsigned:
            chain.headed = chain.seq
        self._chains.shed()
        self._head_at = float("inf")

    def _state(self, statements: Iterable[Statement]) -> None:
        """Appends statements, durably, whole or not at all."""
        lines = b"".join(statement.line() for statement in statements)
        descriptor = open_to_write(self.folder.heads)
        try:
            size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, lines, size)
                os.fdatasync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)

    def _recover(self) -> int:
        """Takes up the chains from the last segment, signs them, and returns its number.

        A crash may have cut off the last line of either file; nobody was told that it was written. Anything else
        that is wrong stays as it is, for `silo audit verify` to find: the chains go on from what is there.
        """
        if self.folder.heads.exists():
            _cut_torn_line(self.folder.heads)
        numbers = self.folder.segments()
        if not numbers:
            return 0
        path = self.folder.segment(numbers[-1])
        _cut_torn_line(path)
        for number, line in enumerate(lines_of(path), 1):
            try:
                self._chains.take(link_of(parse(line)), digest_of(line.rstrip(b"\n")))
            except ValueError:
                _log.critical("%s, line %d is not an audit record", path, number)
            if self._chains.full:
                self._sign_heads()
        self._sign_heads()
        return numbers[-1]

    def _compact(self) -> None:
        """Keeps of the statements what is still needed: each chain's last head, and its last expiry."""
        kept: dict[tuple[str, str], Statement] = {}
        for line in lines_of(self.folder.heads):
            statement = statement_of(parse(line))
            kept[statement.kind, statement.chain] = statement
        temporary = self.folder.heads.with_suffix(".tmp")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(statement.line() for statement in kept.values())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder.heads)
        sync_folder(self.folder.path)


def _write_all(descriptor: int, content: bytes | bytearray, offset: int) -> None:
    view, written = memoryview(bytes(content)), 0
    while written < len(view):
        written += os.pwrite(descriptor, view[written:], offset + written)


def _cut_torn_line(path: Path) -> None:
    """Takes off what follows the last newline."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        size = os.fstat(descriptor).st_size
        end = size
        while end > 0:
            start = max(0, end - 65_536)
            newline = os.pread(descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            _log.warning("%s: a line of %d bytes was cut off by a crash", path, size - end)
            os.ftruncate(descriptor, end)
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
