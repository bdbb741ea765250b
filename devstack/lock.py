"""One suite per home: a lock that the system takes back when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from devstack.errors import HomeBusy


class HomeLock:
    """Holds `{home}/silo.lock` for as long as a suite runs on the home."""

    def __init__(self, home: Path) -> None:
        self._path = home / "silo.lock"
        self._descriptor = -1

    def acquire(self) -> None:
        """Takes the lock.

        Raises:
            HomeBusy: another process holds it.
            OSError: the file cannot be made.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 32).decode(errors="replace").strip()
            os.close(descriptor)
            raise HomeBusy(
                f"a suite runs on {self._path.parent} already (process {holder or 'unknown'}). "
                "Stop it, or set SILO_HOME to another folder."
            ) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor

    def release(self) -> None:
        """Gives the lock back; without it, nothing happens."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> HomeLock:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
