"""local-kms, a KMS for development written in Go: an engine beside moto's for the key port's contract."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MODULE = "github.com/nsmithuk/local-kms"
VERSION = "v0.0.0-20260228092603-2a5e92d09ab6"


def local_kms_program() -> Path:
    """The program, built at first use and cached outside of the repository."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "silo-engines" / f"local-kms-{VERSION}"
    program = folder / "local-kms"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["go", "install", f"{MODULE}@{VERSION}"],
            env={**os.environ, "GOBIN": str(folder)},
            check=True,
            timeout=600,
        )
    return program


@contextmanager
def start_local_kms(folder: Path) -> Iterator[str]:
    """A running local-kms with its state in folder; its endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "KMS_DATA_PATH": str(folder),
        "KMS_REGION": "eu-central-1",
        "KMS_ACCOUNT_ID": "111122223333",
        "KMS_SEED_PATH": str(folder / "none.yaml"),
    }
    with (folder / "local-kms.log").open("wb") as log:
        process = subprocess.Popen(
            [local_kms_program()], env=environment, cwd=folder, stdout=log, stderr=log
        )
    try:
        _await_port(process, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _await_port(process: subprocess.Popen[bytes], port: int) -> None:
    ends = time.monotonic() + 15
    while time.monotonic() < ends:
        if process.poll() is not None:
            raise RuntimeError(f"local-kms ended with {process.returncode}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise RuntimeError("local-kms does not listen")
