"""Objects come to the newest data key while others write, and nothing is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boundary.errors import Aborted, FailedPrecondition, InvalidArgument
from services.keys.local import LocalKeys
from services.storage.files import FileObjects
from services.storage.ports import CHUNK_BYTES, Upload
from services.storage.reencryption import Reencryption
from tests.unit.storage.test_sealed_objects import A1, A2, PREFIX, SHREDDED, TEXT, A, World, stream


@pytest.fixture
async def world(files: FileObjects, tmp_path: Path) -> AsyncIterator[World]:
    keys = LocalKeys(tmp_path / "keys")
    await keys.create(A.key)
    yield World(files, keys)
    keys.close()


def reencryption(world: World, tenant=A2) -> Reencryption:
    return Reencryption(
        engine=world.files, sealed=world.of(tenant), ring=world.ring, records=world.records
    )


async def run(world: World, tenant=A2, position: bytes = b"") -> tuple[int, int]:
    told = [progress async for progress in reencryption(world, tenant).run(tenant, position)]
    return told[-1].seen, told[-1].rewritten


async def test_what_is_in_the_clear_and_older_versions_come_to_the_newest(world: World):
    big = os.urandom(2 * CHUNK_BYTES)
    upload = Upload(content_type="text/html", metadata={"by": "alice"})
    await world.of(A).put(PREFIX, "plain", stream(b"plain"), upload)
    await world.of(A1).put(PREFIX, "one", stream(big), upload)
    await world.of(A2).put(PREFIX, "two", stream(b"two"), upload)
    before = {path: await world.of(A2).head(PREFIX, path) for path in ("plain", "one", "two")}
    assert await run(world) == (3, 2)
    for path, old in before.items():
        new = await world.of(A2).head(PREFIX, path)
        assert old is not None
        assert new is not None
        assert (new.sha256, new.size) == (old.sha256, old.size)
        assert (new.content_type, new.metadata) == ("text/html", {"by": "alice"})
        assert new.key_version == 2
    assert await run(world) == (3, 0)
    assert await reencryption(world).drop(A2, before=2) == 1
    assert await world.read(A2, "one") == big
    assert await world.read(A2, "plain") == b"plain"


async def test_it_goes_on_where_another_run_ended(world: World):
    for number in range(45):
        await world.of(A).put(PREFIX, f"{number:03d}", stream(b"plain"), TEXT)
    progress = await anext(reencryption(world).run(A2))
    assert (progress.seen, progress.rewritten) == (20, 20)
    assert await run(world, position=progress.position) == (25, 25)


async def test_concurrent_writes_and_deletions_are_not_lost(world: World):
    for number in range(40):
        await world.of(A1).put(PREFIX, f"{number:03d}", stream(b"old"), TEXT)

    async def write() -> None:
        for number in range(0, 40, 2):
            await world.of(A2).put(PREFIX, f"{number:03d}", stream(b"new"), TEXT)
        for number in range(30, 40):
            await world.of(A2).delete(PREFIX, f"{number:03d}")

    writing = asyncio.create_task(write())
    await run(world)
    await writing
    await run(world)
    for number in range(30):
        stored = await world.of(A2).head(PREFIX, f"{number:03d}")
        assert stored is not None
        assert stored.key_version == 2
        expected = b"old" if number % 2 else b"new"
        assert await world.read(A2, f"{number:03d}") == expected
    assert await world.of(A2).head(PREFIX, "035") is None


async def test_an_upload_that_outlasts_its_data_key_stores_nothing(world: World):
    async def content() -> AsyncIterator[bytes]:
        yield b"begun under version 1"
        await reencryption(world).retire(A2, before=2)
        yield b"ended after it was retired"

    slow = world.of(A1, slow_seconds=0.0)
    with pytest.raises(Aborted) as caught:
        await slow.put(PREFIX, "slow", content(), TEXT)
    assert caught.value.reason == "KEY_RETIRED"
    assert await world.of(A2).head(PREFIX, "slow") is None
    await world.of(A2, slow_seconds=0.0).put(PREFIX, "slow", stream(b"again"), TEXT)
    assert await world.read(A2, "slow") == b"again"


async def test_who_has_no_encryption_or_no_key_any_more(world: World):
    for tenant, reason in ((A, "ENCRYPTION_OFF"), (SHREDDED, "KEY_DESTROYED")):
        with pytest.raises(FailedPrecondition) as caught:
            await run(world, tenant)
        assert caught.value.reason == reason


@pytest.mark.parametrize("before", [0, 3])
async def test_the_newest_data_key_is_never_dropped(world: World, before: int):
    for refused in (
        reencryption(world).drop(A2, before=before),
        reencryption(world).retire(A2, before=before),
    ):
        with pytest.raises(InvalidArgument):
            await refused
