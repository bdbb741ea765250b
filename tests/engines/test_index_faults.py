"""The search adapter while OpenSearch is slow, refuses, hangs, is cut off, has no room, or is killed."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from boundary.errors import ResourceExhausted, SiloError, Unavailable
from boundary.scope import SearchIndex
from services.search.opensearch import OpenSearchIndexes
from services.search.opensearch_cluster import Limits, connect
from services.search.opensearch_template import Sizing
from services.search.ports import Document, EventType, Filter
from tests.contexts import make_context
from tests.engines.fault_proxy import FaultProxy, Mode
from tests.engines.servers.opensearch import OpenSearch, running

READ_SECONDS = 1.0
RECOVERY_SECONDS = 5.0
LIMITS = Limits(read_seconds=READ_SECONDS, write_seconds=2.0, patience_seconds=1.0)
SMALL_ROOM = "indexing_pressure.memory.limit: 1mb"


@functools.cache
def index_of(tenant_id: str) -> SearchIndex:
    return make_context(tenant_id, audience="search").index


def batch(name: str, size: int = 100, *, subject: str = "sale") -> list[Document]:
    return [
        Document(
            tenant_id=index_of("Faulty").tenant_id,
            event_id=f"{name}-{place}",
            event_type=EventType.OPEN,
            campaign_id="spring",
            timestamp_ms=1_700_000_000_000 + place,
            recipient="anna@example.com",
            message_id="m",
            subject=subject,
            metadata="",
        )
        for place in range(size)
    ]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearch]:
    """A node of these tests' own, with little room for writes."""
    with running(tmp_path_factory.mktemp("faulty"), SMALL_ROOM) as node:
        yield node


@pytest.fixture
async def proxy(node: OpenSearch) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(node.port, delay=0.4) as proxy:
        yield proxy


@pytest.fixture
def index() -> SearchIndex:
    return index_of("Faulty")


@pytest.fixture
async def indexes(proxy: FaultProxy, node: OpenSearch) -> AsyncIterator[OpenSearchIndexes]:
    """The adapter behind the proxy; the cluster `other` is reached directly."""
    adapter = OpenSearchIndexes(
        lambda index: node.url if index.cluster == "other" else proxy.endpoint,
        sizing=lambda _: Sizing(replicas=0),
        limits=LIMITS,
    )
    yield adapter
    await proxy.set_mode(Mode.PASS)
    await recovered(adapter, index_of("Faulty"))
    await adapter.drop(index_of("Faulty"))
    await adapter.aclose()


async def recovered(adapter: OpenSearchIndexes, index: SearchIndex) -> float:
    """How long it takes until a call succeeds again."""
    began = time.monotonic()
    while True:
        try:
            await adapter.count(index, filter=Filter())
        except SiloError:
            assert time.monotonic() - began < RECOVERY_SECONDS
            await asyncio.sleep(0.05)
        else:
            return time.monotonic() - began


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.CUT, Mode.HOLE])
async def test_calls_are_told_in_time_and_go_on_when_the_engine_does(indexes, index, proxy, mode):
    await indexes.bulk(index, batch("before"))
    await proxy.set_mode(mode)
    began = time.monotonic()
    with pytest.raises(Unavailable) as told:
        await indexes.count(index, filter=Filter())
    with pytest.raises(Unavailable):
        await indexes.bulk(index, batch("during"))
    assert time.monotonic() - began < READ_SECONDS + LIMITS.write_seconds + 1
    assert told.value.retry_after
    assert str(proxy.port) not in str(told.value)
    await proxy.set_mode(Mode.PASS)
    await recovered(indexes, index)
    await indexes.bulk(index, batch("during"))
    assert await indexes.count(index, filter=Filter()) == 200


async def test_a_caller_that_gives_up_is_let_go_at_once(indexes, index, proxy):
    await indexes.bulk(index, batch("1"))
    await proxy.set_mode(Mode.HOLE)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await indexes.search(index, filter=Filter(), limit=10)
    assert time.monotonic() - began < 0.5


async def test_a_slow_engine_is_waited_for_and_others_go_at_their_speed(indexes, index, proxy):
    await indexes.bulk(index, batch("1"))
    other = replace(index, cluster="other")
    await indexes.count(other, filter=Filter())
    await proxy.set_mode(Mode.SLOW)
    slow = asyncio.create_task(indexes.count(index, filter=Filter()))
    await asyncio.sleep(0)
    began = time.monotonic()
    assert await indexes.count(other, filter=Filter()) == 100
    assert time.monotonic() - began < proxy.delay
    assert await slow == 100


async def test_an_engine_without_room_is_backed_off_from(indexes, index, node):
    large = [batch(f"large-{number}", 100, subject="s" * 900) for number in range(20)]

    async def write(documents: list[Document]) -> None:
        for _ in range(50):
            try:
                await indexes.bulk(index, documents)
            except ResourceExhausted as error:
                pauses.append(error.retry_after)
                await asyncio.sleep(random.uniform(0.05, 0.5))
            else:
                return
        pytest.fail("the engine never had room")

    pauses: list[float | None] = []
    await asyncio.gather(*(write(documents) for documents in large))
    assert all(pauses)
    assert await rejections(node) > 0
    assert await indexes.count(index, filter=Filter()) == 2_000


async def rejections(node: OpenSearch) -> int:
    """How many writes the node has refused since it started."""
    client = connect(node.url, Limits())
    stats = await client.nodes.stats(metric="indexing_pressure")
    await client.close()
    (found,) = stats["nodes"].values()
    total = found["indexing_pressure"]["memory"]["total"]
    return int(total["coordinating_rejections"] + total["primary_rejections"])


@pytest.mark.timeout(180)
async def test_no_acknowledged_event_is_lost_and_none_is_doubled(indexes, index, proxy, node):
    """10,000 events under faults of every kind, a kill of the engine among them."""
    chance = random.Random(5)
    left = [batch(str(number)) for number in range(100)]
    acknowledged = 0
    ended = asyncio.Event()

    async def write() -> None:
        nonlocal acknowledged
        while left:
            documents = left.pop()
            while True:
                try:
                    await indexes.bulk(index, documents)
                except (Unavailable, ResourceExhausted):
                    await asyncio.sleep(chance.uniform(0.05, 0.3))
                else:
                    break
            acknowledged += len(documents)

    async def disturb() -> None:
        modes = [Mode.CUT, Mode.REFUSE, Mode.HOLE, Mode.SLOW]
        while not ended.is_set():
            await proxy.set_mode(chance.choice(modes))
            await asyncio.sleep(chance.uniform(0.05, 0.2))
            await proxy.set_mode(Mode.PASS)
            await asyncio.sleep(chance.uniform(0.05, 0.3))

    disturbing = asyncio.create_task(disturb())
    writing = [asyncio.create_task(write()) for _ in range(4)]
    await asyncio.sleep(1)
    node.kill()
    await asyncio.to_thread(node.start)
    await asyncio.gather(*writing)
    ended.set()
    await disturbing
    assert acknowledged == 10_000
    assert await recovered(indexes, index) < RECOVERY_SECONDS
    assert await indexes.count(index, filter=Filter()) == 10_000
