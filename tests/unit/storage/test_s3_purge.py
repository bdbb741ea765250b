"""Purges of the S3 adapter: the contract against moto in this process, and what S3 has besides."""

from __future__ import annotations

from typing import Any

import pytest

from boundary.scope import ObjectPrefix
from services.storage.s3 import S3Objects
from tests.contexts import PLACEMENT
from tests.contract.test_objects import TestPurge, prefix, tenant
from tests.unit.storage.s3_moto import PART, client, objects, shared_client

__all__ = ["TestPurge", "client", "objects", "prefix", "shared_client", "tenant"]


@pytest.fixture
def purgeable(objects: S3Objects) -> S3Objects:
    return objects


BUCKET = PLACEMENT.bucket


async def test_versions_markers_uploads_and_records_are_counted_and_go(
    objects: S3Objects, client: Any, prefix: ObjectPrefix
) -> None:
    async def content(size: int) -> Any:
        yield b"x" * size

    from services.storage.ports import Upload

    text = Upload(content_type="text/plain")
    await objects.put(prefix, "one", content(1), text)
    await objects.put(prefix, "one", content(2), text)
    await objects.put(prefix, "gone", content(3), text)
    await objects.delete(prefix, "gone")
    await objects.put(prefix, "large", content(PART + 1), text)
    client.create_multipart_upload(Bucket=BUCKET, Key=prefix.key("never"))
    client.create_multipart_upload(Bucket=BUCKET, Key="tenant-ab/never")
    found = [each async for each in objects.survey(prefix)][-1]
    assert (found.objects, found.noncurrent, found.markers) == (2, 2, 1)
    assert (found.uploads, found.records, found.complete) == (1, 1, True)
    deleted = [each async for each in objects.purge(prefix)][-1]
    assert deleted.count == found.count
    assert "Versions" not in client.list_object_versions(Bucket=BUCKET)
    assert [u["Key"] for u in client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [
        "tenant-ab/never"
    ]


async def test_a_deletion_that_fails_within_a_success_is_a_failure(
    objects: S3Objects, client: Any, prefix: ObjectPrefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boundary.errors import ResourceExhausted
    from services.storage import s3_client

    monkeypatch.setattr(s3_client, "_delay", lambda _: 0.0)
    client.put_object(Bucket=BUCKET, Key=prefix.key("k"))
    client.delete_objects = lambda **_: {"Errors": [{"Key": "k", "Code": "SlowDown"}]}
    with pytest.raises(ResourceExhausted):
        [each async for each in objects.purge(prefix)]
