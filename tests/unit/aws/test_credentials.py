"""One shared client, many tenants: every request is signed with the key of the tenant it is for."""

from __future__ import annotations

import asyncio
import contextvars
import json
import random
import re
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from aiodynamo.client import Client
from aiodynamo.credentials import Key
from aiodynamo.http.types import Request, Response
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from moto import mock_aws

from boundary.context import serving
from boundary.errors import ResourceExhausted, Unavailable
from boundary.guard import GuardViolation
from services.aws.botocore_credentials import TenantCalls, tenant_boto3_session
from services.aws.dynamodb_credentials import TenantDynamoCredentials
from services.aws.policy import session_policy
from services.aws.process_credentials import ProcessDynamoCredentials
from services.aws.sessions import IssuedKey, SessionRequest, TenantSessions
from services.aws.sts import StsIssuer, sts_client
from tests.unit.aws.tenants import ROLE, ROLES, Clock, FakeIssuer, context_of

TENANTS = {name: context_of(name) for name in ("A", "A-1", "AB", "a1", "B")}
_CREDENTIAL = re.compile(r"Credential=(.+)/\d{8}/")


def signer_of(authorization: str) -> str:
    """The tenant whose key signed: the tests' keys are `{tenantId}/{n}`."""
    match = _CREDENTIAL.search(authorization)
    assert match is not None
    return match[1].rpartition("/")[0]


@pytest.fixture
def sessions() -> Iterator[TenantSessions]:
    sessions = TenantSessions(service="data", roles=ROLES, issuer=FakeIssuer())
    yield sessions
    sessions.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


class Wire:
    """Stands where the client would send: records who signed for whom, and answers an empty item."""

    def __init__(self, client) -> None:
        self.signed: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        client.meta.events.register("before-send.dynamodb.*", self)

    def __call__(self, request, **_) -> AWSResponse:
        meant = json.loads(request.body)["Key"]["PK"]["S"].removeprefix("TENANT#")
        header = request.headers["Authorization"]
        signer = signer_of(header.decode() if isinstance(header, bytes) else header)
        with self._lock:
            self.signed.append((meant, signer))
        time.sleep(random.random() * 0.002)

        class Raw:
            def stream(self, *_, **__):
                yield b"{}"

        return AWSResponse(request.url, 200, {"x-amz-crc32": "2745614147"}, Raw())


def shared_client(sessions: TenantSessions):
    return tenant_boto3_session(sessions).client(
        "dynamodb",
        region_name="eu-central-1",
        config=Config(retries={"total_max_attempts": 1}, max_pool_connections=4),
    )


def get_item(client, tenant_id: str):
    return lambda: client.get_item(
        TableName="EmailPlatform", Key={"PK": {"S": f"TENANT#{tenant_id}"}, "SK": {"S": "CONFIG"}}
    )


async def test_a_shared_boto3_client_signs_each_call_for_its_tenant(sessions, threads):
    client = shared_client(sessions)
    wire = Wire(client)
    calls = TenantCalls(sessions, threads)

    async def one(tenant_id: str) -> None:
        with serving(TENANTS[tenant_id]):
            await asyncio.sleep(random.random() * 0.01)
            await calls.run(get_item(client, tenant_id))

    tasks = [asyncio.create_task(one(name)) for _ in range(60) for name in TENANTS]
    for task in random.sample(tasks, 60):  # calls that are given up, their threads reused
        asyncio.get_running_loop().call_later(random.random() * 0.05, task.cancel)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(result is None or isinstance(result, asyncio.CancelledError) for result in ended)
    assert len(wire.signed) >= 240
    assert {signer for _, signer in wire.signed} == set(TENANTS)
    assert [pair for pair in wire.signed if pair[0] != pair[1]] == []


async def test_a_reused_thread_keeps_no_tenant(sessions):
    client = shared_client(sessions)
    wire = Wire(client)
    with ThreadPoolExecutor(1) as one_thread:
        calls = TenantCalls(sessions, one_thread)
        with serving(TENANTS["A"]):
            await calls.run(get_item(client, "A"))
        loop = asyncio.get_running_loop()
        with pytest.raises(GuardViolation):
            await loop.run_in_executor(one_thread, get_item(client, "A"))
        with pytest.raises(GuardViolation):
            await calls.run(get_item(client, "A"))
    assert wire.signed == [("A", "A")]


async def test_the_clients_own_credentials_are_no_way_out(sessions, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "AMBIENT")
    client = shared_client(sessions)
    wire = Wire(client)
    with pytest.raises(GuardViolation):
        await asyncio.to_thread(get_item(client, "A"))
    assert wire.signed == []


