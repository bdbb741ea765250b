"""The contract suite of the objects port over the S3 adapter, against moto in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import boto3
import pytest
from botocore.credentials import Credentials
from moto import mock_aws

from services.storage.ports import Objects
from services.storage.s3 import S3Objects
from services.storage.s3_client import S3Endpoint, s3_client
from tests.contexts import PLACEMENT
from tests.contract.test_objects import (  # noqa: F401 - the suite
    TestConditions,
    TestCopyAndDelete,
    TestCutOff,
    TestGuard,
    TestList,
    TestPutAndGet,
    prefix,
    tenant,
)

PART = 5 * 1024 * 1024
"""The smallest part that S3 takes."""


@pytest.fixture
def bucket() -> Iterator[str]:
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=PLACEMENT.bucket)
        client.put_bucket_versioning(
            Bucket=PLACEMENT.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        yield PLACEMENT.bucket


@pytest.fixture
async def objects(bucket: str) -> AsyncIterator[Objects]:
    client = s3_client(S3Endpoint(region="us-east-1"), Credentials("AKIA", "secret"))
    # One thread: moto loses updates under concurrent writers.
    adapter = S3Objects(client, threads=1, part_bytes=PART)
    yield adapter
    await adapter.settle()
    adapter.close()
