from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devstack.addresses import PROCESSES, Addresses
from devstack.errors import AddressError, HomeBusy, ProcessError
from devstack.readiness import is_ready
from devstack.settings import inherited_environment
from devstack.stack import Stack

FAKE = Path(__file__).with_name("fake_process.py")


def make_stack(
    home: Path, report: Callable[[str], None] = lambda _: None, **environment: str
) -> Stack:
    return Stack(
        home=home,
        tenants=(),
        drain_seconds=0.5,
        report=report,
        environment=inherited_environment() | environment,
        commands={name: (sys.executable, "-S", str(FAKE), name) for name in PROCESSES},
    )


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold in time"
        time.sleep(0.02)


def test_starts_every_process_and_ends_each(tmp_path: Path) -> None:
    stack = make_stack(tmp_path)
    stack.start(timeout=15)
    pids = stack.pids()
    try:
        assert sorted(pids) == sorted(PROCESSES)
        for name in PROCESSES:
            assert is_ready(stack.addresses.url(name).removeprefix("http://"))
            assert "listening" in (tmp_path / "logs" / f"{name}.log").read_text()
        assert (tmp_path / "dev-issuer" / "jwks.json").exists()
        assert (tmp_path / "peers" / "gateway.token").exists()
    finally:
        stack.stop()
    assert stack.pids() == {}
    assert not any(alive(pid) for pid in pids.values())


def test_starts_again_after_a_crash_of_everything(tmp_path: Path) -> None:
    stack = make_stack(tmp_path)
    stack.start(timeout=15)
    before = stack.pids()
    stack.kill()
    assert stack.pids() == {}
    stack.start(timeout=15)
    try:
        assert not set(before.values()) & set(stack.pids().values())
    finally:
        stack.stop()


def test_restarts_a_process_that_dies_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    stack = make_stack(tmp_path, said.append)
    stack.start(timeout=15)
    try:
        before = stack.pids()["data"]
        stack.kill("data")
        wait_until(lambda: "data is ready again" in said)
        stack.await_ready(timeout=5)
        assert stack.pids()["data"] != before
        assert said[0].startswith("data was ended by SIGKILL; it starts again in 0.2 s")
    finally:
        stack.stop()


def test_kills_what_does_not_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("devstack.stack._GRACE", 0.0)
    stack = make_stack(tmp_path, FAKE_STUBBORN="search")
    stack.start(timeout=15)
    pid = stack.pids()["search"]
    stack.stop()
    assert not alive(pid)


def test_a_process_that_cannot_start_ends_the_suite_with_its_log(tmp_path: Path) -> None:
    stack = make_stack(tmp_path, FAKE_FAILS="storage")
    with pytest.raises(ProcessError) as raised:
        stack.start(timeout=15)
    assert "storage cannot start: it ended with exit code 3" in str(raised.value)
    assert "storage has no disk" in str(raised.value)
    assert stack.pids() == {}


def test_refuses_a_second_suite_on_the_same_home(tmp_path: Path) -> None:
    stack = make_stack(tmp_path)
    stack.start(timeout=15)
    try:
        with pytest.raises(HomeBusy, match=rf"process {os.getpid()}\)"):
            make_stack(tmp_path).start()
        assert len(stack.pids()) == len(PROCESSES)
    finally:
        stack.stop()


def test_names_the_variable_of_an_address_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        addresses = Addresses.from_environment({"SILO_SEARCH_HTTP_LISTEN": address})
        free = Addresses.free()
        addresses = Addresses(
            grpc=free.grpc, http={**free.http, "search": addresses.http["search"]}
        )
        with pytest.raises(AddressError) as raised:
            addresses.check(patience=0.1)
    assert address in str(raised.value)
    assert "SILO_SEARCH_HTTP_LISTEN" in str(raised.value)


def test_a_malformed_address_is_named() -> None:
    free = Addresses.free()
    addresses = Addresses(grpc={**free.grpc, "data": "nowhere"}, http=free.http)
    with pytest.raises(AddressError, match="SILO_DATA_LISTEN"):
        addresses.check(patience=0)


def test_tells_each_process_where_the_others_are() -> None:
    addresses = Addresses.from_environment(
        {"SILO_STORAGE_HTTP_LISTEN": "0.0.0.0:7070", "SILO_DATA_LISTEN": "0.0.0.0:6060"}
    )
    variables = addresses.environment()
    assert variables["SILO_DATA_LISTEN"] == "0.0.0.0:6060"
    assert variables["SILO_DATA_ADDRESS"] == "127.0.0.1:6060"
    assert variables["SILO_STORAGE_PUBLIC_URL"] == "http://127.0.0.1:7070"
    assert variables["SILO_RESOLVER_ADDRESS"] == "127.0.0.1:50051"
    assert variables["SILO_GATEWAY_HTTP_LISTEN"] == "127.0.0.1:8080"


def test_a_process_ends_with_the_suite_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    environment = inherited_environment() | {"PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "devstack.child", "sleeper"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"up\n"
        process.stdin.close()  # as when the suite is killed
        assert process.wait(10) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