async def test_a_presigned_url_is_the_tenants(sessions):
    client = tenant_boto3_session(sessions).client("s3", region_name="eu-central-1")
    with serving(TENANTS["A-1"]):
        url = client.generate_presigned_url(
            "get_object", Params={"Bucket": "b", "Key": "tenant-a-1/x"}
        )
    assert re.search(r"AWSAccessKeyId=A-1%2F1|X-Amz-Credential=A-1%2F1", url)
    with pytest.raises(GuardViolation):
        client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "tenant-a-1/x"})


async def test_without_a_session_nothing_is_sent(threads):
    issuer = FakeIssuer()
    issuer.failing = True
    sessions = TenantSessions(service="data", roles=ROLES, issuer=issuer)
    client = shared_client(sessions)
    wire = Wire(client)
    with serving(TENANTS["A"]):
        with pytest.raises(Unavailable):
            await TenantCalls(sessions, threads).run(get_item(client, "A"))
        with pytest.raises(Unavailable):
            await asyncio.to_thread(get_item(client, "A"))
    assert wire.signed == []
    sessions.close()


class AioWire:
    """As Wire, for aiodynamo."""

    def __init__(self) -> None:
        self.signed: list[tuple[str, str]] = []
        self.expire: set[str] = set()

    async def __call__(self, request: Request) -> Response:
        meant = json.loads(request.body or b"")["Key"]["PK"]["S"].removeprefix("TENANT#")
        signer = signer_of((request.headers or {})["Authorization"])
        self.signed.append((meant, signer))
        await asyncio.sleep(random.random() * 0.002)
        if meant in self.expire:
            self.expire.remove(meant)
            body = {"__type": "com.amazonaws.dynamodb.v20120810#ExpiredTokenException"}
            return Response(status=400, body=json.dumps(body).encode())
        return Response(status=200, body=b"{}")


async def aio_get(client: Client, tenant_id: str) -> None:
    payload = {"TableName": "EmailPlatform", "Key": {"PK": {"S": f"TENANT#{tenant_id}"}}}
    await client.send_request(action="GetItem", payload=payload)


async def test_a_shared_aiodynamo_client_signs_each_call_for_its_tenant(sessions):
    wire = AioWire()
    client = Client(http=wire, credentials=TenantDynamoCredentials(sessions), region="eu-central-1")

    async def one(tenant_id: str) -> None:
        with serving(TENANTS[tenant_id]):
            for _ in range(5):
                await aio_get(client, tenant_id)

    tasks = [asyncio.create_task(one(name)) for _ in range(40) for name in TENANTS]
    for task in random.sample(tasks, 40):
        asyncio.get_running_loop().call_later(random.random() * 0.02, task.cancel)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert {signer for _, signer in wire.signed} == set(TENANTS)
    assert [pair for pair in wire.signed if pair[0] != pair[1]] == []
    with pytest.raises(GuardViolation):
        await aio_get(client, "A")


async def test_aiodynamo_asks_anew_when_the_engine_calls_a_session_expired(sessions, monkeypatch):
    monkeypatch.setattr("services.aws.sessions._TOO_YOUNG_SECONDS", 0)
    wire = AioWire()
    client = Client(http=wire, credentials=TenantDynamoCredentials(sessions), region="eu-central-1")
    with serving(TENANTS["A"]):
        await sessions.ensure()
        wire.expire.add("A")
        await aio_get(client, "A")
        assert (await sessions.ensure()).key.access_key == "A/2"
    assert wire.signed == [("A", "A"), ("A", "A")]


class AwsLikeIssuer:
    """Keys as long as AWS makes them for a session with a policy and tags."""

    def assume(self, request: SessionRequest) -> IssuedKey:
        text = f"{request.tenant_id:x<1400}"
        return IssuedKey(access_key=text[:20], secret_key=text[-40:], token=text + "=")


async def test_a_thousand_tenants_cost_little_and_no_client(threads, monkeypatch):
    made: list[str] = []
    create = boto3.Session.client
    monkeypatch.setattr(
        boto3.Session, "client", lambda self, *a, **k: made.append(a[0]) or create(self, *a, **k)
    )
    contexts = [context_of(f"Tenant-{number}") for number in range(1000)]
    sessions = TenantSessions(service="data", roles=ROLES, issuer=AwsLikeIssuer())
    client = shared_client(sessions)
    Wire(client)
    aio = Client(http=AioWire(), credentials=TenantDynamoCredentials(sessions), region="r")
    calls = TenantCalls(sessions, threads)
    with serving(TENANTS["A"]):  # what is made once, whoever comes first
        await calls.run(get_item(client, "A"))
    before_threads = threading.active_count()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for context in contexts:
        with serving(context):
            await aio_get(aio, context.tenant_id)
    each = (tracemalloc.get_traced_memory()[0] - before) / len(contexts)
    tracemalloc.stop()
    for context in contexts[:50]:
        with serving(context):
            await calls.run(get_item(client, context.tenant_id))
    assert made == ["dynamodb"]
    assert len(sessions) == 1001
    assert threading.active_count() - before_threads <= 8
    print(f"{each:.0f} bytes for each active tenant")
    assert each < 20_000
    sessions.close()


