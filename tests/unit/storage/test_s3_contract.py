"""The contract suite of the objects port over the S3 adapter, against moto in this process."""

from __future__ import annotations

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
from tests.unit.storage.s3_moto import client, objects, shared_client

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
    "shared_client",
    "tenant",
]
