"""The contract suite of objects' lifecycle rules over S3, against moto in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.storage.rules import ObjectRules
from services.storage.s3_client import Calls
from services.storage.s3_lifecycle import LifecycleRules
from services.storage.s3_lock import BucketLocks
from tests.contract.test_object_rules import TestRules
from tests.unit.storage.s3_moto import client, shared_client

__all__ = ["TestRules", "client", "shared_client"]


@pytest.fixture
def rules(client: Any) -> Iterator[ObjectRules]:
    calls = Calls(threads=1)
    yield LifecycleRules(client, calls, lock=BucketLocks(client, calls, name="lifecycle"))
    calls.close()
