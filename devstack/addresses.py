"""Where the processes of the suite listen, and how they find one another."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from devstack.errors import AddressError

PROCESSES = ("resolver", "data", "storage", "search", "gateway")
"""The processes of the suite; each can be started before the others are there."""

_GRPC_PORTS = {
    "gateway": 50050,
    "resolver": 50051,
    "data": 50052,
    "storage": 50053,
    "search": 50054,
}
_HTTP_PORTS = {"gateway": 8080, "resolver": 9091, "data": 9092, "storage": 9093, "search": 9094}
_TEST_PORTS = range(15_000, 30_000)
"""Below what systems take for outgoing connections, which would come between the choice and its use."""

_MALFORMED = "it is not of the form host:port"
_ANY_HOST = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - compared, not bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where each process listens, by name, as `host:port`.

    Attributes:
        grpc: where it serves gRPC.
        http: where it serves health, metrics and, for storage, signed URLs.
    """

    grpc: Mapping[str, str]
    http: Mapping[str, str]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Addresses:
        """The usual addresses, each overridden by its variable, for example `SILO_DATA_LISTEN`."""
        return cls(
            grpc={
                name: environment.get(listen_variable(name), f"127.0.0.1:{_GRPC_PORTS[name]}")
                for name in PROCESSES
            },
            http={
                name: environment.get(http_variable(name), f"127.0.0.1:{_HTTP_PORTS[name]}")
                for name in PROCESSES
            },
        )

    @classmethod
    def free(cls) -> Addresses:
        """Addresses that nobody uses at the moment, for tests."""
        found: list[str] = []
        while len(found) < 2 * len(PROCESSES):
            address = f"127.0.0.1:{random.choice(_TEST_PORTS)}"  # noqa: S311 - any will do
            if address not in found and _problem(address) is None:
                found.append(address)
        return cls(
            grpc=dict(zip(PROCESSES, found[: len(PROCESSES)], strict=True)),
            http=dict(zip(PROCESSES, found[len(PROCESSES) :], strict=True)),
        )

    def dial(self, name: str) -> str:
        """Where clients on this machine reach a process's gRPC server."""
        return _dialled(self.grpc[name])

    def url(self, name: str) -> str:
        """Where clients on this machine reach a process's HTTP server."""
        return f"http://{_dialled(self.http[name])}"

    def environment(self) -> dict[str, str]:
        """The variables that tell every process where it listens and where the others are."""
        variables = {"SILO_STORAGE_PUBLIC_URL": self.url("storage")}
        for name in PROCESSES:
            variables[listen_variable(name)] = self.grpc[name]
            variables[http_variable(name)] = self.http[name]
            variables[f"SILO_{name.upper()}_ADDRESS"] = self.dial(name)
        return variables

    def check(self, *, patience: float = 1.5) -> None:
        """Returns once every address can be listened on.

        Args:
            patience: seconds to wait for addresses that a suite that was killed is about to leave.

        Raises:
            AddressError: an address is malformed or stays taken.
        """
        deadline = time.monotonic() + patience
        for name, variable, address in self._variables():
            while (problem := _problem(address)) is not None:
                if problem == _MALFORMED or time.monotonic() >= deadline:
                    raise AddressError(
                        f"{name} cannot listen on {address}: {problem}. "
                        f"Stop what uses it, or set {variable} to another address."
                    )
                time.sleep(0.05)

    def _variables(self) -> Iterator[tuple[str, str, str]]:
        for name in PROCESSES:
            yield name, listen_variable(name), self.grpc[name]
            yield name, http_variable(name), self.http[name]


def listen_variable(name: str) -> str:
    """The variable that sets where a process serves gRPC."""
    return f"SILO_{name.upper()}_LISTEN"


def http_variable(name: str) -> str:
    """The variable that sets where a process serves HTTP."""
    return f"SILO_{name.upper()}_HTTP_LISTEN"


def _dialled(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    return f"{_ANY_HOST.get(host, host)}:{port}"


def _problem(address: str) -> str | None:
    """Why nobody could listen on address, or None where one could."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        return _MALFORMED
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as listener:
        # As servers do: a connection that lingers from an earlier run is no hindrance.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host.strip("[]"), int(port)))
            listener.listen(1)
        except OSError as error:
            return (error.strerror or str(error)).lower()
    return None
