"""A tenant moves between regions on production engines: all of it, and nothing stays behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest

from boundary.certificates import verify
from devstack.stack import Stack
from services.resolver.lifecycle.move import Move
from silo.data.v1 import user_pb2, user_pb2_grpc
from silo.resolver.v1 import operation_pb2, tenant_pb2
from silo.search.v1 import event_retention_pb2, event_retention_pb2_grpc
from silo.storage.v1 import object_lifecycle_pb2, object_lifecycle_pb2_grpc
from tests.archives import Archivist, Resident
from tests.engines.production import REGION, environment_on, region_on
from tests.engines.servers.opensearch import start_opensearch
from tests.engines.servers.s3 import S3Server
from tests.lifecycle import ENVIRONMENT, moments
from tests.serving import reason_of

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
CANCELLED = operation_pb2.OPERATION_STATE_CANCELLED

HERE = {"table": "MoveHere", "bucket": "move-here"}
THERE = {"table": "MoveThere", "bucket": "move-there"}
ELSEWHERE = "elsewhere"

_NONE: Any = None
"""In place of parts that a kind's steps have no need of to be named."""


@pytest.fixture(scope="module")
def other_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with start_opensearch(tmp_path_factory.mktemp("opensearch-2")) as node:
        yield node.url


@pytest.fixture(scope="module")
def regions(
    dynamodb_endpoint: str,
    s3_endpoint: S3Server,
    opensearch_endpoint: str,
    other_cluster: str,
    kms_endpoint: str,
) -> Mapping[str, Any]:
    engines: dict[str, Any] = {
        "dynamodb": dynamodb_endpoint,
        "s3": s3_endpoint,
        "kms": kms_endpoint,
    }
    return {
        name: region_on(
            **engines, opensearch=cluster, tables=(place["table"],), buckets=(place["bucket"],)
        )
        for name, cluster, place in (
            (REGION, opensearch_endpoint, HERE),
            (ELSEWHERE, other_cluster, THERE),
        )
    }


@pytest.fixture(scope="module")
def environment(
    tmp_path_factory: pytest.TempPathFactory, s3_endpoint: S3Server, regions: Mapping[str, Any]
) -> Mapping[str, str]:
    folder = tmp_path_factory.mktemp("moves")
    environment = environment_on(folder, s3=s3_endpoint, regions=regions)
    return {**environment, **ENVIRONMENT, "SILO_TABLE": HERE["table"]}


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str]
) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("moves-home")
    with Stack(home=home, tenants=("Neighbour",), environment=environment) as stack:
        yield stack


@pytest.fixture(scope="module")
def archivist(running: Stack) -> Archivist:
    return Archivist(running)


class Raw:
    """What the engines themselves have."""

    def __init__(self, dynamodb: str, s3: S3Server) -> None:
        self._table = boto3.client(
            "dynamodb",
            endpoint_url=dynamodb,
            region_name=REGION,
            aws_access_key_id="any",
            aws_secret_access_key="any",
        )
        self._bucket = s3.client("s3")

    def left(self, tenant_id: str, place: Mapping[str, str]) -> tuple[list[str], list[str]]:
        """The sort keys and the object keys of a tenant in a place."""
        found = self._table.query(
            TableName=place["table"],
            KeyConditionExpression="PK = :tenant",
            ExpressionAttributeValues={":tenant": {"S": f"TENANT#{tenant_id}"}},
        )["Items"]
        listed = self._bucket.list_objects_v2(
            Bucket=place["bucket"], Prefix=f"tenant-{tenant_id.lower()}/"
        )
        keys = [item["SK"]["S"] for item in found]
        return keys, [each["Key"] for each in listed.get("Contents", [])]

    def close(self) -> None:
        self._table.close()
        self._bucket.close()


@pytest.fixture
def raw(dynamodb_endpoint: str, s3_endpoint: S3Server) -> Iterator[Raw]:
    raw = Raw(dynamodb_endpoint, s3_endpoint)
    yield raw
    raw.close()


class Reading:
    """Somebody who goes on reading, and notes what is refused."""

    def __init__(self, resident: Resident) -> None:
        self.read = 0
        self.refused: list[str] = []
        self._resident = resident
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                assert self._resident.inventory()[0] > 0
                self.read += 1
            except grpc.RpcError as error:
                self.refused.append(reason_of(error))
            time.sleep(0.01)


