"""The contract suite of the objects port over the S3 adapter, against a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from botocore.credentials import Credentials

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
    TestPurge,
    TestPutAndGet,
    prefix,
    tenant,
)
from tests.engines.servers.s3 import S3Server
from tests.sealing import layered

PART = 5 * 1024 * 1024
"""The smallest part that S3 takes."""


@pytest.fixture
def bucket(s3_endpoint: S3Server) -> Iterator[str]:
    """A new bucket: of one that was emptied, this server goes on to list the folders."""
    client = s3_endpoint.client("s3")
    client.create_bucket(Bucket=PLACEMENT.bucket)
    client.put_bucket_versioning(
        Bucket=PLACEMENT.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    yield PLACEMENT.bucket
    for page in client.get_paginator("list_object_versions").paginate(Bucket=PLACEMENT.bucket):
        for entry in [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]:
            client.delete_object(
                Bucket=PLACEMENT.bucket, Key=entry["Key"], VersionId=entry["VersionId"]
            )
    client.delete_bucket(Bucket=PLACEMENT.bucket)
    client.close()


@pytest.fixture
async def purgeable(s3_endpoint: S3Server, bucket: str) -> AsyncIterator[S3Objects]:
    """The bucket, for what removes and surveys: below the layer that encrypts."""
    client = s3_client(
        S3Endpoint(region="us-east-1", url=s3_endpoint.url, path_style=True),
        Credentials(s3_endpoint.access_key, s3_endpoint.secret_key),
    )
    adapter = S3Objects(client, part_bytes=PART)
    yield adapter
    await adapter.settle()
    adapter.close()
    client.close()


@pytest.fixture(params=["plain", "sealed"])
async def objects(
    request: pytest.FixtureRequest, purgeable: S3Objects, tmp_path: Path
) -> AsyncIterator[Objects]:
    """The bucket, without and with the layer that encrypts."""
    async with layered(purgeable, request.param, tmp_path / "keys") as over:
        yield over