# STS, under moto


def request_of(tenant_id: str) -> SessionRequest:
    context = TENANTS[tenant_id]
    return SessionRequest(
        role_arn=ROLE.arn,
        name=f"silo-data-{tenant_id}",
        policy=session_policy("data", context, ROLE),
        tenant_id=context.tenant_id,
        slug=context.slug,
        seconds=900,
    )


@pytest.fixture
def aws_identity(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "platform")


def test_sts_is_asked_for_the_session_with_policy_and_tags(aws_identity):
    sent: list[str] = []
    with mock_aws():
        client = sts_client(aws_region="eu-central-1")
        client.meta.events.register(
            "before-send.sts.AssumeRole",
            lambda request, **_: sent.append(str(request.body)),
        )
        issued = StsIssuer(client).assume(request_of("A-1"))
        StsIssuer(client, tags=False).assume(request_of("A-1"))
    assert issued.access_key.startswith("ASIA")
    assert issued.token
    assert "silo-data-A-1" in sent[0]
    assert "SiloTenant" in sent[0]
    assert "TENANT%23A-1" in sent[0]
    assert "SiloTenant" not in sent[1]


@pytest.mark.parametrize(
    ("status", "code", "raised"),
    [
        (403, "AccessDenied", Unavailable),
        (400, "PackedPolicyTooLarge", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (400, "Throttling", ResourceExhausted),
    ],
)
def test_what_sts_refuses_is_never_access(aws_identity, status, code, raised):
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>m</Message></Error></ErrorResponse>"

    class Raw:
        def stream(self, *_, **__):
            yield body.encode()

    client = sts_client(aws_region="eu-central-1")
    client.meta.events.register(
        "before-send.sts.AssumeRole", lambda request, **_: AWSResponse("", status, {}, Raw())
    )
    with pytest.raises(raised) as caught:
        StsIssuer(client).assume(request_of("A"))
    assert code not in caught.value.message


def test_an_sts_that_is_not_there_is_unavailable(aws_identity):
    client = sts_client(aws_region="eu-central-1", endpoint="http://127.0.0.1:1")
    with pytest.raises(Unavailable):
        StsIssuer(client).assume(request_of("A"))


# The directory's own identity


async def test_the_directorys_identity_is_the_processes_own(aws_identity):
    credentials = ProcessDynamoCredentials()
    assert await credentials.get_key(AioWire()) == Key(id="platform", secret="platform")
    credentials.close()


async def test_the_directorys_key_is_asked_for_once_a_minute():
    class Renewing:
        asked = 0

        def get_credentials(self):
            return self

        def get_frozen_credentials(self):
            self.asked += 1
            return ReadOnlyCredentials(f"key-{self.asked}", "secret", None)

    clock = Clock()
    credentials = ProcessDynamoCredentials(Renewing(), clock=clock)
    for now, expected in ((0, "key-1"), (59, "key-1"), (2, "key-2"), (1, "key-2")):
        clock.now += now
        assert (await credentials.get_key(AioWire())).id == expected
    assert credentials.invalidate()
    assert not credentials.invalidate()
    assert (await credentials.get_key(AioWire())).id == "key-3"
    credentials.close()


async def test_without_an_identity_the_directory_is_unavailable(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    credentials = ProcessDynamoCredentials()
    with pytest.raises(Unavailable):
        await credentials.get_key(AioWire())
    credentials.close()


async def test_a_copied_context_is_the_tenants_alone(sessions):
    """Two calls that take turns on one loop never see each other's session."""
    seen: dict[str, set[str]] = {name: set() for name in TENANTS}

    async def call(name: str) -> None:
        with serving(TENANTS[name]):
            for _ in range(20):
                context = contextvars.copy_context()
                session = await asyncio.to_thread(context.run, sessions.obtain)
                seen[name].add(session.key.access_key)
                seen[name].add((await sessions.ensure()).key.access_key)

    await asyncio.gather(*(call(name) for name in TENANTS))
    assert seen == {name: {f"{name}/1"} for name in TENANTS}
