"""The S3 adapter over moto in this process, with one thread: moto loses updates under concurrent writers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from botocore.credentials import Credentials
from moto import mock_aws
from moto.s3.models import s3_backends

from services.storage.s3 import S3Objects
from services.storage.s3_client import S3Endpoint, s3_client
from tests.contexts import PLACEMENT

PART = 5 * 1024 * 1024
"""The smallest part that S3 takes."""


@pytest.fixture(scope="module")
def shared_client() -> Iterator[Any]:
    """A client for all tests of a module; one takes its time to make."""
    with mock_aws():
        client = s3_client(S3Endpoint(region="us-east-1"), Credentials("AKIA", "secret"))
        yield client
        client.close()


@pytest.fixture
def client(shared_client: Any) -> Iterator[Any]:
    """A client to one bucket, which is empty and keeps versions; what a test changes of it is undone."""
    own = dict(vars(shared_client))
    shared_client.create_bucket(Bucket=PLACEMENT.bucket)
    shared_client.put_bucket_versioning(
        Bucket=PLACEMENT.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    yield shared_client
    vars(shared_client).clear()
    vars(shared_client).update(own)
    for account in s3_backends.values():
        account["aws"].reset()


@pytest.fixture
async def objects(client: Any) -> AsyncIterator[S3Objects]:
    adapter = S3Objects(client, threads=1, part_bytes=PART)
    yield adapter
    await adapter.settle()
    adapter.close()
