"""Which calls the DynamoDB adapter makes again, and what its caller is told."""

import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiodynamo.client import Client
from aiodynamo.credentials import Credentials, Key
from aiodynamo.http.types import Request, RequestFailed, Response
from aiohttp import web
from yarl import URL

from boundary.context import serving
from boundary.errors import Aborted, ResourceExhausted, SiloError, Unavailable
from boundary.retries import RetryBudget
from services.table.dynamodb import DynamoTable
from services.table.dynamodb_calls import (
    MAX_ATTEMPTS,
    MAX_CONFLICTS,
    Calls,
    Http,
    OneAttempt,
)
from services.table.ports import (
    ABSENT,
    Check,
    Condition,
    ConditionFailed,
    Delete,
    ItemTooLarge,
    Put,
    Range,
    Update,
)
from tests.contexts import make_context

A = make_context("A").partition

Answer = Response | Exception


def answer(**body: Any) -> Response:
    return Response(200, json.dumps(body).encode())


def error(code: str, status: int = 400, **body: Any) -> Response:
    body["__type"] = f"com.amazonaws.dynamodb.v20120810#{code}"
    return Response(status, json.dumps(body).encode())


def cancelled(*codes: str, **first: Any) -> Response:
    reasons = [{"Code": code} for code in codes]
    reasons[0] |= first
    return error("TransactionCanceledException", CancellationReasons=reasons)


OK = answer()
FAILED = error("InternalServerError", 500)
LOST = RequestFailed(aiohttp.ServerDisconnectedError())
UNREACHED = RequestFailed(aiohttp.ConnectionTimeoutError())


class Rotating(Credentials):
    """Credentials that become others once they are called invalid."""

    def __init__(self) -> None:
        self.generation = 0

    async def get_key(self, http: object) -> Key | None:
        return Key(id=f"key-{self.generation}", secret="secret", token="token")

    def invalidate(self) -> bool:
        self.generation += 1
        return True

    def is_disabled(self) -> bool:
        return False


class Engine:
    """An engine that answers by a script, the last answer again and again, and notes what it was asked."""

    def __init__(self, *script: Answer) -> None:
        self._script = list(script)
        self.requests: list[Request] = []
        self.waits: list[float] = []
        client = Client(self, Rotating(), "local", throttle_config=OneAttempt())
        budget = RetryBudget(most=100, clock=lambda: 0.0)
        self.table = DynamoTable(Calls(client, budget=budget, sleep=self._sleep), clock=lambda: 1e9)

    async def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        each = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(each, Exception):
            raise each
        return each

    async def _sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body or b"") for request in self.requests]


READS: list[Callable[[DynamoTable], Any]] = [
    lambda table: table.get(A, "k"),
    lambda table: table.batch_get(A, ["k"]),
    lambda table: table.query(A, keys=Range(), limit=1),
    lambda table: table.write(A, Check(sort_key="k", condition=ABSENT)),
]
WRITES: list[Callable[[DynamoTable], Any]] = [
    lambda table: table.write(A, Put(sort_key="k", item={"a": 1})),
    lambda table: table.write(A, Delete(sort_key="k")),
    lambda table: table.write(A, Update(sort_key="k", set={"a": 1})),
    lambda table: table.transact([(A, Update(sort_key="k", add={"a": 1}))]),
]


def add(table: DynamoTable) -> Any:
    return table.write(A, Update(sort_key="k", add={"a": 1}))


@pytest.mark.parametrize("call", READS + WRITES)
@pytest.mark.parametrize("failure", [FAILED, LOST, UNREACHED, TimeoutError(), Response(200, b"{")])
async def test_what_may_be_repeated_is(call: Callable[[DynamoTable], Any], failure: Answer):
    empty = answer(Items=[], Responses={}, Attributes={"a": {"N": "1"}})
    engine = Engine(failure, failure, empty)
    await call(engine.table)
    assert len(engine.requests) == 3
    assert len(engine.waits) == 2
    assert all(0 <= wait <= 0.5 for wait in engine.waits)


