"""The suite in containers, as its users and the tests of the suite in processes see it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack.addresses import Addresses
from devstack.issuer import DevIssuer, private_key_path

PROCESSES = ("gateway", "resolver", "data", "storage", "search")


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The suite's image, and how it is built and used.

    Attributes:
        context: the folder of the compose files, and of what the image is built from.
        base: the image that it is built on.
        command: how compose is called.
        environment: what compose is given.
    """

    context: Path
    base: str
    command: tuple[str, ...]
    environment: Mapping[str, str]

    def build(self) -> None:
        """Builds it, or builds it anew."""
        _run([*self.command, "build"], cwd=self.context, environment=self.environment, timeout=400)


class ComposeSuite:
    """The compose file, brought up on free ports. It looks like `devstack.stack.Stack` to its clients.

    Attributes:
        home: a folder with the development issuer's key.
        addresses: where gateway and signed URLs are reached; nothing else is.
    """

    def __init__(
        self, image: Image, *, home: Path, files: Sequence[str] = (), **variables: str
    ) -> None:
        """Takes the parts.

        Args:
            files: the compose files; the one alone where empty.
            variables: what those ask of the environment besides.
        """
        self.home = home
        self.addresses = Addresses.free()
        self._image = image
        self._environment = {
            **image.environment,
            **({"COMPOSE_FILE": os.pathsep.join(files)} if files else {}),
            **variables,
            "SILO_GATEWAY_PORT": _port(self.addresses.grpc["gateway"]),
            "SILO_HTTP_PORT": _port(self.addresses.http["gateway"]),
            "SILO_STORAGE_PORT": _port(self.addresses.http["storage"]),
        }

    @contextmanager
    def running(self) -> Iterator[ComposeSuite]:
        """The suite, up; gone when this ends."""
        try:
            self.up()
            yield self
        finally:
            self.down(volumes=True)

    def up(self) -> None:
        """Returns once every process is healthy and the first tenants are onboarded."""
        self.compose("up", "-d", timeout=300)
        onboard = self.compose("ps", "--all", "-q", "onboard").strip()
        code = self.docker("wait", onboard, timeout=60).strip()
        assert code == "0", self.compose("logs", "--no-color", "onboard")
        key = private_key_path(self.home)
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text(self.inside("print(open('/run/silo/dev-issuer/private.pem').read())"))

    def down(self, *, volumes: bool) -> None:
        """Takes everything down; with its volumes, nothing of it is left."""
        self.compose("down", "--remove-orphans", *(["--volumes"] if volumes else []), timeout=120)

    def compose(self, *arguments: str, timeout: float = 60.0) -> str:
        """What compose prints to standard output."""
        return self._run([*self._image.command, *arguments], timeout)

    def docker(self, *arguments: str, timeout: float = 60.0) -> str:
        """What docker prints to standard output."""
        return self._run(["docker", *arguments], timeout)

    def container(self, name: str) -> str:
        """The id of a service's container."""
        return self.compose("ps", "-q", name).strip()

    def inside(self, program: str) -> str:
        """What a Python program prints that runs on the inside, with the operator's certificate."""
        arguments = ("run", "--rm", "-T", "--no-deps", "--entrypoint", "python", "silo")
        return self.compose(*arguments, "-c", program)

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
        """A JWT for somebody of a tenant."""
        return DevIssuer.load(self.home).sign(
            subject=subject, permissions=permissions, tenant_id=tenant_id, ttl=ttl
        )

    def operator_token(self, *, ttl: float = 3600) -> str:
        """A JWT for a platform operator."""
        return DevIssuer.load(self.home).sign_operator(ttl=ttl)

    def _run(self, command: Sequence[str], timeout: float) -> str:
        return _run(
            command, cwd=self._image.context, environment=self._environment, timeout=timeout
        )


def _run(
    command: Sequence[str], *, cwd: Path, environment: Mapping[str, str], timeout: float
) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def _port(address: str) -> str:
    return address.rpartition(":")[2]
