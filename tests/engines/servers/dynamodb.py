"""A DynamoDB-protocol engine for tests: Dynoxide, which keeps items in SQLite.

It is an open-source engine (MIT or Apache-2.0) that its makers compare with DynamoDB itself by a public
conformance suite. `cargo`, which must be on the PATH, builds it once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

CRATE = "dynoxide-rs"
VERSION = "3.2.0"
FEATURES = "native-sqlite,http-server,cli"

START_SECONDS = 10.0
STOP_SECONDS = 5.0


def install() -> Path:
    """The engine's program, built where this machine does not have it yet."""
    root = _cache() / f"dynoxide-{VERSION}"
    program = root / "bin" / "dynoxide"
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at once
        if not program.exists():
            _build(root)
    return program


def _build(root: Path) -> None:
    cargo = shutil.which("cargo")
    if cargo is None:
        raise RuntimeError("cargo, which builds the DynamoDB engine, is not on the PATH")
    with tempfile.TemporaryDirectory(prefix="silo-dynoxide-") as target:
        command = [cargo, "install", CRATE, "--version", VERSION, "--locked", "--quiet"]
        command += ["--no-default-features", "--features", FEATURES]
        command += ["--root", str(root), "--target-dir", target]
        subprocess.run(command, check=True)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "silo-engines"


class DynamoDB:
    """The engine as a process, which a test may kill and start again on the same port."""

    def __init__(self, folder: Path | None = None) -> None:
        """Takes the folder that its items are in; they are in memory where None."""
        self._folder = folder
        self._program = install()
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Starts it and waits until it listens."""
        command = [str(self._program), "serve", "--port", str(self.port), "--log", "quiet"]
        if self._folder is not None:
            command += ["--db-path", str(self._folder / "dynamodb.sqlite")]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError("the DynamoDB engine does not start")
            time.sleep(0.02)

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
            self._process = None


@contextlib.contextmanager
def start_dynamodb(folder: Path | None = None) -> Iterator[DynamoDB]:
    """A running engine, with its items in folder, or in memory where None."""
    engine = DynamoDB(folder)
    engine.start()
    try:
        yield engine
    finally:
        engine.kill()


@pytest.fixture(scope="session")
def dynamodb_endpoint() -> Iterator[str]:
    """The URL of an engine for the whole run, whose items are in memory."""
    with start_dynamodb() as engine:
        yield engine.endpoint


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