@pytest.mark.parametrize("call", READS + WRITES + [add])
@pytest.mark.parametrize(
    ("failure", "kind", "reason", "attempts"),
    [
        (UNREACHED, Unavailable, "TABLE_UNAVAILABLE", MAX_ATTEMPTS),
        (error("ThrottlingException"), ResourceExhausted, "TABLE_THROTTLED", MAX_ATTEMPTS),
        (error("RequestLimitExceeded"), ResourceExhausted, "TABLE_THROTTLED", MAX_ATTEMPTS),
        (
            error("ProvisionedThroughputExceededException"),
            ResourceExhausted,
            "TABLE_THROTTLED",
            MAX_ATTEMPTS,
        ),
        (error("TransactionConflictException"), Aborted, "CONTENTION", MAX_CONFLICTS),
        (error("ExpiredTokenException"), Unavailable, "TABLE_UNAVAILABLE", MAX_ATTEMPTS),
        (error("AccessDeniedException", Message="arn:x"), Unavailable, "TABLE_UNAVAILABLE", 1),
        (error("ResourceNotFoundException"), Unavailable, "TABLE_UNAVAILABLE", 1),
        (error("InvalidSignatureException"), Unavailable, "TABLE_UNAVAILABLE", 1),
    ],
)
async def test_what_was_not_made_is_repeated_within_bounds_and_told(
    call: Callable[[DynamoTable], Any],
    failure: Answer,
    kind: type[SiloError],
    reason: str,
    attempts: int,
):
    engine = Engine(failure)
    with pytest.raises(kind) as told:
        await call(engine.table)
    assert told.value.reason == reason
    assert told.value.retry_after is not None
    assert "arn" not in str(told.value)
    assert len(engine.requests) == attempts


@pytest.mark.parametrize("failure", [FAILED, LOST, TimeoutError(), Response(200, b"{")])
async def test_an_addition_that_may_have_been_made_is_not_repeated(failure: Answer):
    engine = Engine(failure, OK)
    with pytest.raises(Unavailable) as told:
        await add(engine.table)
    assert told.value.reason == "TABLE_OUTCOME_UNKNOWN"
    assert len(engine.requests) == 1


async def test_an_addition_that_was_not_made_is_repeated():
    made = answer(Attributes={"a": {"N": "1"}})
    engine = Engine(UNREACHED, error("ThrottlingException"), made)
    assert await add(engine.table) == {"a": 1}


async def test_a_transaction_is_repeated_under_its_token():
    engine = Engine(LOST, cancelled("TransactionConflict", "None"), OK)
    await engine.table.transact([(A, Put(sort_key=key, item={})) for key in ("k", "l")])
    await engine.table.transact([(A, Put(sort_key="k", item={}))])
    tokens = [body["ClientRequestToken"] for body in engine.bodies()]
    assert tokens[0] == tokens[1] == tokens[2] != tokens[3]
    assert len(tokens[0]) <= 36


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (("None", "ThrottlingError"), ResourceExhausted),
        (("TransactionConflict", "ProvisionedThroughputExceeded"), ResourceExhausted),
        (("TransactionConflict", "None"), Aborted),
    ],
)
async def test_a_cancelled_transaction_says_why(codes: tuple[str, ...], kind: type[SiloError]):
    engine = Engine(cancelled(*codes))
    with pytest.raises(kind):
        await engine.table.transact([(A, Put(sort_key=key, item={})) for key in ("k", "l")])


async def test_a_failed_condition_outweighs_a_conflict():
    engine = Engine(cancelled("TransactionConflict", "ConditionalCheckFailed"))
    with pytest.raises(ConditionFailed) as failed:
        await engine.table.transact([(A, Put(sort_key=key, item={})) for key in ("k", "l")])
    assert failed.value.index == 1


async def test_a_transaction_names_the_item_that_is_too_large():
    text = "Item size to update has exceeded the maximum allowed size"
    engine = Engine(
        error(
            "TransactionCanceledException",
            CancellationReasons=[{"Code": "None"}, {"Code": "ValidationError", "Message": text}],
        )
    )
    with pytest.raises(ItemTooLarge) as refused:
        await engine.table.transact([(A, Put(sort_key=key, item={})) for key in ("k", "l")])
    assert refused.value.index == 1


NOT_HELD = "ConditionalCheckFailedException"


@pytest.mark.parametrize(
    ("write", "stored", "made"),
    [
        (Put(sort_key="k", item={"a": 1}, condition=ABSENT), {"a": {"N": "1"}}, {"a": 1}),
        (
            Update(sort_key="k", set={"a": 1}, remove=["b"], condition=Condition(equals={"b": 1})),
            {"a": {"N": "1"}, "c": {"S": "x"}},
            {"a": 1, "c": "x"},
        ),
        (Delete(sort_key="k", condition=Condition(exists=True)), None, None),
    ],
)
async def test_a_write_that_was_made_unheard_does_not_fail_on_itself(
    write: Put | Update | Delete, stored: Any, made: Any
):
    item = {} if stored is None else {"Item": stored}
    engine = Engine(LOST, error(NOT_HELD, **item))
    assert await engine.table.write(A, write) == made
    heard = Engine(error(NOT_HELD, **item))
    with pytest.raises(ConditionFailed):
        await heard.table.write(A, write)


