"""The contract suite of objects' lifecycle rules over S3, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from botocore.credentials import Credentials

from boundary.errors import FailedPrecondition
from services.storage.rules import ObjectRules, Rule
from services.storage.s3_client import Calls, S3Endpoint, s3_client
from services.storage.s3_lifecycle import LifecycleRules
from services.storage.s3_lock import BucketLocks
from tests.contexts import PLACEMENT
from tests.contract.test_object_rules import TestRules, prefix_of  # noqa: F401 - the suite
from tests.engines.servers.s3 import S3Server

BUCKET = PLACEMENT.bucket


@pytest.fixture
def client(s3_endpoint: S3Server) -> Iterator[Any]:
    client = s3_client(
        S3Endpoint(region="us-east-1", url=s3_endpoint.url, path_style=True),
        Credentials(s3_endpoint.access_key, s3_endpoint.secret_key),
    )
    client.create_bucket(Bucket=BUCKET)
    yield client
    client.delete_bucket_lifecycle(Bucket=BUCKET)
    client.delete_bucket(Bucket=BUCKET)
    client.close()


async def _rules(client: Any) -> AsyncIterator[ObjectRules]:
    calls = Calls(threads=4)
    yield LifecycleRules(client, calls, lock=BucketLocks(client, calls, name="lifecycle"))
    await asyncio.to_thread(calls.close)


@pytest.fixture
async def rules(client: Any) -> AsyncIterator[ObjectRules]:
    async for rules in _rules(client):
        yield rules


async def test_processes_that_edit_at_once_lose_nothing(client: Any) -> None:
    """Each process has a lock object of its own making; what they share is the bucket."""
    processes = [_rules(client) for _ in range(4)]
    editors = [await anext(each) for each in processes]
    rule = Rule(name="exports", under="exports/", expire_days=7)
    await asyncio.gather(
        *(
            editor.change(prefix_of(f"t{number}"), lambda _: [rule])
            for number, editor in enumerate(editors)
        )
    )
    for number in range(len(editors)):
        assert list(await editors[0].read(prefix_of(f"t{number}"))) == [rule]
    for each in processes:
        await each.aclose()  # type: ignore[attr-defined] - they are generators


async def test_a_server_without_archives_says_so_and_keeps_what_was(rules: ObjectRules) -> None:
    kept = Rule(name="old", under="backups/", expire_days=50)
    await rules.change(prefix_of("a"), lambda _: [kept])
    with pytest.raises(FailedPrecondition) as refused:
        await rules.change(
            prefix_of("a"), lambda _: [Rule(name="old", under="backups/", archive_days=5)]
        )
    assert refused.value.reason == "ARCHIVE_MISSING"
    assert list(await rules.read(prefix_of("a"))) == [kept]