def test_a_tenant_moves_with_everything_while_it_is_read(
    running: Stack, archivist: Archivist, raw: Raw
) -> None:
    neighbour = Resident(running, "Neighbour", mark="NEIGHBOUR-mv")
    neighbour.furnish()
    before = neighbour.belongings()
    encryption = tenant_pb2.TenantEncryption(enabled=True)
    assert archivist.over(archivist.onboard("Paula", encryption=encryption)).state == SUCCEEDED
    paula = Resident(running, "Paula", mark="PAULA-mv")
    paula.furnish(4)
    rules = object_lifecycle_pb2.ObjectLifecycle(
        rules=[
            object_lifecycle_pb2.ObjectLifecycleRule(
                rule_id="old", folder="attachments/", expire_days=90
            )
        ]
    )
    lifecycles = object_lifecycle_pb2_grpc.ObjectLifecycleServiceStub(paula.channel)
    update = object_lifecycle_pb2.UpdateObjectLifecycleRequest(object_lifecycle=rules)
    etag = lifecycles.UpdateObjectLifecycle(update, **paula.common).object_lifecycle.etag
    retentions = event_retention_pb2_grpc.EventRetentionServiceStub(paula.channel)
    keep = event_retention_pb2.EventRetention(days=3000)
    change = event_retention_pb2.UpdateEventRetentionRequest(event_retention=keep)
    retentions.UpdateEventRetention(change, **paula.common)
    was = paula.belongings()
    with Reading(paula) as reading:
        over = archivist.over(archivist.move("Paula", region=ELSEWHERE))
        assert over.state == SUCCEEDED, over
    assert reading.read > 5
    assert reading.refused == []
    assert archivist.tenant("Paula").placement.region == ELSEWHERE
    assert paula.belongings() == was
    get = object_lifecycle_pb2.GetObjectLifecycleRequest()
    arrived = lifecycles.GetObjectLifecycle(get, **paula.common).object_lifecycle
    assert (arrived.rules[0].rule_id, arrived.etag) == ("old", etag)
    kept = event_retention_pb2.GetEventRetentionRequest()
    assert retentions.GetEventRetention(kept, **paula.common).event_retention.days == 3000
    assert raw.left("Paula", HERE) == (["CONFIG"], [])  # the directory's record
    keys, objects = raw.left("Paula", THERE)
    assert len(keys) > 4 * 5
    assert objects
    assert neighbour.belongings() == before
    paula.upload("attachments/later", b"it works")
    over = archivist.over(archivist.move("Paula", region=REGION))  # and back
    assert over.state == SUCCEEDED, over
    assert raw.left("Paula", THERE) == ([], [])
    assert paula.download("attachments/later") == b"it works"
    over = archivist.over(archivist.offboard("Paula"))
    assert over.state == SUCCEEDED, over
    assert verify(archivist.certificate(over))["objects"]["left"] == 0
    assert raw.left("Paula", HERE) == (["CONFIG"], [])


def _standing_still(
    running: Stack, archivist: Archivist, tenant_id: str
) -> tuple[Resident, dict[str, list[Any]], Any]:
    """A new tenant, what it has, and its move, which stands still until the search service is back."""
    assert archivist.over(archivist.onboard(tenant_id)).state == SUCCEEDED
    resident = Resident(running, tenant_id, mark=f"{tenant_id.upper()}-mv")
    resident.furnish(2)
    was = resident.belongings()
    running.kill("search")
    begun = archivist.move(tenant_id, region=ELSEWHERE)
    archivist.until(begun, lambda now: now.steps[2].state != operation_pb2.STEP_STATE_PENDING)
    return resident, was, begun


def test_what_is_rolled_back_stays_where_it_was(
    running: Stack, archivist: Archivist, raw: Raw
) -> None:
    quirin, was, begun = _standing_still(running, archivist, "Quirin")
    user = user_pb2.CreateUserRequest(
        user_id="late", user=user_pb2.User(email="late@example.com", display_name="late")
    )
    with pytest.raises(grpc.RpcError) as refused:
        user_pb2_grpc.UserServiceStub(quirin.channel).CreateUser(user, **quirin.common)
    assert reason_of(refused.value) == "TENANT_READ_ONLY"
    cancel = operation_pb2.CancelOperationRequest(name=begun.name)
    archivist.operations.CancelOperation(cancel, **archivist.common)
    running.await_ready()
    assert archivist.over(begun).state == CANCELLED
    assert raw.left("Quirin", THERE) == ([], [])
    assert quirin.belongings() == was
    user_pb2_grpc.UserServiceStub(quirin.channel).CreateUser(user, **quirin.common)