async def test_a_condition_that_another_write_broke_fails():
    engine = Engine(LOST, error(NOT_HELD, Item={"a": {"N": "2"}}))
    with pytest.raises(ConditionFailed) as failed:
        await engine.table.write(A, Put(sort_key="k", item={"a": 1}, condition=ABSENT))
    assert failed.value.existing == {"a": 2}


EXPIRED = {"a": {"N": "40"}, "expires_at": {"N": "1"}}
"""What is stored of an item that is no longer there."""


async def test_an_update_and_a_renewal_of_the_item_by_another_both_count():
    renewed = error(NOT_HELD, Item={"a": {"N": "1"}})
    engine = Engine(error(NOT_HELD, Item=EXPIRED), renewed, answer(Attributes={"a": {"N": "2"}}))
    assert await add(engine.table) == {"a": 2}
    actions = [(request.headers or {})["X-Amz-Target"] for request in engine.requests]
    assert [action.partition(".")[2] for action in actions] == [
        "UpdateItem",
        "PutItem",
        "UpdateItem",
    ]


async def test_a_transaction_and_a_renewal_by_another_both_count():
    expired = cancelled("ConditionalCheckFailed", "None", Item=EXPIRED)
    renewed = cancelled("ConditionalCheckFailed", "None", Item={"a": {"N": "1"}})
    engine = Engine(expired, renewed, OK)
    writes = [Update(sort_key="k", add={"a": 1}), Put(sort_key="l", item={})]
    await engine.table.transact([(A, write) for write in writes])
    bodies = engine.bodies()
    assert [next(iter(body["TransactItems"][0])) for body in bodies] == ["Update", "Put", "Update"]
    assert len({body["ClientRequestToken"] for body in bodies}) == 3  # each asks for something else


async def test_an_item_that_is_renewed_without_end_is_contended():
    engine = Engine(error(NOT_HELD, Item=EXPIRED))
    with pytest.raises(Aborted):
        await add(engine.table)
    engine = Engine(cancelled("ConditionalCheckFailed", Item=EXPIRED))
    with pytest.raises(Aborted):
        await engine.table.transact([(A, Update(sort_key="k", add={"a": 1}))])


async def test_credentials_that_expired_are_replaced():
    engine = Engine(error("ExpiredTokenException"), OK)
    await engine.table.get(A, "k")
    keys = [(request.headers or {})["Authorization"] for request in engine.requests]
    assert "key-0/" in keys[0]
    assert "key-1/" in keys[1]


async def test_a_batch_that_gets_nowhere_is_given_up():
    unprocessed = {A.table: {"Keys": [{"PK": {"S": A.key}, "SK": {"S": "k"}}]}}
    engine = Engine(answer(Responses={}, UnprocessedKeys=unprocessed))
    with pytest.raises(ResourceExhausted):
        await engine.table.batch_get(A, ["k"])
    assert len(engine.requests) == MAX_ATTEMPTS


async def test_an_engine_in_trouble_is_not_asked_ever_more():
    engine = Engine(FAILED)
    for _ in range(200):
        with pytest.raises(Unavailable):
            await engine.table.get(A, "k")
    assert len(engine.requests) == 300  # the calls themselves, and the budget


async def test_no_connection_is_told_as_the_client_expects():
    async with aiohttp.ClientSession() as session:
        http = Http(session, URL("http://127.0.0.1:1/"))
        with pytest.raises(RequestFailed):
            await http(Request(method="POST", url="http://127.0.0.1:1/", headers={}, body=b""))


async def test_credentials_have_their_own_urls_and_the_engine_the_host_that_was_signed():
    seen: list[tuple[str, str, int]] = []

    async def answer_request(request: web.BaseRequest) -> web.Response:
        seen.append((request.headers["Host"], request.path, len(await request.read())))
        return web.Response(text="{}")

    server = web.ServerRunner(web.Server(answer_request))
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{server.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        http = Http(session, URL(f"{base}/"))
        for path, body in (("/", b"x" * 2**20), ("/latest/meta-data", b"")):
            request = Request(method="POST", url=base + path, headers={}, body=body)
            assert await http(request) == Response(200, b"{}")
    await server.cleanup()
    assert seen == [("127.0.0.1", "/", 2**20), (base[7:], "/latest/meta-data", 0)]


async def test_a_throttled_tenant_leaves_the_others_a_second_attempt():
    engine = Engine(error("ThrottlingException"))
    with serving(make_context("A")):
        for _ in range(50):
            with pytest.raises(ResourceExhausted):
                await engine.table.get(A, "k")
    asked = len(engine.requests)
    assert asked == 50 + 20  # a fifth of the engine's budget
    with serving(make_context("B")), pytest.raises(ResourceExhausted):
        await engine.table.get(make_context("B").partition, "k")
    assert len(engine.requests) == asked + MAX_ATTEMPTS
