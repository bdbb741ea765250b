"""A tenant's lifecycle rules among all others, against moto in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from botocore.exceptions import ClientError

from boundary.context import serving
from boundary.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from boundary.scope import ObjectPrefix
from services.storage import s3_lifecycle
from services.storage.rule_operations import ObjectLifecycles
from services.storage.rules import RULES_NOT_ALLOWED, Rule
from services.storage.s3 import S3Objects
from services.storage.s3_lifecycle import LifecycleRules, LocalLocks
from tests.contexts import PLACEMENT, make_context
from tests.unit.storage.s3_moto import client, objects, shared_client

__all__ = ["client", "objects", "shared_client"]

BUCKET = PLACEMENT.bucket
FOREIGN = {
    "ID": "by-hand",
    "Status": "Enabled",
    "Filter": {"And": {"Prefix": "x/", "Tags": [{"Key": "a", "Value": "b"}]}},
    "Transitions": [{"Days": 30, "StorageClass": "GLACIER"}],
}


@pytest.fixture
def rules(objects: S3Objects) -> LifecycleRules:
    return objects.lifecycle(LocalLocks())


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_lifecycle, "_PAUSE", 0.0)


def _prefix(tenant: str) -> ObjectPrefix:
    return make_context(tenant, audience="storage").objects


def _configured(client: Any) -> dict[str, Any]:
    answer = client.get_bucket_lifecycle_configuration(Bucket=BUCKET)
    return {rule["ID"]: rule for rule in answer["Rules"]}


def _configure(client: Any, *rules: Any) -> None:
    client.put_bucket_lifecycle_configuration(
        Bucket=BUCKET, LifecycleConfiguration={"Rules": list(rules)}
    )


EXPORTS = Rule(name="exports", under="exports/", expire_days=7)
OLD = Rule(name="old", noncurrent_days=5)


async def test_rules_come_back_and_go(rules: LifecycleRules, client: Any) -> None:
    assert await rules.read(_prefix("a")) == []
    await rules.replace(_prefix("a"), [OLD, EXPORTS])
    assert await rules.read(_prefix("a")) == [EXPORTS, OLD]
    configured = _configured(client)
    assert configured["tenant-a/exports"]["Filter"] == {"Prefix": "tenant-a/exports/"}
    assert configured["tenant-a/old"]["Filter"] == {"Prefix": "tenant-a/"}
    await rules.replace(_prefix("a"), [])
    assert await rules.read(_prefix("a")) == []


async def test_an_archive_is_a_class_of_storage_that_is_read_at_once(
    rules: LifecycleRules, client: Any
) -> None:
    archived = Rule(name="old", under="backups/", archive_days=5, expire_days=50)
    await rules.replace(_prefix("a"), [archived])
    assert await rules.read(_prefix("a")) == [archived]
    transitions = _configured(client)["tenant-a/old"]["Transitions"]
    assert transitions == [{"Days": 5, "StorageClass": "GLACIER_IR"}]


async def test_an_edit_that_was_made_unseen_is_not_refused_for_its_own_outcome(
    rules: LifecycleRules, client: Any
) -> None:
    """Somebody adds a rule just after ours: the edit is looked at again, with our rules already there."""
    real, added = client.put_bucket_lifecycle_configuration, []

    def meanwhile(**arguments: Any) -> Any:
        real(**arguments)
        if not added:
            added.append(1)
            both = [*arguments["LifecycleConfiguration"]["Rules"], FOREIGN]
            real(Bucket=BUCKET, LifecycleConfiguration={"Rules": both})

    client.put_bucket_lifecycle_configuration = meanwhile

    def only_from_nothing(present: Sequence[Rule]) -> Sequence[Rule]:
        if present:
            raise AssertionError("the etag is stale")
        return [EXPORTS]

    assert await rules.change(_prefix("a"), only_from_nothing) == [EXPORTS]
    assert set(_configured(client)) == {"by-hand", "tenant-a/exports"}


async def test_the_rules_of_others_stay(rules: LifecycleRules, client: Any) -> None:
    _configure(client, FOREIGN)
    for name in ("a", "ab", "a-b"):
        await rules.replace(_prefix(name), [EXPORTS])
    await rules.replace(_prefix("a"), [OLD])
    await rules.replace(_prefix("a-b"), [])
    configured = _configured(client)
    assert set(configured) == {"by-hand", "tenant-a/old", "tenant-ab/exports"}
    assert configured["by-hand"]["Transitions"] == FOREIGN["Transitions"]
    assert await rules.read(_prefix("ab")) == [EXPORTS]


async def test_editors_at_once_lose_nothing(rules: LifecycleRules) -> None:
    tenants = [_prefix(f"t{number}") for number in range(8)]
    await asyncio.gather(*(rules.replace(tenant, [EXPORTS]) for tenant in tenants))
    for tenant in tenants:
        assert await rules.read(tenant) == [EXPORTS]


async def test_a_change_between_reading_and_writing_is_kept(
    rules: LifecycleRules, client: Any
) -> None:
    real, calls = client.get_bucket_lifecycle_configuration, []

    def meanwhile(**arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            _configure(client, FOREIGN)
        return real(**arguments)

    client.get_bucket_lifecycle_configuration = meanwhile
    await rules.replace(_prefix("a"), [EXPORTS])
    assert set(_configured(client)) == {"by-hand", "tenant-a/exports"}


async def test_an_edit_that_was_overwritten_is_made_again(
    rules: LifecycleRules, client: Any
) -> None:
    real, overwritten = client.put_bucket_lifecycle_configuration, []

    def meanwhile(**arguments: Any) -> Any:
        real(**arguments)
        if not overwritten:
            overwritten.append(1)
            real(Bucket=BUCKET, LifecycleConfiguration={"Rules": [FOREIGN]})

    client.put_bucket_lifecycle_configuration = meanwhile
    await rules.replace(_prefix("a"), [EXPORTS])
    assert set(_configured(client)) == {"by-hand", "tenant-a/exports"}


async def test_overwritten_over_and_over(rules: LifecycleRules, client: Any) -> None:
    client.put_bucket_lifecycle_configuration = lambda **_: None
    with pytest.raises(Unavailable):
        await rules.replace(_prefix("a"), [EXPORTS])


async def test_the_lock_is_held_for_the_bucket(objects: S3Objects) -> None:
    held: list[str] = []

    class Lock(AbstractAsyncContextManager[None]):
        def __init__(self, bucket: str) -> None:
            held.append(bucket)

        async def __aexit__(self, *_: object) -> None:
            held.append("released")

    await objects.lifecycle(Lock).replace(_prefix("a"), [EXPORTS])
    assert held == [BUCKET, "released"]


@pytest.mark.parametrize(
    "wrong",
    [
        [Rule(name="../x", expire_days=1)],
        [Rule(name="", expire_days=1)],
        [Rule(name="a", under="../b/", expire_days=1)],
        [Rule(name="a")],
        [Rule(name="a", expire_days=-1)],
        [Rule(name="a", expire_days=1), Rule(name="a", expire_days=2)],
        [Rule(name=f"r{number}", expire_days=1) for number in range(11)],
    ],
)
async def test_rules_out_of_order(rules: LifecycleRules, wrong: list[Rule]) -> None:
    with pytest.raises(InvalidArgument):
        await rules.replace(_prefix("a"), wrong)


async def test_a_bucket_takes_so_many(
    rules: LifecycleRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_lifecycle, "MAX_RULES", 2)
    await rules.replace(_prefix("a"), [EXPORTS, OLD])
    with pytest.raises(ResourceExhausted) as caught:
        await rules.replace(_prefix("b"), [EXPORTS])
    assert caught.value.reason == "LIFECYCLE_RULES_FULL"


async def test_who_may_not_see_the_rules_is_told_so_and_has_none_to_clear(
    rules: LifecycleRules, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetBucketLifecycleConfiguration")

    monkeypatch.setitem(vars(client), "get_bucket_lifecycle_configuration", refuse)
    tenant = make_context("A", audience="storage")
    with pytest.raises(FailedPrecondition) as refused:
        await rules.replace(tenant.objects, [EXPORTS])
    assert refused.value.reason == RULES_NOT_ALLOWED
    with serving(tenant):
        await ObjectLifecycles(rules).clear(tenant)
