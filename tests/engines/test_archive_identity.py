"""The storage service's own identity on the S3 server: the archive of the audit trail, and no tenant's object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from boundary.audit_scope import audit_area
from boundary.trail.statements import Signer
from boundary.trail.verification import verify
from devstack.engine_keys import ARCHIVE
from services.storage.audit_archive import AuditArchive
from services.storage.audit_guard import GuardedArchive
from services.storage.s3 import S3Objects
from tests.engines.servers.s3 import S3Server
from tests.unit.storage.test_audit_archive import (
    ALL,
    export,
    pages,
    several_writers,
)

BUCKET = "email-platform-storage"
PAIR = ("SILOSTORAGE", "x" * 40)


class Server(S3Server):
    def _identities(self) -> Any:
        document = super()._identities()
        pair = {"accessKey": PAIR[0], "secretKey": PAIR[1]}
        document["identities"].append(
            {"name": "storage", "credentials": [pair], "actions": ARCHIVE}
        )
        return document


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    server = Server(tmp_path_factory.mktemp("archive-s3"))
    try:
        server.start()
        root = server.client("s3")
        root.create_bucket(Bucket=BUCKET)
        root.put_object(Bucket=BUCKET, Key="tenant-a/x", Body=b"1")
        root.close()
        opened = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name="us-east-1",
            aws_access_key_id=PAIR[0],
            aws_secret_access_key=PAIR[1],
            config=Config(retries={"total_max_attempts": 1}),
        )
        yield opened
        opened.close()
    finally:
        server.kill()


@pytest.fixture
async def archive(client: Any) -> AsyncIterator[AuditArchive]:
    objects = S3Objects(client, threads=2)
    area = audit_area(region="local", bucket=BUCKET)
    yield AuditArchive(GuardedArchive(objects, area), signer=Signer("storage", b"s" * 32))
    await objects.settle()
    objects.close()


async def test_the_archive_works_under_the_services_own_identity(
    archive: AuditArchive, tmp_path: Path
) -> None:
    every = await several_writers(archive)
    found = await pages(archive, "A", ALL, 50)
    assert [record["time"] for record in found] == sorted(every, reverse=True)
    assert verify(await export(archive, "A", tmp_path / "whole")).findings == []
    assert await archive.expire("A", before=datetime(2024, 1, 16, 1, tzinfo=UTC)) == 36
    result = verify(await export(archive, "A", tmp_path / "after"))
    assert (result.findings, result.expired) == ([], 4)


def test_that_identity_reaches_no_tenants_object(client: Any) -> None:
    mine = {"Bucket": BUCKET, "Key": "tenant-a/x"}
    for attempt in (
        lambda: client.get_object(**mine),
        lambda: client.put_object(**mine, Body=b"2"),
        lambda: client.delete_object(**mine),
        lambda: client.list_objects_v2(Bucket=BUCKET),
        lambda: client.list_objects_v2(Bucket=BUCKET, Prefix="tenant-a/"),
        lambda: client.copy_object(Bucket=BUCKET, Key="audit/copy", CopySource=mine),
    ):
        with pytest.raises(ClientError) as refused:
            attempt()
        assert refused.value.response["Error"]["Code"] == "AccessDenied"
