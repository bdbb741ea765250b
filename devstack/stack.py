"""The suite as processes: prepared, started, watched, drained."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from boundary.peers import ensure_peer_tokens
from devstack.addresses import PROCESSES, Addresses
from devstack.errors import ProcessError
from devstack.issuer import DevIssuer, ensure_dev_issuer
from devstack.lock import HomeLock
from devstack.process import Process, ended_how
from devstack.readiness import is_ready
from devstack.settings import inherited_environment
from devstack.supervision import MAX_BACKOFF, Supervisor

TENANTS = ("A", "B", "C")
"""The tenants that a suite begins with."""

_MODULES = {name: "gateway" if name == "gateway" else f"services.{name}" for name in PROCESSES}
_DRAIN_ORDER = (("gateway",), ("data", "search"), ("storage", "resolver"))
"""Callers end before what they call, so that every call under way can end well."""

_GRACE = 3.0
_POLL = 0.02


class Stack:
    """The whole suite in processes of its own, on one home.

    It can be started again after stop or kill; state survives both. As a context manager it is started on the
    way in and stopped on the way out.

    Attributes:
        home: where state, keys, logs and the audit trail are.
        addresses: where the processes listen.
    """

    def __init__(
        self,
        *,
        home: Path,
        addresses: Addresses | None = None,
        tenants: Sequence[str] = TENANTS,
        environment: Mapping[str, str] | None = None,
        drain_seconds: float = 5.0,
        report: Callable[[str], None] = lambda _: None,
        commands: Mapping[str, Sequence[str]] | None = None,
        max_backoff: float = MAX_BACKOFF,
    ) -> None:
        """Takes the parts; nothing is touched before start.

        Args:
            addresses: free ones where unset.
            tenants: who is onboarded where they are not there.
            environment: what the processes inherit; this process's, less its own settings, where unset.
            report: is told what happens to processes once the suite is ready.
            commands: what is run for each process; the suite's own modules where unset.
            max_backoff: how many seconds a process that ends again and again waits at the most.
        """
        self._max_backoff = max_backoff
        self.home = home.absolute()
        self.addresses = addresses or Addresses.free()
        self._tenants = tuple(tenants)
        self._drain_seconds = drain_seconds
        self._report = report
        self._lock = HomeLock(self.home)
        self._supervisor: Supervisor | None = None
        variables = {
            **(inherited_environment() if environment is None else environment),
            **self.addresses.environment(),
            "SILO_HOME": str(self.home),
            "SILO_ENVIRONMENT": "development",
            "SILO_DRAIN_SECONDS": str(drain_seconds),
            "PYTHONUNBUFFERED": "1",
        }
        self._processes = {
            name: Process(
                name=name,
                command=command,
                environment=variables,
                log=self.home / "logs" / f"{name}.log",
            )
            for name, command in (commands or _commands()).items()
        }

    def start(self, *, timeout: float = 30.0) -> None:
        """Returns once every process is ready and the tenants are onboarded.

        Raises:
            HomeBusy: another suite runs on the home.
            AddressError: an address is taken.
            ProcessError: a process cannot start.
            OnboardingError: the tenants cannot be onboarded.
            OSError: the home cannot be written.
        """
        self._lock.acquire()
        try:
            self.addresses.check()
            self._prepare()
            for process in self._processes.values():
                process.start()
            self._await_ready(time.monotonic() + timeout)
            self._onboard()
            self._supervisor = Supervisor(
                self._processes,
                ready=self._is_ready,
                report=self._report,
                max_backoff=self._max_backoff,
            )
            self._supervisor.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Drains every process, callers before what they call; kills by its id what does not end in time."""
        self._stop_supervising()
        for tier in _DRAIN_ORDER:
            members = [self._processes[name] for name in tier if name in self._processes]
            for process in members:
                process.signal(signal.SIGTERM)
            deadline = time.monotonic() + self._drain_seconds + _GRACE
            for process in members:
                process.wait(deadline - time.monotonic())
                process.close()
        self._lock.release()

    def kill(self, *names: str) -> None:
        """Kills processes at once, as a crash would.

        Without names, the whole suite at once; start starts it again. With names, those alone, which are then
        started again by the suite itself.
        """
        if names:
            for name in names:
                self._processes[name].signal(signal.SIGKILL)
            return
        self._stop_supervising()
        for process in self._processes.values():
            process.signal(signal.SIGKILL)
        for process in self._processes.values():
            process.close()
        self._lock.release()

    def pids(self) -> dict[str, int]:
        """The process id of each process that runs."""
        return {
            name: pid
            for name, process in self._processes.items()
            if (pid := process.pid) is not None
        }

    def await_ready(self, *, timeout: float = 15.0) -> None:
        """Returns once every process is ready, for example again after kill with names.

        Raises:
            ProcessError: one is not ready in time.
        """
        deadline = time.monotonic() + timeout
        for name in self._processes:
            while not (name in self.pids() and self._is_ready(name)):
                if time.monotonic() >= deadline:
                    raise ProcessError(self._not_ready(name))
                time.sleep(_POLL)

    @property
    def gateway(self) -> str:
        """Where clients reach the gateway's gRPC server."""
        return self.addresses.dial("gateway")

    def token(
        self,
        tenant_id: str,
        *,
        subject: str = "alice",
        permissions: Sequence[str] = ("*",),
        ttl: float = 3600,
    ) -> str:
        """A JWT for somebody of a tenant. The home must have been prepared by a start."""
        return DevIssuer.load(self.home).sign(
            subject=subject, permissions=permissions, tenant_id=tenant_id, ttl=ttl
        )

    def operator_token(self, *, ttl: float = 3600) -> str:
        """A JWT for a platform operator. The home must have been prepared by a start."""
        return DevIssuer.load(self.home).sign_operator(ttl=ttl)

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        ensure_dev_issuer(self.home)
        ensure_peer_tokens(self.home / "peers")

    def _onboard(self) -> None:
        # The processes start while gRPC is imported here.
        from devstack.onboarding import onboard  # noqa: PLC0415

        if self._tenants:
            onboard(self.gateway, token=self.operator_token(), tenants=self._tenants)

    def _await_ready(self, deadline: float) -> None:
        waiting = list(self._processes)
        while waiting:
            for name in tuple(waiting):
                process = self._processes[name]
                if not process.running:
                    how = ended_how(process.exit_code)
                    raise ProcessError(f"{name} cannot start: it {how}.\n{_end_of(process)}")
                if self._is_ready(name):
                    waiting.remove(name)
            if waiting and time.monotonic() >= deadline:
                raise ProcessError(self._not_ready(waiting[0]))
            time.sleep(_POLL)

    def _is_ready(self, name: str) -> bool:
        return is_ready(self.addresses.url(name).removeprefix("http://"))

    def _not_ready(self, name: str) -> str:
        return f"{name} is not ready in time.\n{_end_of(self._processes[name])}"

    def _stop_supervising(self) -> None:
        if self._supervisor is not None:
            self._supervisor.stop()
            self._supervisor = None


def _commands() -> dict[str, tuple[str, ...]]:
    """What runs each process of the suite."""
    return {
        name: (sys.executable, "-m", "devstack.child", module) for name, module in _MODULES.items()
    }


def _end_of(process: Process) -> str:
    return f"The end of {process.log}:\n\n{process.tail()}"
