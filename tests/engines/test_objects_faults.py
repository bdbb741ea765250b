"""The S3 adapter while its engine is slow, gone, cut off, silent or killed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials

from boundary.errors import ResourceExhausted, SiloError, Unavailable
from boundary.scope import ObjectPrefix
from services.storage.ports import StoredObject, Upload
from services.storage.s3 import S3Objects
from services.storage.s3_client import S3Endpoint, s3_client
from tests.contexts import PLACEMENT, make_context
from tests.engines.fault_proxy import FaultProxy, Mode
from tests.engines.servers.s3 import S3Server, start_s3

BUCKET = PLACEMENT.bucket
PART = 5 * 1024 * 1024
BIG = os.urandom(4 * PART)
TEXT = Upload(content_type="text/plain")

LONGEST = 15.0
"""Seconds within which a call that nobody cancels ends: all attempts with their timeouts and pauses."""


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> ObjectPrefix:
    """A tenant for each test."""
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    return make_context(f"t{name}", audience="storage").objects


@pytest.fixture(scope="module")
def admin(s3_endpoint: S3Server) -> Iterator[Any]:
    client = s3_endpoint.client("s3")
    client.create_bucket(Bucket=BUCKET)
    yield client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        if keys := [{"Key": item["Key"]} for item in page.get("Contents", ())]:
            client.delete_objects(Bucket=BUCKET, Delete={"Objects": keys, "Quiet": True})
    client.delete_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture
async def proxy(s3_endpoint: S3Server, admin: Any) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(s3_endpoint.port) as proxy:
        yield proxy


@pytest.fixture
async def objects(s3_endpoint: S3Server, proxy: FaultProxy) -> AsyncIterator[S3Objects]:
    async for adapter in _adapter(s3_endpoint, proxy.endpoint):
        yield adapter


async def _adapter(server: S3Server, url: str) -> AsyncIterator[S3Objects]:
    endpoint = S3Endpoint(
        region="us-east-1", url=url, path_style=True, connect_timeout=0.5, read_timeout=1.0
    )
    client = s3_client(endpoint, Credentials(server.access_key, server.secret_key))
    adapter = S3Objects(client, part_bytes=PART)
    yield adapter
    await adapter.settle()
    await asyncio.to_thread(adapter.close)
    client.close()


async def _stream(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 1024 * 1024):
        yield content[start : start + 1024 * 1024]


async def _put(
    objects: S3Objects, prefix: ObjectPrefix, path: str, content: bytes = b"x", **upload: Any
) -> StoredObject:
    described = Upload(content_type="text/plain", **upload)
    return await objects.put(prefix, path, _stream(content), described)


async def _read(objects: S3Objects, prefix: ObjectPrefix, path: str) -> bytes:
    async with await objects.get(prefix, path) as content:
        return b"".join([chunk async for chunk in content.chunks()])


def _uploads(admin: Any, prefix: ObjectPrefix) -> list[Any]:
    answer = admin.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix.prefix)
    return answer.get("Uploads", [])


def _keys(admin: Any, prefix: ObjectPrefix) -> list[str]:
    answer = admin.list_objects_v2(Bucket=BUCKET, Prefix=prefix.prefix)
    return [item["Key"] for item in answer.get("Contents", ())]


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.CUT, Mode.HOLE])
async def test_every_call_ends_and_the_next_one_after_the_fault_works(
    objects: S3Objects, proxy: FaultProxy, prefix: ObjectPrefix, mode: Mode
) -> None:
    await _put(objects, prefix, "kept", b"1")
    await proxy.set_mode(mode)
    begun = time.monotonic()
    outcomes = await asyncio.gather(
        objects.head(prefix, "kept"),
        _read(objects, prefix, "kept"),
        objects.list(prefix, under="", folded=False, limit=10),
        objects.copy(prefix, "kept", "copy"),
        objects.delete(prefix, "kept"),
        objects.delete_many(prefix, ["kept"]),
        _put(objects, prefix, "new"),
        return_exceptions=True,
    )
    assert time.monotonic() - begun < LONGEST
    assert [type(outcome) for outcome in outcomes] == [Unavailable] * 7
    assert all(outcome.retry_after for outcome in outcomes)
    await proxy.set_mode(Mode.PASS)
    assert await _read(objects, prefix, "kept") == b"1"


async def test_a_deadline_ends_a_call_that_nobody_answers(
    objects: S3Objects, proxy: FaultProxy, prefix: ObjectPrefix
) -> None:
    await proxy.set_mode(Mode.HOLE)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await objects.head(prefix, "x")
    assert time.monotonic() - begun < 0.8
    await proxy.set_mode(Mode.PASS)
    assert await objects.head(prefix, "x") is None


async def test_a_slow_engine_is_slow(
    objects: S3Objects, proxy: FaultProxy, prefix: ObjectPrefix
) -> None:
    await proxy.set_mode(Mode.SLOW)
    await _put(objects, prefix, "slow", b"1")
    assert await _read(objects, prefix, "slow") == b"1"


async def test_a_download_goes_on_over_a_cut(
    objects: S3Objects, proxy: FaultProxy, prefix: ObjectPrefix
) -> None:
    await _put(objects, prefix, "big", BIG)
    async with await objects.get(prefix, "big") as content:
        chunks = content.chunks()
        read = await anext(chunks)
        await proxy.set_mode(Mode.REFUSE)
        await proxy.set_mode(Mode.PASS)
        read += b"".join([chunk async for chunk in chunks])
    assert read == BIG


async def test_a_download_from_an_engine_that_is_gone_ends(
    objects: S3Objects, proxy: FaultProxy, prefix: ObjectPrefix
) -> None:
    await _put(objects, prefix, "big", BIG)
    begun = time.monotonic()
    with pytest.raises(Unavailable):  # noqa: PT012 - it ends somewhere on the way
        async with await objects.get(prefix, "big") as content:
            chunks = content.chunks()
            await anext(chunks)
            await proxy.set_mode(Mode.REFUSE)
            async for _ in chunks:
                pass
    assert time.monotonic() - begun < LONGEST


async def test_a_cancelled_upload_leaves_nothing(
    objects: S3Objects, prefix: ObjectPrefix, admin: Any
) -> None:
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield BIG
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(objects.put(prefix, "cut", stalled(), TEXT))
    await waiting.wait()
    assert len(_uploads(admin, prefix)) == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await objects.settle()
    assert (_uploads(admin, prefix), _keys(admin, prefix)) == ([], [])


async def test_cancelled_at_any_moment_it_is_whole_or_nothing(
    objects: S3Objects, prefix: ObjectPrefix, admin: Any
) -> None:
    for moment in range(12):
        task = asyncio.create_task(_put(objects, prefix, f"m{moment}", BIG[: PART + 7]))
        await asyncio.sleep(moment / 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await objects.settle()
    assert _uploads(admin, prefix) == []
    page = await objects.list(prefix, under="", folded=False, limit=100)
    for stored in page.objects:
        assert await _read(objects, prefix, stored.path) == BIG[: PART + 7]
    await objects.sweep(prefix, older_than=timedelta(seconds=-60))
    records = [key for key in _keys(admin, prefix) if ".silo/" in key]
    assert len(records) == len(page.objects)


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.CUT, Mode.HOLE])
async def test_an_upload_whose_engine_goes_away_leaves_what_a_sweep_finds(
    objects: S3Objects, proxy: FaultProxy, prefix: ObjectPrefix, admin: Any, mode: Mode
) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield BIG
        await proxy.set_mode(mode)
        yield BIG

    with pytest.raises(Unavailable):
        await objects.put(prefix, "cut", content(), TEXT)
    await objects.settle()
    await proxy.set_mode(Mode.PASS)
    assert await objects.head(prefix, "cut") is None
    await objects.sweep(prefix, older_than=timedelta(seconds=-60))
    assert (_uploads(admin, prefix), _keys(admin, prefix)) == ([], [])


async def test_a_sweep_spares_what_is_young_and_what_is_the_neighbours(
    objects: S3Objects, prefix: ObjectPrefix, admin: Any
) -> None:
    neighbour = prefix.prefix.removesuffix("/") + "0/cut"
    uploads = [
        admin.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        for key in (prefix.key("cut"), neighbour)
    ]
    assert await objects.sweep(prefix) == 0
    assert await objects.sweep(prefix, older_than=timedelta(seconds=-60)) == 1
    admin.abort_multipart_upload(Bucket=BUCKET, Key=neighbour, UploadId=uploads[1])


WRITERS = 24


@pytest.mark.timeout(240)
async def test_what_was_acknowledged_under_faults_is_there(
    objects: S3Objects, proxy: FaultProxy, prefix: ObjectPrefix
) -> None:
    """Creations of 10,000 objects while the connection fails over and over: none is lost, none denied wrongly."""
    writes, acknowledged, failed = 10_000, [], []
    over = asyncio.Event()
    chance = random.Random(7)

    async def fail() -> None:
        while not over.is_set():
            for mode in (Mode.CUT, Mode.PASS, Mode.REFUSE, Mode.PASS):
                await proxy.set_mode(mode)
                await asyncio.sleep(0.05 if mode is not Mode.PASS else chance.uniform(0.2, 0.5))
        await proxy.set_mode(Mode.PASS)

    async def write(worker: int) -> None:
        for number in range(worker, writes, WRITERS):
            path = f"{number:05}"
            try:
                await _put(objects, prefix, path, path.encode(), create_only=True)
            except (Unavailable, ResourceExhausted):
                failed.append(path)
            else:
                acknowledged.append(path)

    failing = asyncio.create_task(fail())
    await asyncio.gather(*(write(worker) for worker in range(WRITERS)))
    over.set()
    await failing
    found, position = {}, None
    while True:
        page = await objects.list(prefix, under="", folded=False, limit=1000, position=position)
        found.update({stored.path: stored.sha256 for stored in page.objects})
        if (position := page.position) is None:
            break
    assert set(acknowledged) <= set(found) <= {*acknowledged, *failed}
    assert len(acknowledged) + len(failed) == writes
    assert len(acknowledged) > writes / 2
    for path, sha256 in found.items():
        assert sha256 == hashlib.sha256(path.encode()).hexdigest()


@pytest.mark.timeout(150)  # the server takes its time to start, twice
async def test_a_killed_engine_that_comes_back(tmp_path: Path, prefix: ObjectPrefix) -> None:
    with start_s3(tmp_path / "s3") as server:
        admin = server.client("s3")
        admin.create_bucket(Bucket=BUCKET)
        async for objects in _adapter(server, server.url):
            for number in range(20):
                await _put(objects, prefix, f"k{number}", b"1")
            big = await _put(objects, prefix, "big", BIG)
            server.kill()
            with pytest.raises(Unavailable):
                await objects.head(prefix, "big")
            await asyncio.to_thread(server.start)
            begun = time.monotonic()
            while True:
                try:
                    assert await objects.head(prefix, "big") == big
                    break
                except SiloError:
                    await asyncio.sleep(0.1)
            assert time.monotonic() - begun < 5
            assert await _read(objects, prefix, "big") == BIG
            page = await objects.list(prefix, under="k", folded=False, limit=100)
            assert len(page.objects) == 20
        admin.close()
