"""The search port's contract on a real OpenSearch."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

pytest.register_assert_rewrite("tests.contract.test_index")

from services.search.opensearch import OpenSearchIndexes  # noqa: E402 - after the registration
from services.search.opensearch_cluster import Limits, connect  # noqa: E402
from services.search.opensearch_template import Sizing  # noqa: E402
from services.search.ports import Indexes  # noqa: E402
from tests.contract.test_index import *  # noqa: E402, F403 - the suite itself


@pytest.fixture
async def indexes(opensearch_endpoint: str) -> AsyncIterator[Indexes]:
    """The adapter on a cluster without indexes."""
    adapter = OpenSearchIndexes(
        lambda _: opensearch_endpoint, sizing=lambda _: Sizing(shards=1, replicas=0)
    )
    yield adapter
    await adapter.aclose()
    client = connect(opensearch_endpoint, Limits())
    await client.indices.delete(index="email-analytics-tenant-*")
    await client.close()