def test_one_that_is_suspended_on_its_way_arrives_suspended(
    running: Stack, archivist: Archivist
) -> None:
    viktor, was, begun = _standing_still(running, archivist, "Viktor")
    suspend = tenant_pb2.SuspendTenantRequest(name="tenants/Viktor")
    resume = tenant_pb2.ResumeTenantRequest(name="tenants/Viktor")
    archivist.tenants.SuspendTenant(suspend, **archivist.common)
    assert viktor.refusal() == "PERMISSION_DENIED"
    resumed = archivist.tenants.ResumeTenant(resume, **archivist.common).tenant
    assert resumed.status == tenant_pb2.TENANT_STATUS_MOVING
    archivist.tenants.SuspendTenant(suspend, **archivist.common)
    running.await_ready()
    over = archivist.over(begun)
    assert over.state == SUCCEEDED, over
    arrived = archivist.tenant("Viktor")
    assert arrived.status == tenant_pb2.TENANT_STATUS_SUSPENDED
    assert arrived.placement.region == ELSEWHERE
    assert viktor.refusal() == "PERMISSION_DENIED"
    archivist.tenants.ResumeTenant(resume, **archivist.common)
    assert viktor.belongings() == was
    archivist.tenants.SuspendTenant(suspend, **archivist.common)
    over = archivist.over(archivist.move("Viktor", region=REGION))  # a suspended one can be moved
    assert over.state == SUCCEEDED, over
    archivist.tenants.ResumeTenant(resume, **archivist.common)
    assert viktor.belongings() == was


def test_a_tenant_stays_in_the_regions_that_it_allows(archivist: Archivist) -> None:
    onboarded = archivist.over(archivist.onboard("Rosa", allowed_regions=[REGION]))
    assert onboarded.state == SUCCEEDED
    with pytest.raises(grpc.RpcError) as refused:
        archivist.move("Rosa", region=ELSEWHERE)
    assert reason_of(refused.value) == "REGION_NOT_ALLOWED"

    def allow(*regions: str) -> tenant_pb2.Tenant:
        tenant = tenant_pb2.Tenant(name="tenants/Rosa", allowed_regions=regions)
        request = tenant_pb2.UpdateTenantRequest(tenant=tenant)
        return archivist.tenants.UpdateTenant(request, **archivist.common).tenant

    with pytest.raises(grpc.RpcError) as refused:
        allow(ELSEWHERE)
    assert reason_of(refused.value) == "REGION_IN_USE"
    allow(REGION, ELSEWHERE)
    over = archivist.over(archivist.move("Rosa", region=ELSEWHERE))
    assert over.state == SUCCEEDED, over
    assert allow(ELSEWHERE).allowed_regions == [ELSEWHERE]
    outside = tenant_pb2.Placement(region=ELSEWHERE)
    with pytest.raises(grpc.RpcError) as refused:
        archivist.onboard("Sofie", allowed_regions=[REGION], placement=outside)
    assert reason_of(refused.value) == "REGION_NOT_ALLOWED"


@pytest.mark.timeout(300)
def test_a_resolver_that_is_killed_at_every_step_of_a_move_is_followed_by_one_that_finishes(
    tmp_path: Path, environment: Mapping[str, str], running: Stack, raw: Raw
) -> None:
    """In a directory of its own: the resolver of the other suite would take the move over."""
    running.stop()
    kind = Move(directory=_NONE, placements=_NONE, encryption=_NONE, settle_seconds=0)
    crashes = moments(kind.kind())
    crashing = {**environment, "SILO_CRASH_AT": ",".join(crashes)}
    with Stack(home=tmp_path, tenants=(), environment=crashing, max_backoff=0.2) as stack:
        archivist = Archivist(stack)
        encryption = tenant_pb2.TenantEncryption(enabled=True)
        for tenant_id in ("Tilda", "Ulla"):
            over = archivist.over(archivist.onboard(tenant_id, encryption=encryption))
            assert over.state == SUCCEEDED, over
        tilda = Resident(stack, "Tilda", mark="TILDA-mv")
        ulla = Resident(stack, "Ulla", mark="ULLA-mv")
        tilda.furnish(2)
        ulla.furnish(1)
        was, before = tilda.belongings(), ulla.belongings()
        over = archivist.over(archivist.move("Tilda", region=ELSEWHERE), seconds=200)
        assert over.state == SUCCEEDED, over
        assert (tmp_path / "resolver" / "crashed").read_text().split() == crashes
        assert tilda.belongings() == was
        assert raw.left("Tilda", HERE) == (["CONFIG"], [])
        assert ulla.belongings() == before
