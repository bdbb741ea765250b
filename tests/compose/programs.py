"""A Docker engine and compose for the tests: this machine's, or Debian's packages started for the tests alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PACKAGES = ("docker.io", "docker-compose", "debootstrap", "iptables", "ca-certificates")
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


class ProgramMissing(Exception):
    """A program is not there and cannot be had."""


@contextmanager
def docker_engine(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which `docker` reaches an engine; one that was started for it ends with the block.

    Args:
        folder: where an engine of our own keeps everything; removed with it.

    Raises:
        ProgramMissing: there is no engine, and none can be installed and started.
    """
    environment = {**os.environ, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}
    _ensure("docker", "docker-compose")
    if _answers(environment):
        yield environment
        return
    _ensure("dockerd")
    environment["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
    folder.mkdir(parents=True)
    with (folder / "log").open("wb") as log:
        engine = subprocess.Popen(
            [
                *("dockerd", "--host", environment["DOCKER_HOST"]),
                *(
                    "--bridge",
                    "none",
                ),  # compose makes networks of its own, and nothing is left behind
                *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
                *("--pidfile", str(folder / "pid")),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _await_engine(engine, environment, folder / "log")
        yield environment
    finally:
        engine.terminate()
        try:
            engine.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            engine.kill()
            engine.wait()
        _remove(folder)


def compose_command(environment: dict[str, str]) -> list[str]:
    """Compose v2 where `docker` has it, else docker-compose."""
    has_v2 = _succeeds(["docker", "compose", "version"], environment)
    return ["docker", "compose"] if has_v2 else ["docker-compose"]


def ensure_debootstrap() -> None:
    """Returns once debootstrap is there.

    Raises:
        ProgramMissing: it is not and cannot be installed.
    """
    _ensure("debootstrap")


def _ensure(*programs: str) -> None:
    missing = [program for program in programs if not shutil.which(program)]
    if missing == ["docker-compose"] and _succeeds(["docker", "compose", "version"], None):
        return
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ProgramMissing(
            f"{', '.join(missing)} not found. Install Docker and compose, or run as root where apt-get can."
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet, timeout=120)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *_PACKAGES],
        check=True,
        env=quiet,
        stdout=subprocess.DEVNULL,
        timeout=300,
    )


def _await_engine(engine: subprocess.Popen[bytes], environment: dict[str, str], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(environment):
        if engine.poll() is not None or time.monotonic() > deadline:
            end = log.read_text(errors="replace")[-2000:]
            raise ProgramMissing(f"no Docker engine runs here, and dockerd cannot start:\n{end}")
        time.sleep(0.1)


def _answers(environment: dict[str, str]) -> bool:
    return _succeeds(["docker", "info"], environment)


def _succeeds(command: list[str], environment: dict[str, str] | None) -> bool:
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _remove(folder: Path) -> None:
    """Removes an engine's folder, after what it may have left mounted in it."""
    mounted = [
        point
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if (point := line.split()[1]).startswith(f"{folder}/")
    ]
    for point in sorted(mounted, reverse=True):
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)
