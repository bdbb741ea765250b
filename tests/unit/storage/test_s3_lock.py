"""The lock in the bucket, against moto in this process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from boundary.errors import Unavailable
from services.storage import s3_lock
from services.storage.s3_client import Calls
from services.storage.s3_lock import LEASE_SECONDS, MARGIN_SECONDS, BucketLocks
from tests.contexts import PLACEMENT
from tests.unit.storage.s3_moto import client, shared_client

__all__ = ["client", "shared_client"]

BUCKET = PLACEMENT.bucket
KEY = ".silo/locks/lifecycle"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_lock, "PATIENCE_SECONDS", 30.0)
    monkeypatch.setattr(s3_lock, "_LONGEST_PAUSE", 0.02)


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch, _patient: None) -> None:
    monkeypatch.setattr(s3_lock, "PATIENCE_SECONDS", 0.2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def calls() -> Iterator[Calls]:
    calls = Calls(threads=1)
    yield calls
    calls.close()


@pytest.fixture
def locks(client: Any, calls: Calls, clock: Clock) -> BucketLocks:
    return BucketLocks(client, calls, name="lifecycle", clock=clock)


def _held(client: Any) -> bool:
    return bool(client.list_objects_v2(Bucket=BUCKET, Prefix=KEY).get("Contents"))


async def test_it_is_there_while_it_is_held(locks: BucketLocks, client: Any) -> None:
    async with locks(BUCKET):
        assert _held(client)
    assert not _held(client)


async def test_another_process_waits_for_it(
    locks: BucketLocks, client: Any, calls: Calls, clock: Clock
) -> None:
    other = BucketLocks(client, calls, name="lifecycle", clock=clock)
    order: list[str] = []

    async def second() -> None:
        async with other(BUCKET):
            order.append("second")

    async with locks(BUCKET):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.05)
        order.append("first")
    await waiting
    assert order == ["first", "second"]


@pytest.mark.usefixtures("_impatient")
async def test_it_is_not_waited_for_without_end(
    locks: BucketLocks, client: Any, calls: Calls, clock: Clock
) -> None:
    other = BucketLocks(client, calls, name="lifecycle", clock=clock)
    async with locks(BUCKET):
        with pytest.raises(Unavailable):
            async with other(BUCKET):
                pass
        assert _held(client)


@pytest.mark.usefixtures("_impatient")
async def test_one_whose_process_ended_is_taken_over_when_its_time_is_over(
    locks: BucketLocks, client: Any, clock: Clock
) -> None:
    left = {"holder": "gone", "until": clock.now + LEASE_SECONDS}
    client.put_object(Bucket=BUCKET, Key=KEY, Body=json.dumps(left).encode())
    with pytest.raises(Unavailable):
        async with locks(BUCKET):
            pass
    clock.now += LEASE_SECONDS + MARGIN_SECONDS + 1
    async with locks(BUCKET):
        body = client.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
        assert json.loads(body)["holder"] != "gone"
    assert not _held(client)


async def test_it_is_let_go_where_the_work_fails(locks: BucketLocks, client: Any) -> None:
    with pytest.raises(RuntimeError):
        async with locks(BUCKET):
            raise RuntimeError
    assert not _held(client)
