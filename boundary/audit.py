"""The audit trail: one record for each call, allowed or refused, in its tenant's hash chain.

Calls note their facts; a thread of its own formats, chains, writes and fsyncs them, all that wait at a moment at
once.

- `strict`: the answer to a call, and the first message of a stream, wait until the record is durable.
- `batched`: records are durable FLUSH_SECONDS later at the most. The end of the process may lose what was noted in
  that time, and the answers are out; nothing older is ever lost, and what is there is a chain without a gap.

Where records cannot be written, further calls are refused: no access goes unrecorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from boundary.errors import SiloError, Unavailable
from boundary.ids import TenantId
from boundary.trail.records import Facts
from boundary.trail.writer import TrailWriter

if TYPE_CHECKING:
    from boundary.interceptors.call import Call

_log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.2
"""How long a record may wait for others in batched mode."""

_MAX_UNWRITTEN = 1000
"""Records that wait for space on the disk. They are of calls that were under way when it filled up; what comes
afterwards is refused unserved, and past this number those refusals are not kept."""

_MAX_WAITING = 20_000
"""Records that wait for a disk that is slow; past this number further calls are refused."""

_AT_ONCE = 100
_RETRY_SECONDS = 0.2
_DURABLE_SECONDS = 10.0
_FLUSH_WAIT_SECONDS = 10.0


def _nobody(_: TenantId) -> bool:
    return False


class AuditLog:
    """Records the calls of one process.

    Attributes:
        behind: whether records cannot be written at present.
    """

    def __init__(
        self,
        folder: Path,
        *,
        service: str,
        keys: Path | None = None,
        strict: bool = False,
        segment_seconds: float = 10.0,
        known: Callable[[TenantId], bool] = _nobody,
    ) -> None:
        """Opens the trail; recovers from a crash first.

        Args:
            folder: where every writer of the trail on this machine has a folder of its own.
            keys: the folder of this process's keys; beside the trail's where None.
            strict: whether calls wait until their record is durable.
            segment_seconds: after how long a segment is closed, signed, and left to be shipped.
            known: whether a tenant that a JWT names is one; records of others stand in the chain of no tenant.

        Raises:
            OSError: the folder can be neither read nor written.
        """
        self.behind = False
        self._strict = strict
        self._known = known
        self._pending: deque[Facts] = deque()
        self._work: deque[_Work] = deque()
        self._writer = TrailWriter(
            folder,
            service=service,
            keys=keys or folder.parent / "keys",
            segment_seconds=segment_seconds,
        )
        self._idle = False
        self._closing = False
        self._wake = threading.Event()
        self._told = False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def writer(self) -> TrailWriter:
        """What writes the trail; its folder and its signer may be read from any thread."""
        return self._writer

    def require_writable(self) -> None:
        """Returns where every record so far is written, or is about to be.

        Raises:
            Unavailable: records cannot be written; the call must not be served.
        """
        if self.behind:
            raise _unavailable()

    def record(
        self, call: Call, *, status: str, reason: str, allowed: bool, begin: bool = False
    ) -> asyncio.Future[None] | None:
        """Records how a call ended, or that a stream begins.

        Args:
            status: the canonical status code's name.
            reason: the ErrorInfo reason, or empty.
            allowed: whether the boundary let the call through to its handler.
            begin: whether the call is a stream that begins.

        Returns:
            In strict mode, what is done once the record is durable; `durable` waits for it.
        """
        waiting = len(self._pending)
        if waiting >= _MAX_UNWRITTEN and self._cannot_keep(waiting):
            return _refused() if self._strict else None
        if not self._strict:
            self._pending.append(Facts(time.time(), call, status, reason, allowed, begin, None))
            if self._idle:
                self._wake.set()
            return None
        waiter = asyncio.get_running_loop().create_future()
        self._pending.append(Facts(time.time(), call, status, reason, allowed, begin, waiter))
        if self._idle:
            self._wake.set()
        return waiter

    def forget(self, segment: int) -> None:
        """Removes a closed segment from this machine. Blocks.

        Raises:
            OSError: it cannot be done now.
        """
        self._do(lambda: self._writer.forget(segment))

    def flush(self) -> None:
        """Returns once everything recorded so far is durable. Blocks.

        Raises:
            OSError: it cannot be written.
        """
        self._do(lambda: None)

    def close(self) -> None:
        """Writes what is left, signs the chains and closes the files. Blocks."""
        self._closing = True
        self._wake.set()
        self._thread.join()
        try:
            self._writer.close()
        except OSError:
            _log.exception("the audit trail was not closed in order")

    def _cannot_keep(self, waiting: int) -> bool:
        if waiting >= _MAX_WAITING:
            self.behind = True
        return self.behind

    def _do(self, action: Callable[[], None]) -> None:
        work = _Work(action)
        self._work.append(work)
        self._wake.set()
        if not work.done.wait(_FLUSH_WAIT_SECONDS):
            raise OSError("the audit trail is not written in time")
        if work.error is not None:
            raise work.error

    def _run(self) -> None:
        while True:
            self._await_something()
            closing = self._closing
            work = [self._work.popleft() for _ in range(len(self._work))]
            failure = self._write()
            for item in work:
                item.run(failure)
            if closing:
                return
            if failure is not None:
                time.sleep(_RETRY_SECONDS)

    def _await_something(self) -> None:
        """Returns when there is something to do: records that have waited, work, or a segment that is due."""
        if self.behind:
            return
        if not self._pending:
            self._idle = True
            if not self._pending and not self._work and not self._closing:
                due = self._writer.due_at - time.monotonic()
                self._wake.wait(None if due == float("inf") else max(0.0, due))
            self._idle = False
        self._wake.clear()
        if not self._strict and self._pending and not self._work and not self._closing:
            self._wake.wait(FLUSH_SECONDS)  # work wakes it sooner; records no longer do

    def _write(self) -> Exception | None:
        """Writes what is pending, and tells whoever waits. Returns why it failed, if it did."""
        batch = [self._pending.popleft() for _ in range(len(self._pending))]
        failure = self._try(lambda: self._add(batch))
        self.behind = failure is not None
        _tell([facts.waiter for facts in batch if facts.waiter is not None], failure)
        if failure is None:
            failure = self._try(self._writer.tend)
            self.behind = failure is not None
        self._told = failure is not None
        return failure

    def _add(self, batch: list[Facts]) -> None:
        for start in range(0, len(batch), _AT_ONCE):
            some = batch[start : start + _AT_ONCE]
            self._writer.append((facts, self._chain_of(facts)) for facts in some)
            time.sleep(0)  # lets the event loop have the interpreter, where it waits for it
        self._writer.sync()

    def _try(self, action: Callable[[], None]) -> Exception | None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - the thread must live; calls are refused meanwhile
            if not self._told:
                _log.exception("audit records cannot be written")
            return error
        return None

    def _chain_of(self, facts: Facts) -> str:
        call = facts.call
        if call.context is not None:
            return call.context.tenant_id
        tenant_id = call.tenant_id
        return tenant_id if tenant_id is not None and self._known(tenant_id) else ""


class _Work:
    """Something that the writing thread does between two batches."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action
        self.done = threading.Event()
        self.error: OSError | None = None

    def run(self, failure: Exception | None) -> None:
        try:
            if failure is not None:
                raise OSError("audit records cannot be written") from failure
            self._action()
        except OSError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - whoever asked is told, and the thread lives
            self.error = OSError(f"the audit trail is not as it should be: {error}")
        finally:
            self.done.set()


async def durable(waiter: asyncio.Future[None]) -> None:
    """Returns once a record is durable.

    Raises:
        Unavailable: it cannot be written, or not in time; it may be written later.
    """
    if waiter.cancelled():
        raise _unavailable()
    try:
        async with asyncio.timeout(_DURABLE_SECONDS):
            await waiter
    except TimeoutError as error:
        raise _unavailable() from error


def _refused() -> asyncio.Future[None]:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    _settle([waiter], OSError())
    return waiter


def _unavailable() -> SiloError:
    return Unavailable("AUDIT_UNAVAILABLE", "calls cannot be recorded", retry_after=5.0)


def _tell(waiters: list[asyncio.Future[None]], failure: Exception | None) -> None:
    """Tells calls that wait, in one go for each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.get_loop(), []).append(waiter)
    for loop, own in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            loop.call_soon_threadsafe(_settle, own, failure)


def _settle(waiters: list[asyncio.Future[None]], failure: Exception | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(_unavailable())
            waiter.exception()  # looked at, so that one which nobody waits for is not reported as overlooked
