"""One process of the suite, ended by its id and by nothing else."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_BYTES = 8192


class Process:
    """A process and its log. It can be started again once it has ended."""

    def __init__(
        self, *, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self._command = tuple(command)
        self._environment = dict(environment)
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; what it writes is appended to the log.

        Raises:
            OSError: it cannot be started.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {self.name} starts\n".encode())
            log.flush()
            self._popen = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                # Ctrl-C reaches the suite alone, which then stops its processes in order.
                start_new_session=True,
            )

    def restart(self) -> None:
        """Starts it again after it has ended.

        Raises:
            OSError: it cannot be started.
        """
        self.close()
        self.start()

    @property
    def pid(self) -> int | None:
        """Its id while it runs."""
        return self._popen.pid if self._popen is not None and self.exit_code is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended, or None while it runs or before it was started."""
        return None if self._popen is None else self._popen.poll()

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.pid is not None

    def signal(self, number: int) -> None:
        """Sends a signal; to a process that has ended, nothing happens."""
        if self._popen is not None:
            self._popen.send_signal(number)

    def wait(self, timeout: float) -> bool:
        """Whether it ended within the timeout."""
        if self._popen is None:
            return True
        try:
            self._popen.wait(max(0.0, timeout))
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        """Kills it where it still runs, and closes its pipe."""
        if self._popen is None:
            return
        if self.running:
            self.signal(signal.SIGKILL)
        self._popen.wait()
        if self._popen.stdin is not None:
            self._popen.stdin.close()
        self._popen = None

    def tail(self, lines: int = 15) -> str:
        """The last lines of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(0, 2)
                log.seek(max(0, log.tell() - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


def ended_how(exit_code: int | None) -> str:
    """An exit code in words."""
    if exit_code is None:
        return "runs"
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"
