"""ObjectLifecycleService over a real loopback server, and the sweep that applies its rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from boundary.context import serving as within
from services.storage import rule_servicer
from services.storage.files import FileObjects
from services.storage.files_rules import FileRules
from services.storage.ports import Upload
from services.storage.rule_operations import ObjectLifecycles
from services.storage.rules import Rule
from silo.storage.v1 import object_lifecycle_pb2, object_lifecycle_pb2_grpc
from tests.contexts import make_context, make_lifecycle_context
from tests.serving import Serving, reason_of, serving

Lifecycle = object_lifecycle_pb2.ObjectLifecycle
LifecycleRule = object_lifecycle_pb2.ObjectLifecycleRule
EXPORTS = LifecycleRule(rule_id="exports", folder="exports/", expire_days=7)


@pytest.fixture
async def server(files: FileObjects, tmp_path: Path) -> AsyncIterator[Serving]:
    servicer = rule_servicer.ObjectLifecycleServicer(ObjectLifecycles(files.rules()))
    async with serving("storage", {rule_servicer.SERVICE: servicer}, tmp_path / "audit") as running:
        yield running


class Client:
    """A tenant's caller."""

    def __init__(self, server: Serving, tenant_id: str, **claims: Any) -> None:
        self.stub: object_lifecycle_pb2_grpc.ObjectLifecycleServiceAsyncStub = (
            object_lifecycle_pb2_grpc.ObjectLifecycleServiceStub(server.channel)
        )
        self.metadata = server.metadata(tenant_id, **claims)

    async def get(self) -> Lifecycle:
        request = object_lifecycle_pb2.GetObjectLifecycleRequest()
        answer = await self.stub.GetObjectLifecycle(request, metadata=self.metadata)
        return answer.object_lifecycle

    async def update(self, *rules: LifecycleRule, mask: str = "", **fields: Any) -> Lifecycle:
        request = object_lifecycle_pb2.UpdateObjectLifecycleRequest(
            object_lifecycle=Lifecycle(rules=rules, **fields)
        )
        if mask:
            request.update_mask.paths.append(mask)
        answer = await self.stub.UpdateObjectLifecycle(request, metadata=self.metadata)
        return answer.object_lifecycle


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), reason_of(refused.value)


async def test_rules_are_set_read_and_taken_away(server: Serving) -> None:
    client = Client(server, "A")
    empty = await client.get()
    assert (empty.name, list(empty.rules)) == ("objectLifecycle", [])
    changed = await client.update(EXPORTS)
    assert list(changed.rules) == [EXPORTS]
    assert await client.get() == changed
    assert await Client(server, "AB").get() == empty
    assert list((await client.update()).rules) == [EXPORTS]  # no field is populated
    assert await client.update(mask="rules") == empty


async def test_an_etag_that_is_stale_is_refused(server: Serving) -> None:
    client = Client(server, "A")
    first = await client.get()
    await client.update(EXPORTS, etag=first.etag)
    code, reason = await refusal(client.update(EXPORTS, etag=first.etag))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (LifecycleRule(rule_id="x", folder="", expire_days=1), "INVALID_FIELD"),
        (LifecycleRule(rule_id="x", folder="exports", expire_days=1), "INVALID_FIELD"),
        (LifecycleRule(rule_id="x", folder=".silo/", expire_days=1), "INVALID_FIELD"),
        (LifecycleRule(rule_id="x", folder="x/../b/", expire_days=1), "INVALID_PATH"),
        (LifecycleRule(rule_id="x", folder="templates/html/", expire_days=1), "FOLDER_IN_USE"),
        (LifecycleRule(rule_id="x", folder="x/", expire_days=-1), "INVALID_FIELD"),
        (LifecycleRule(rule_id="x", folder="x/"), "INVALID_FIELD"),
        (LifecycleRule(rule_id="", folder="x/", expire_days=1), "INVALID_FIELD"),
        (LifecycleRule(rule_id="x", folder="x/", archive_days=1), "ARCHIVE_MISSING"),
    ],
)
async def test_what_cannot_be_is_refused(server: Serving, rule: LifecycleRule, reason: str) -> None:
    client = Client(server, "A")
    assert (await refusal(client.update(rule)))[1] == reason
    assert list((await client.get()).rules) == []


async def test_two_rules_of_one_folder_are_refused(server: Serving) -> None:
    again = LifecycleRule(rule_id="again", folder="exports/", expire_days=9)
    code, _ = await refusal(Client(server, "A").update(EXPORTS, again))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_names_and_masks_are_checked(server: Serving) -> None:
    client = Client(server, "A")
    assert (await refusal(client.update(EXPORTS, name="other")))[1] == "INVALID_NAME"
    assert (await refusal(client.update(EXPORTS, mask="etag")))[1] == "FIELD_NOT_SETTABLE"
    assert (await refusal(client.update(EXPORTS, mask="colour")))[1] == "INVALID_MASK"


