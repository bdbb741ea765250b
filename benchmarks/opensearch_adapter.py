"""Bulk ingest of the OpenSearch adapter beside opensearch-py's own async bulk helper, on one server, in turn.

The helper is given dictionaries that are ready to send and is not asked to make them visible; the adapter starts
from the port's documents, forms their words and keys, and has every batch visible before it goes on.

    python -m benchmarks.opensearch_adapter http://127.0.0.1:9200
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Any

import opensearchpy
from opensearchpy.helpers import async_bulk

from benchmarks.cases import Result
from boundary.scope import SearchIndex
from services.search.opensearch import OpenSearchIndexes
from services.search.opensearch_cluster import Limits, connect
from services.search.opensearch_documents import source_of
from services.search.opensearch_template import Sizing, creation
from services.search.ports import Document, EventType, Filter

BATCH = 1_000
ROUNDS = 5
BATCHES = 5
"""How many batches are written in a round."""

LEAST_RATIO = 0.8
_KINDS = list(EventType)
_METADATA = '{"user_agent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64)","ip":"192.0.2.33","link":"https://shop.example/p/77"}'


def batch(index: SearchIndex, name: str) -> list[Document]:
    """A batch of events such as a campaign makes."""
    return [
        Document(
            tenant_id=index.tenant_id,
            event_id=f"{name}-{place}",
            event_type=_KINDS[place % 6],
            campaign_id=f"campaign-{place % 5}",
            timestamp_ms=1_700_000_000_000 + place * 37,
            recipient=f"user{place}@example.com",
            message_id=f"{name}-{place // 3}",
            subject="Spring sale: 50% off everything",
            metadata=_METADATA,
            strings=(
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
                "192.0.2.33",
                "https://shop.example/p/77",
            ),
        )
        for place in range(BATCH)
    ]


async def bulk_ingest(url: str, index: SearchIndex) -> Result:
    """Events a second of both, and the ratio. The index is dropped before and afterwards."""
    sizing = Sizing(replicas=0)
    adapter = OpenSearchIndexes(lambda _: url, sizing=lambda _: sizing)
    client = opensearchpy.AsyncOpenSearch(hosts=[url])
    peer = f"{index.name}-peer"
    rates: dict[str, list[float]] = {"adapter": [], "async_bulk": []}
    try:
        await adapter.drop(index)
        await adapter.create(index)
        await client.indices.delete(index=peer, ignore_unavailable=True)
        await client.indices.create(index=peer, body={**creation(index, sizing), "aliases": {}})
        for number in range(ROUNDS + 1):
            batches = [batch(index, f"{number}-{place}") for place in range(BATCHES)]
            ready = [_ready(documents) for documents in batches]
            began = time.perf_counter()
            for actions in ready:
                await async_bulk(client, actions, index=peer, chunk_size=BATCH)
            helper_seconds = time.perf_counter() - began
            began = time.perf_counter()
            for documents in batches:
                assert all(await adapter.bulk(index, documents))
            adapter_seconds = time.perf_counter() - began
            if number:  # the first round warms the engine up
                rates["async_bulk"].append(BATCH * BATCHES / helper_seconds)
                rates["adapter"].append(BATCH * BATCHES / adapter_seconds)
        written = await adapter.count(index, filter=Filter())
        assert written == BATCH * BATCHES * (ROUNDS + 1)
    finally:
        await adapter.drop(index)
        await adapter.aclose()
        await client.indices.delete(index=peer, ignore_unavailable=True)
        await client.close()
    result = Result(name="bulk ingest on OpenSearch")
    for name, found in rates.items():
        result.figures[f"{name} events/s"] = round(statistics.median(found), 1)
    ratio = statistics.median(rates["adapter"]) / statistics.median(rates["async_bulk"])
    result.targets.append(
        ("adapter / async_bulk", round(ratio, 3), f">= {LEAST_RATIO}", ratio >= LEAST_RATIO)
    )
    return result


def _ready(documents: list[Document]) -> list[dict[str, Any]]:
    return [
        {"_op_type": "create", "_id": document.event_id, "_source": source_of(document)}
        for document in documents
    ]


async def main(url: str) -> None:
    """Prints the result."""
    from tests.contexts import make_context  # noqa: PLC0415 - a context as the tests mint them

    await connect(url, Limits()).close()
    result = await bulk_ingest(url, make_context("Bench", audience="search").index)
    print(result.figures, result.targets)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
