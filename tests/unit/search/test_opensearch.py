"""What the OpenSearch adapter sends, and what it makes of answers that a healthy cluster does not give."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web

from boundary.errors import Internal, InvalidArgument, ResourceExhausted, SiloError, Unavailable
from boundary.guard import GuardViolation
from boundary.scope import SearchIndex
from services.search.opensearch import OpenSearchIndexes
from services.search.opensearch_cluster import Limits
from services.search.opensearch_refresh import SharedRefresh
from services.search.ports import Document, EventType, Filter, Position
from tests.contexts import make_context

ENGINES_WORDS = "a secret of the engine"


@functools.cache
def index_of(tenant_id: str) -> SearchIndex:
    return make_context(tenant_id, audience="search").index


def batch(size: int, tenant_id: str = "A", **fields: Any) -> list[Document]:
    values: dict[str, Any] = {
        "tenant_id": index_of(tenant_id).tenant_id,
        "event_type": EventType.OPEN,
        "campaign_id": "spring",
        "timestamp_ms": 1_700_000_000_000,
        "recipient": "anna@example.com",
        "message_id": "m",
        "subject": "sale",
        "metadata": "",
        **fields,
    }
    return [Document(event_id=str(number), **values) for number in range(size)]


Answer = tuple[int, Any]


def failure(status: int, kind: str) -> Answer:
    error = {"type": kind, "reason": ENGINES_WORDS}
    return status, {"error": {"root_cause": [error], **error}, "status": status}


@dataclass
class Engine:
    """Plays a cluster: answers as told, and remembers what it was asked."""

    url: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    scripted: dict[str, list[Answer]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    refuse: Callable[[int, int], bool] = lambda _place, _many: False

    def script(self, what: str, *answers: Answer) -> None:
        """The next answers to requests whose path ends so."""
        self.scripted.setdefault(what, []).extend(answers)

    def sent(self, what: str) -> list[str]:
        return [body for _, path, body in self.requests if path.endswith(what)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.text()
        self.requests.append((request.method, request.path, body))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        for what, answers in self.scripted.items():
            if request.path.endswith(what) and answers:
                status, answer = answers.pop(0)
                if isinstance(answer, str):
                    return web.Response(text=answer, status=status, content_type="text/html")
                return web.json_response(answer, status=status)
        status, answer = self.answer(request, body)
        return web.json_response(answer, status=status)

    def answer(self, request: web.Request, body: str) -> Answer:
        name = request.path.split("/")[1]
        if request.path.endswith("/_mapping"):
            if name not in self.owners:
                return failure(404, "index_not_found_exception")
            return 200, {name: {"mappings": {"_meta": {"tenantId": self.owners[name]}}}}
        if request.path.endswith("/_bulk"):
            ids = [json.loads(line)["create"]["_id"] for line in body.splitlines()[::2]]
            index = "email-analytics-tenant-" + name.removeprefix("email-tenant-")
            return 200, {
                "errors": True,
                "items": [self.item(index, n, len(ids)) for n in range(len(ids))],
            }
        if request.path.endswith("/_search"):
            return 200, found()
        if request.path.endswith("/_refresh"):
            return 200, {"_shards": {"failed": 0}}
        if request.path.endswith("/point_in_time"):
            return 200, {"pit_id": "pit"}
        if request.method == "PUT" and name.startswith("email-analytics"):
            self.owners[name] = json.loads(body)["mappings"]["_meta"]["tenantId"]
        return 200, {"acknowledged": True}

    def item(self, index: str, place: int, many: int) -> dict[str, Any]:
        if self.refuse(place, many):
            error = {"type": "opensearch_rejected_execution_exception"}
            return {"create": {"_index": index, "status": 429, "error": error}}
        return {"create": {"_index": index, "status": 201}}


def found(*hits: dict[str, Any], failed: int = 0) -> dict[str, Any]:
    return {
        "timed_out": False,
        "_shards": {"failed": failed},
        "hits": {"total": {"value": len(hits)}, "hits": list(hits)},
    }


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", engine.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    engine.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield engine
    await runner.cleanup()


@pytest.fixture
async def indexes(engine: Engine) -> AsyncIterator[OpenSearchIndexes]:
    adapter = OpenSearchIndexes(
        lambda _: engine.url, limits=Limits(read_seconds=2, write_seconds=2, patience_seconds=0.3)
    )
    yield adapter
    await adapter.aclose()


async def test_a_batch_names_its_alias_in_the_path_and_no_index_in_its_lines(indexes, engine):
    await indexes.bulk(index_of("A"), batch(3, metadata='{"create":{"_index":"b"}}'))
    method, path, body = engine.requests[-1]
    assert (method, path) == ("POST", "/email-tenant-a/_bulk")
    for action in body.splitlines()[::2]:
        assert set(json.loads(action)["create"]) == {"_id"}


async def test_the_first_batch_makes_template_index_and_alias(indexes, engine):
    await indexes.bulk(index_of("A"), batch(1))
    await indexes.bulk(index_of("A"), batch(1))
    await indexes.bulk(index_of("B"), batch(1, "B"))
    puts = [path for method, path, _ in engine.requests if method == "PUT"]
    assert puts == [
        "/_index_template/email-analytics-tenant",
        "/email-analytics-tenant-a",
        "/email-analytics-tenant-b",
    ]


async def test_many_tenants_have_one_client(indexes, engine):
    tenants = [index_of(f"t{number}") for number in range(50)]
    await asyncio.gather(*(indexes.count(index, filter=Filter()) for index in tenants))
    assert indexes.client_count == 1


async def test_refused_events_alone_are_sent_again_in_smaller_requests(indexes, engine):
    engine.refuse = lambda place, _many: place >= 30
    assert list(await indexes.bulk(index_of("A"), batch(100))) == [True] * 100
    sizes = [len(body.splitlines()) // 2 for body in engine.sent("/_bulk")]
    assert sizes == [100, 50, 25, 15]


async def test_an_engine_that_goes_on_refusing_is_given_up_on(indexes, engine):
    engine.refuse = lambda _place, _many: True
    with pytest.raises(ResourceExhausted) as told:
        await indexes.bulk(index_of("A"), batch(100))
    assert told.value.retry_after
    assert 2 <= len(engine.sent("/_bulk")) <= 12


async def test_a_request_that_is_refused_as_a_whole_is_tried_again(indexes, engine):
    engine.script("/_bulk", failure(429, "circuit_breaking_exception"))
    assert list(await indexes.bulk(index_of("A"), batch(40))) == [True] * 40


async def test_a_full_disk_is_told_as_one(indexes, engine):
    engine.script("/_bulk", *[failure(429, "cluster_block_exception")] * 20)
    with pytest.raises(ResourceExhausted) as told:
        await indexes.bulk(index_of("A"), batch(1))
    assert told.value.reason == "STORAGE_FULL"


async def test_an_index_that_is_dropped_under_a_batch_is_made_again(indexes, engine):
    await indexes.create(index_of("A"))
    gone = {
        "_index": "email-tenant-a",
        "status": 404,
        "error": {"type": "index_not_found_exception"},
    }
    engine.script("/_bulk", (200, {"errors": True, "items": [{"create": gone}] * 2}))
    assert list(await indexes.bulk(index_of("A"), batch(2))) == [True, True]


async def test_a_write_whose_outcome_is_unknown_is_not_repeated(indexes, engine):
    engine.script("/_bulk", failure(503, "unavailable_shards_exception"))
    with pytest.raises(Unavailable):
        await indexes.bulk(index_of("A"), batch(1))
    assert len(engine.sent("/_bulk")) == 1


async def test_a_read_is_repeated_a_few_times(indexes, engine):
    engine.owners[index_of("A").name] = "A"
    engine.script("/_search", *[failure(503, "no_shard_available_action_exception")] * 2)
    assert await indexes.count(index_of("A"), filter=Filter()) == 0
    assert len(engine.sent("/_search")) == 3


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failure(500, "whatever"), Unavailable),
        (failure(503, "cluster_manager_not_discovered_exception"), Unavailable),
        (failure(429, "rejected_execution_exception"), ResourceExhausted),
        (failure(401, "security_exception"), Unavailable),
        (failure(403, "security_exception"), Unavailable),
        (failure(400, "parsing_exception"), Internal),
        ((200, found(failed=1)), Unavailable),
        ((502, f"<p>{ENGINES_WORDS}"), Unavailable),
        ((200, "<p>no json"), Unavailable),
    ],
)
async def test_no_word_of_the_engines_reaches_the_caller(indexes, engine, answer, expected):
    engine.owners[index_of("A").name] = "A"
    engine.script("/_search", *[answer] * 4)
    with pytest.raises(expected) as told:
        await indexes.count(index_of("A"), filter=Filter())
    error = told.value
    assert isinstance(error, SiloError)
    assert ENGINES_WORDS not in f"{error} {error.message} {error.metadata}"


async def test_an_event_of_another_index_stops_the_page(indexes, engine):
    engine.owners[index_of("A").name] = "A"
    engine.script("/_search", (200, found({"_index": index_of("B").name, "_source": {}})))
    with pytest.raises(GuardViolation):
        await indexes.search(index_of("A"), filter=Filter(), limit=10)


async def test_a_snapshot_of_another_index_is_not_sent(indexes, engine):
    snapshot = f"{index_of('B').name}|pit"
    position = Position(snapshot=snapshot, timestamp_ms=1, event_id="1")
    with pytest.raises(GuardViolation):
        await indexes.search(index_of("A"), filter=Filter(), limit=10, position=position)
    assert engine.requests == []


@pytest.mark.parametrize("snapshot", ["", "17", "email-analytics-tenant-a|"])
async def test_a_snapshot_of_another_engine_is_refused(indexes, snapshot):
    position = Position(snapshot=snapshot, timestamp_ms=1, event_id="1")
    with pytest.raises(InvalidArgument):
        await indexes.search(index_of("A"), filter=Filter(), limit=10, position=position)


async def test_a_snapshot_that_is_no_more_asks_for_a_new_search(indexes, engine):
    engine.owners[index_of("A").name] = "A"
    engine.script("/_search", failure(404, "search_context_missing_exception"))
    position = Position(snapshot=f"{index_of('A').name}|pit", timestamp_ms=1, event_id="1")
    with pytest.raises(InvalidArgument) as told:
        await indexes.search(index_of("A"), filter=Filter(), limit=10, position=position)
    assert told.value.field == "page_token"


async def test_a_search_of_one_page_opens_no_point_in_time_and_others_close_theirs(indexes, engine):
    engine.owners[index_of("A").name] = "A"

    def hits(many: int) -> Answer:
        source = {
            "tenantId": "A",
            "eventId": "1",
            "eventType": "OPEN",
            "campaignId": "",
            "timestamp": 1,
            "recipient": "a",
            "messageId": "",
            "subject": "",
        }
        return 200, found(*[{"_index": index_of("A").name, "_source": source}] * many)

    engine.script("/_search", hits(2))
    page = await indexes.search(index_of("A"), filter=Filter(), limit=2)
    assert not page.more
    assert engine.sent("/point_in_time") == []
    engine.script("/_search", hits(3), hits(3), hits(1))
    page = await indexes.search(index_of("A"), filter=Filter(), limit=2)
    assert page.more
    behind = Position(snapshot=page.snapshot, timestamp_ms=1, event_id="1")
    await indexes.search(index_of("A"), filter=Filter(), limit=2, position=behind)
    await indexes.aclose()
    methods = [method for method, path, _ in engine.requests if path.endswith("/point_in_time")]
    assert methods == ["POST", "DELETE"]


async def test_what_another_tenant_owns_is_not_dropped(indexes, engine):
    engine.owners[index_of("acme").name] = "Acme"
    with pytest.raises(GuardViolation):
        await indexes.drop(index_of("acme"))
    assert not [method for method, _, _ in engine.requests if method == "DELETE"]


async def test_a_name_out_of_grammar_is_not_sent(indexes, engine):
    with pytest.raises(GuardViolation):
        await indexes.count(replace(index_of("A"), name="_all"), filter=Filter())
    assert engine.requests == []


async def test_searches_at_once_share_a_refresh_that_began_after_they_did():
    running = asyncio.Event()
    go_on = asyncio.Event()
    refreshes = 0

    async def refresh() -> None:
        nonlocal refreshes
        refreshes += 1
        running.set()
        await go_on.wait()

    shared = SharedRefresh()
    first = asyncio.create_task(shared.after_now(refresh))
    await running.wait()
    later = [asyncio.create_task(shared.after_now(refresh)) for _ in range(10)]
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(first, *later)
    assert refreshes == 2


async def test_a_refresh_that_fails_is_nobody_elses():
    async def fail() -> None:
        await asyncio.sleep(0)
        raise Unavailable("ENGINE_UNAVAILABLE", "")

    done = 0

    async def refresh() -> None:
        nonlocal done
        done += 1

    shared = SharedRefresh()
    failing = asyncio.create_task(shared.after_now(fail))
    await asyncio.sleep(0)
    await shared.after_now(refresh)
    with pytest.raises(Unavailable):
        await failing
    assert done == 1


async def test_closing_from_another_thread_ends_what_is_open(engine):
    adapter = OpenSearchIndexes(lambda _: engine.url)
    adapter.close()  # nothing was opened yet
    await adapter.count(index_of("A"), filter=Filter())
    await asyncio.to_thread(adapter.close)
