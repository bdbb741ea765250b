"""Peers as processes, and what a process used."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import psutil


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system seconds that processes have used since they began."""
    total = 0.0
    for pid in pids:
        times = psutil.Process(pid).cpu_times()
        total += times.user + times.system
    return total


def reset_peak_memory(pid: int) -> None:
    """Begins a new measurement of a process's peak resident memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pid: int) -> int:
    """The peak resident memory of a process since the last reset, in bytes (proc(5), VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"process {pid} has no VmHWM")


@contextmanager
def peer(
    module: str, arguments: Sequence[str], *, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A peer that runs for as long as the block does; it is ended by its id."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=dict(environment),
        start_new_session=True,  # as the suite's processes are: Linux schedules by session
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def await_grpc(address: str, *, seconds: float = 20.0) -> None:
    """Returns once something serves gRPC at an address."""
    with grpc.insecure_channel(address) as channel:
        grpc.channel_ready_future(channel).result(timeout=seconds)


def await_http(url: str, *, seconds: float = 20.0) -> None:
    """Returns once something answers HTTP at a URL."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
