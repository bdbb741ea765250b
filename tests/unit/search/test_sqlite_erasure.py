"""One person's events out of the embedded engine: nothing of the address is left in any file, nor in the words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boundary.context import TenantContext
from boundary.subjects import DataSubject
from boundary.tenants import LiveCalls
from services.search.lifecycle import IndexLifecycle
from services.search.ports import Document, EventType, Filter
from services.search.sqlite import SqliteIndexes
from tests.contexts import make_lifecycle_context

ADDRESS = "Qzkanari.Vyxperson@Wqjmailer.example"
PARTS = tuple(
    part[start : start + 6]
    for part in ("qzkanari", "vyxperson", "wqjmailer")
    for start in range(len(part) - 5)
)
"""Every six letters of each word: an index of words leaves out what a word begins with as the one before does."""

BATCHES, SIZE = 40, 25


@pytest.fixture
def tenant() -> TenantContext:
    return make_lifecycle_context("A", audience="search", permissions=["lifecycle.purge"])


@pytest.fixture
async def indexes(tmp_path: Path) -> AsyncIterator[SqliteIndexes]:
    indexes = SqliteIndexes(tmp_path)
    yield indexes
    indexes.close()


def event(tenant: TenantContext, batch: int, place: int) -> Document:
    """An event; one in five is the person's, whose words begin as those of others do."""
    own = place % 5 == 0
    name = f"{batch}-{place}"
    neighbours = ("Qzother", "Vyxother", "Wqother", "other")
    return Document(
        tenant_id=tenant.tenant_id,
        event_id=name,
        event_type=EventType.OPEN,
        campaign_id="spring",
        timestamp_ms=1_700_000_000_000 + batch * SIZE + place,
        recipient=ADDRESS if own else f"{neighbours[place % 4]}{name}@shop.example",
        message_id=f"message-{name}",
        subject=f"Sale {name}",
        metadata=f'{{"to":"{ADDRESS}"}}' if own else "",
        strings=(ADDRESS,) if own else (),
    )


def found_in(folder: Path) -> list[tuple[str, str]]:
    """The files that hold a part of the address, in any case, and the part."""
    return [
        (path.name, part)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for content in [path.read_bytes().lower()]
        for part in PARTS
        if part.encode() in content
    ]


async def seed(indexes: SqliteIndexes, tenant: TenantContext) -> None:
    for batch in range(BATCHES):
        documents = [event(tenant, batch, place) for place in range(SIZE)]
        assert all(await indexes.bulk(tenant.index, documents))


async def test_nothing_of_the_address_is_left_in_the_file_its_words_or_its_log(
    indexes: SqliteIndexes, tenant: TenantContext, tmp_path: Path
) -> None:
    await seed(indexes, tenant)
    subject = DataSubject.parse(ADDRESS, field="email")
    own = Filter(recipient_key=subject.key)
    assert await indexes.count(tenant.index, filter=own) == BATCHES * SIZE // 5
    assert {name.rpartition(".db")[2] for name, _ in found_in(tmp_path)} >= {"-wal"}
    lifecycle = IndexLifecycle(indexes, live_calls=LiveCalls())
    *_, last = [told async for told in lifecycle.erase(tenant, subject)]
    assert last.complete
    assert last.deleted == BATCHES * SIZE // 5
    assert found_in(tmp_path) == []
    traces = await lifecycle.trace(tenant, subject)
    assert (traces.events, traces.mentions) == (0, 0)
    assert await indexes.count(tenant.index, filter=Filter()) == BATCHES * SIZE * 4 // 5
    others = Filter(phrases=("shop example",))
    assert await indexes.count(tenant.index, filter=others) == BATCHES * SIZE * 4 // 5


async def test_an_erasure_that_was_cut_off_before_the_scrubbing_is_finished_by_the_next(
    indexes: SqliteIndexes, tenant: TenantContext, tmp_path: Path
) -> None:
    await seed(indexes, tenant)
    subject = DataSubject.parse(ADDRESS, field="email")
    assert await indexes.erase(tenant.index, subject.key, limit=1000)
    assert found_in(tmp_path)
    lifecycle = IndexLifecycle(indexes, live_calls=LiveCalls())
    *_, last = [told async for told in lifecycle.erase(tenant, subject)]
    assert (last.deleted, last.complete) == (0, True)
    assert found_in(tmp_path) == []


async def test_nothing_is_left_of_the_only_recipient_there_is(
    indexes: SqliteIndexes, tenant: TenantContext, tmp_path: Path
) -> None:
    assert all(await indexes.bulk(tenant.index, [event(tenant, 0, 0)]))
    assert found_in(tmp_path)
    subject = DataSubject.parse(ADDRESS, field="email")
    lifecycle = IndexLifecycle(indexes, live_calls=LiveCalls())
    *_, last = [told async for told in lifecycle.erase(tenant, subject)]
    assert (last.deleted, last.complete) == (1, True)
    assert found_in(tmp_path) == []


async def test_an_erasure_may_share_its_transaction_with_what_it_erases(
    indexes: SqliteIndexes, tenant: TenantContext, tmp_path: Path
) -> None:
    await indexes.create(tenant.index)
    subject = DataSubject.parse(ADDRESS, field="email")
    for batch in range(5):
        ingest = indexes.bulk(tenant.index, [event(tenant, batch, 0)])
        await asyncio.gather(ingest, indexes.erase(tenant.index, subject.key, limit=10))
    assert found_in(tmp_path)
    lifecycle = IndexLifecycle(indexes, live_calls=LiveCalls())
    *_, last = [told async for told in lifecycle.erase(tenant, subject)]
    assert last.complete
    assert found_in(tmp_path) == []
