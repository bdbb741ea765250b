"""The search port's contract on a real OpenSearch, and what that engine promises beyond it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.contract.test_index")

from boundary.errors import InvalidArgument  # noqa: E402 - after the registration
from services.search.opensearch import OpenSearchIndexes  # noqa: E402
from services.search.opensearch_cluster import Limits, connect  # noqa: E402
from services.search.opensearch_template import Sizing  # noqa: E402
from services.search.ports import (  # noqa: E402
    EventType,
    Filter,
    Histogram,
    Indexes,
    Position,
    Terms,
    TermsField,
    UniqueRecipients,
)
from tests.contract.test_index import *  # noqa: E402, F403 - the suite itself
from tests.contract.test_index import (  # noqa: E402
    HOUR,
    MAX_BUCKETS,
    behind,
    context,
    event,
    everything,
    ids,
    ms,
    random_events,
    terms_of,
    top,
)


@pytest.fixture
async def client(opensearch_endpoint: str) -> AsyncIterator[Any]:
    """A client of the cluster that may do everything; takes all indexes away afterwards."""
    client = connect(opensearch_endpoint, Limits())
    yield client
    await client.indices.delete(index="email-analytics-tenant-*")
    await client.close()


@pytest.fixture
async def indexes(opensearch_endpoint: str, client: Any) -> AsyncIterator[Indexes]:
    """The adapter on a cluster without indexes."""
    async with adapter_of(opensearch_endpoint, Sizing(replicas=0)) as adapter:
        yield adapter


@contextlib.asynccontextmanager
async def adapter_of(endpoint: str, sizing: Sizing) -> AsyncIterator[OpenSearchIndexes]:
    adapter = OpenSearchIndexes(lambda _: endpoint, sizing=lambda _: sizing)
    yield adapter
    await adapter.aclose()


class TestOpenSearch:
    async def test_index_alias_and_template_are_those_of_the_spec(self, indexes, index, client):
        await indexes.create(index)
        found = (await client.indices.get(index="email-tenant-a"))["email-analytics-tenant-a"]
        assert set(found["aliases"]) == {"email-tenant-a"}
        assert found["mappings"]["_meta"] == {"tenantId": "A"}
        kinds = {name: spec.get("type") for name, spec in found["mappings"]["properties"].items()}
        assert kinds["timestamp"] == "date"
        template = await client.indices.get_index_template(name="email-analytics-tenant")
        patterns = template["index_templates"][0]["index_template"]["index_patterns"]
        assert patterns == ["email-analytics-tenant-*"]

    async def test_a_neighbours_point_in_time_shows_nothing(self, indexes):
        mine, theirs = context("a"), context("ab")
        for tenant in (mine, theirs):
            events = [event(str(n), tenant_id=tenant.tenant_id) for n in range(4)]
            await indexes.bulk(tenant.index, events)
        foreign = (await indexes.search(theirs.index, filter=Filter(), limit=1)).snapshot
        forged = mine.index.name + "|" + foreign.partition("|")[2]
        page = await indexes.search(
            mine.index,
            filter=Filter(),
            limit=10,
            position=Position(snapshot=forged, timestamp_ms=2**50, event_id="~"),
        )
        assert list(page.documents) == []

    async def test_points_in_time_are_closed_behind_the_last_page(
        self, opensearch_endpoint, client
    ):
        index = context("A").index
        async with adapter_of(opensearch_endpoint, Sizing(replicas=0)) as adapter:
            await adapter.bulk(index, [event(str(number)) for number in range(10)])
            assert len(await everything(adapter, index, limit=3)) == 10
        assert not (await client.transport.perform_request("GET", "/_search/point_in_time/_all"))[
            "pits"
        ]

    async def test_a_point_in_time_that_is_gone_asks_for_a_new_search(self, indexes, index, client):
        await indexes.bulk(index, [event(str(number)) for number in range(10)])
        page = await indexes.search(index, filter=Filter(), limit=3)
        await client.delete_all_pits()
        with pytest.raises(InvalidArgument):
            await indexes.search(index, filter=Filter(), limit=3, position=behind(page))

    async def test_a_point_in_time_does_not_outlive_its_index(self, indexes, index):
        await indexes.bulk(index, [event(str(number)) for number in range(10)])
        page = await indexes.search(index, filter=Filter(), limit=3)
        await indexes.drop(index)
        await indexes.bulk(index, [event(str(number)) for number in range(10)])
        after = await indexes.search(index, filter=Filter(), limit=3, position=behind(page))
        assert (list(after.documents), after.more) == ([], False)

    async def test_several_shards_are_one_index(self, opensearch_endpoint, client):
        index = context("A").index
        events = random_events(3, start=ms(2024, 1, 1), end=ms(2024, 2, 1))
        async with adapter_of(opensearch_endpoint, Sizing(shards=3, replicas=0)) as adapter:
            assert all(await adapter.bulk(index, events))
            assert not any(await adapter.bulk(index, events))
            expected = sorted(events, key=lambda each: (each.timestamp_ms, each.event_id))
            assert ids(await everything(adapter, index, limit=70, ascending=True)) == ids(expected)
            terms, unique = await adapter.aggregate(
                index,
                filter=Filter(),
                aggregations=[
                    Terms(field=TermsField.CAMPAIGN_ID, size=3),
                    UniqueRecipients(by_event_type=False),
                ],
                max_buckets=1,
            )
        assert terms_of(terms) == top(Counter(each.campaign_id for each in events), 3)
        assert unique.count == len({each.recipient_key for each in events})

    async def test_a_histogram_of_the_most_buckets_counts_every_type(self, indexes, index):
        """More buckets by type than OpenSearch gives to one request by default."""
        hours, kinds = range(0, MAX_BUCKETS - 1, 7), list(EventType)
        events = [
            event(f"{hour}-{kind.name}", event_type=kind, timestamp_ms=(hour + 1) * 3_600_000)
            for hour in (*hours, MAX_BUCKETS - 2)
            for kind in kinds
        ]
        for start in range(0, len(events), 1_000):
            await indexes.bulk(index, events[start : start + 1_000])
        (result,) = await indexes.aggregate(
            index,
            filter=Filter(),
            aggregations=[Histogram(interval=HOUR, time_zone="UTC", by_event_type=True)],
            max_buckets=MAX_BUCKETS,
        )
        filled = [bucket for bucket in result.buckets if bucket.count]
        assert len(result.buckets) == MAX_BUCKETS - 1
        assert len(filled) * len(kinds) == len(events)
        assert all(dict(bucket.event_types) == dict.fromkeys(kinds, 1) for bucket in filled)
