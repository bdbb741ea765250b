"""The contract suite of the objects port over the S3 adapter, against moto in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.storage.ports import Objects
from services.storage.s3 import S3Objects
from tests.contract.test_objects import (
    TestConditions,
    TestCopyAndDelete,
    TestCutOff,
    TestGuard,
    TestList,
    TestPutAndGet,
    prefix,
    tenant,
)
from tests.sealing import layered
from tests.unit.storage.s3_moto import client, shared_client
from tests.unit.storage.s3_moto import objects as s3_objects

__all__ = [
    "TestConditions",
    "TestCopyAndDelete",
    "TestCutOff",
    "TestGuard",
    "TestList",
    "TestPutAndGet",
    "client",
    "objects",
    "prefix",
    "s3_objects",
    "shared_client",
    "tenant",
]


@pytest.fixture(params=["plain", "sealed"])
async def objects(
    request: pytest.FixtureRequest, s3_objects: S3Objects, tmp_path: Path
) -> AsyncIterator[Objects]:
    """The bucket, without and with the layer that encrypts."""
    async with layered(s3_objects, request.param, tmp_path / "keys") as over:
        yield over
