"""The audit trail under load, crashes and a full disk."""

from __future__ import annotations

import asyncio
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from boundary.audit import durable
from boundary.errors import Unavailable
from boundary.settings import ProcessSettings
from boundary.trail.verification import verify
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.audit_records import records_in
from tests.serving import reason_of, serving
from tests.unit.boundary.test_shapes import OBJECTS, Objects
from tests.unit.boundary.trails import note, open_log

WRITER = """
import asyncio, sys
from pathlib import Path
from boundary.audit import durable
from tests.unit.boundary.trails import note, open_log

async def main():
    log = open_log(Path(sys.argv[1]), strict=True, segment_seconds=0.1)

    async def caller(name):
        number = 0
        while True:
            resource = f"{name}-{number}"
            await durable(note(log, f"tenant-{name % 3}", resource))
            print(resource, flush=True)
            number += 1

    await asyncio.gather(*(caller(name) for name in range(16)))

asyncio.run(main())
"""


@pytest.mark.parametrize("answers", [1, 100, 1000])
def test_every_call_that_was_answered_has_its_record_after_kill(
    tmp_path: Path, answers: int
) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=root,
        env={"PYTHONPATH": f"{root}:{root / 'gen'}"},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(answers)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout
    answered = [line.strip().decode() for line in lines if line.endswith(b"\n")]
    process.wait()
    process.stdout.close()
    assert len(answered) >= answers
    recorded = {record["resource"] for record in records_in(tmp_path)}
    assert set(answered) <= recorded
    assert verify(tmp_path).findings == []
    log = open_log(tmp_path)
    note(log, "tenant-1", "after")
    log.close()
    result = verify(tmp_path)
    assert (result.findings, result.unsigned, len(result.writers)) == ([], 0, 1)


@contextmanager
def a_full_disk() -> Iterator[None]:
    """No file of this process may grow."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def _until(condition: Any) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come about")


@pytest.mark.parametrize("strict", [True, False])
async def test_no_call_is_served_while_records_cannot_be_written(
    tmp_path: Path, strict: bool
) -> None:
    async with serving("storage", {OBJECTS: Objects()}, tmp_path, strict=strict) as running:
        stub: Any = object_pb2_grpc.ObjectServiceStub(running.channel)

        async def ask(path: str) -> Any:
            request = object_pb2.GetObjectRequest(path=path)
            return await stub.GetObject(request, metadata=running.metadata("A"), timeout=5)

        await ask("before")
        running.audit.flush()
        with a_full_disk():
            if strict:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await ask("during")
                assert reason_of(refused.value) == "AUDIT_UNAVAILABLE"
            else:
                await ask("during")
            await _until(lambda: running.audit.behind)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask("refused")
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert reason_of(refused.value) == "AUDIT_UNAVAILABLE"
        await _until(lambda: not running.audit.behind)
        await ask("after")
        seen = [(r["resource"], r["status"]) for r in running.records()]
    assert seen == [
        ("before", "OK"),
        ("during", "OK"),
        ("", "UNAVAILABLE"),
        ("after", "OK"),
    ]
    assert verify(tmp_path).findings == []


async def test_what_waits_for_a_full_disk_is_bounded(tmp_path: Path) -> None:
    log = open_log(tmp_path, strict=True)
    await durable(note(log, "A", "first"))  # type: ignore[arg-type]
    with a_full_disk():
        with pytest.raises(Unavailable):
            await durable(note(log, "A", "second"))  # type: ignore[arg-type]
        waiters = [note(log, "A", f"more-{number}") for number in range(3000)]
        outcomes = await asyncio.gather(
            *(durable(waiter) for waiter in waiters if waiter), return_exceptions=True
        )
        assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    await _until(lambda: not log.behind)
    log.close()
    assert len(records_in(tmp_path)) < 2 * 1002
    assert verify(tmp_path).findings == []


@pytest.mark.parametrize("strict", [True, False])
async def test_a_stream_has_a_record_of_its_beginning(tmp_path: Path, strict: bool) -> None:
    async with serving("storage", {OBJECTS: Objects()}, tmp_path, strict=strict) as running:
        stub: Any = object_pb2_grpc.ObjectServiceStub(running.channel)
        call = stub.DownloadObject(
            object_pb2.DownloadObjectRequest(path="long"), metadata=running.metadata("A")
        )
        await call.read()
        if not strict:
            running.audit.flush()
        begun = records_in(tmp_path, phase="BEGIN")
        assert [(r["resource"], r["tenant"], r["status"]) for r in begun] == [("long", "A", "")]
        assert running.records() == []
        call.cancel()
        await _until(lambda: len(running.records()) == 1)
        (ended,) = running.records()
        assert (ended["status"], ended["request_id"]) == ("CANCELLED", begun[0]["request_id"])

        async def parts() -> Any:
            yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="up/load"))
            yield object_pb2.UploadObjectRequest(chunk=b"12345")

        await stub.UploadObject(parts(), metadata=running.metadata("A"))
        assert [r["resource"] for r in running.records(phase="BEGIN")] == ["long", "up/load"]


async def test_in_strict_mode_the_record_is_there_before_the_answer(tmp_path: Path) -> None:
    async with serving("storage", {OBJECTS: Objects()}, tmp_path, strict=True) as running:
        stub: Any = object_pb2_grpc.ObjectServiceStub(running.channel)
        for number in range(20):
            request = object_pb2.GetObjectRequest(path=f"p{number}")
            await stub.GetObject(request, metadata=running.metadata("A"))
            assert records_in(tmp_path)[-1]["resource"] == f"p{number}"
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetObject(object_pb2.GetObjectRequest(path="refused"))
        assert records_in(tmp_path)[-1]["reason"] == "CONTEXT_MISSING"


@pytest.mark.parametrize(
    ("chosen", "strict"),
    [
        ({"environment": "production"}, True),
        ({"environment": "development"}, False),
        ({"environment": "production", "audit_mode": "batched"}, False),
        ({"environment": "development", "audit_mode": "strict"}, True),
    ],
)
def test_production_is_strict_unless_it_is_told_otherwise(
    chosen: dict[str, Any], strict: bool
) -> None:
    assert ProcessSettings(**chosen).audit_strict is strict


async def test_records_of_no_known_tenant_stand_in_a_chain_of_their_own(tmp_path: Path) -> None:
    async with serving("storage", {OBJECTS: Objects()}, tmp_path) as running:
        stub: Any = object_pb2_grpc.ObjectServiceStub(running.channel)
        request = object_pb2.GetObjectRequest(path="x")
        await stub.GetObject(request, metadata=running.metadata("A"))
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.GetObject(request)
        assert [(r["chain"], r["seq"]) for r in running.records()] == [("A", 1), ("", 1)]