async def test_who_may_write_objects_may_not_change_rules(server: Serving) -> None:
    client = Client(server, "A", permissions=("objects.write", "policies.read"))
    assert (await refusal(client.update(EXPORTS)))[1] == "PERMISSION_MISSING"
    await client.get()


BACKUPS = LifecycleRule(rule_id="old", folder="backups/", expire_days=90)
SOONER = LifecycleRule(rule_id="old", folder="backups/", expire_days=1)
ONE = LifecycleRule(rule_id="one", folder="backups/20240115T083000Z-0123abcd/", expire_days=1)
LIKE = LifecycleRule(rule_id="like", folder="BACKUPS/", expire_days=1)


@pytest.mark.parametrize(
    "rules",
    [(), (SOONER,), (BACKUPS, ONE), (ONE,), (EXPORTS,)],
    ids=["gone", "sooner", "one more", "another", "in its place"],
)
async def test_rules_for_backups_change_for_who_may_write_backups_alone(
    server: Serving, rules: tuple[LifecycleRule, ...]
) -> None:
    before = await Client(server, "A").update(BACKUPS)
    weak = Client(server, "A", permissions=("policies.*", "objects.*", "backups.read"))
    code, reason = await refusal(weak.update(*rules, mask="rules"))
    assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_MISSING")
    assert await weak.get() == before
    able = Client(server, "A", permissions=("policies.write", "backups.write"))
    changed = await able.update(*rules, mask="rules")
    assert {rule.folder for rule in changed.rules} == {rule.folder for rule in rules}


async def test_other_rules_change_beside_those_for_backups(server: Serving) -> None:
    await Client(server, "A").update(BACKUPS)
    weak = Client(server, "A", permissions=("policies.*",))
    assert list((await weak.update(EXPORTS, LIKE, BACKUPS)).rules) == [EXPORTS, LIKE, BACKUPS]
    assert list((await weak.update(BACKUPS)).rules) == [BACKUPS]
    assert list((await weak.update()).rules) == [BACKUPS]  # no field is populated


async def test_a_move_takes_the_rules_for_backups_along(files: FileObjects) -> None:
    tenant = make_lifecycle_context("A", audience="storage", permissions=("lifecycle.write",))
    moved = [Rule(name="old", under="backups/", expire_days=90)]
    lifecycles = ObjectLifecycles(files.rules())
    with within(tenant):
        assert list(await lifecycles.update(tenant, name="", rules=moved, etag="")) == moved


async def put(files: FileObjects, tenant: str, path: str) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield path.encode()

    prefix = make_context(tenant, audience="storage").objects
    await files.put(prefix, path, content(), Upload(content_type="text/plain"))


async def paths(files: FileObjects, tenant: str) -> list[str]:
    prefix = make_context(tenant, audience="storage").objects
    page = await files.list(prefix, under="", folded=False, limit=1000)
    return [stored.path for stored in page.objects]


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


async def test_a_sweep_deletes_what_has_expired_and_nothing_else(
    files: FileObjects, bucket_folder: Path
) -> None:
    tenant, clock = make_context("A", audience="storage"), Clock()
    rules = FileRules(files._database, files.expire, clock=clock)
    for name in ("exports/1", "exports/sub/2", "exports-2024/3", "other"):
        await put(files, "A", name)
    await put(files, "AB", "exports/1")
    await rules.change(tenant.objects, lambda _: [Rule(name="x", under="exports/", expire_days=7)])
    lifecycles = ObjectLifecycles(rules)
    with within(tenant):
        clock.now += timedelta(days=6.9)
        assert await lifecycles.apply(tenant) == 0
        clock.now += timedelta(days=0.2)
        assert await lifecycles.apply(tenant) == 2
        assert await lifecycles.apply(tenant) == 0
    assert await paths(files, "A") == ["exports-2024/3", "other"]
    assert await paths(files, "AB") == ["exports/1"]
    contents = [path for path in (bucket_folder / "content").rglob("*") if path.is_file()]
    assert len(contents) == 3


async def test_more_than_a_batch_expires_in_one_sweep(files: FileObjects) -> None:
    tenant = make_context("A", audience="storage")
    for number in range(300):
        await put(files, "A", f"exports/{number}")
    soon = datetime.now(UTC) + timedelta(seconds=60)
    assert await files.expire(tenant.objects, "exports/", soon) == 300
    assert await paths(files, "A") == []
