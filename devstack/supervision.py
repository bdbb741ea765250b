"""Starts processes again that end on their own, after a wait that grows and is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devstack.process import Process, ended_how

_POLL = 0.1
_FIRST_BACKOFF = 0.2
MAX_BACKOFF = 5.0
_SETTLED = 15.0


@dataclass(slots=True)
class _Watched:
    """What is known of one process.

    Attributes:
        backoff: seconds to wait before the next start.
        started_at: when it was last started.
        start_at: when it is to be started again, while it is down.
        ready: whether it was ready after its last start.
    """

    backoff: float = _FIRST_BACKOFF
    started_at: float = field(default_factory=time.monotonic)
    start_at: float | None = None
    ready: bool = True


class Supervisor:
    """Watches processes in a thread of its own until it is stopped."""

    def __init__(
        self,
        processes: Mapping[str, Process],
        *,
        ready: Callable[[str], bool],
        report: Callable[[str], None],
        max_backoff: float = MAX_BACKOFF,
    ) -> None:
        self._max_backoff = max_backoff
        self._processes = processes
        self._ready = ready
        self._report = report
        self._watched = {name: _Watched() for name in processes}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watches no longer; nothing is started once this returns."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_POLL):
            for name, process in self._processes.items():
                self._look_after(name, process, self._watched[name])

    def _look_after(self, name: str, process: Process, watched: _Watched) -> None:
        now = time.monotonic()
        if process.running:
            if not watched.ready and self._ready(name):
                watched.ready = True
                self._report(f"{name} is ready again")
        elif watched.start_at is None:
            if now - watched.started_at > _SETTLED:
                watched.backoff = _FIRST_BACKOFF
            watched.start_at = now + watched.backoff
            how = ended_how(process.exit_code)
            self._report(
                f"{name} {how}; it starts again in {watched.backoff:.1f} s ({process.log})"
            )
            watched.backoff = min(self._max_backoff, watched.backoff * 2)
        elif now >= watched.start_at:
            watched.start_at, watched.started_at, watched.ready = None, now, False
            try:
                process.restart()
            except OSError as error:
                self._report(f"{name} cannot be started: {error}")
