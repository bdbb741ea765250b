from __future__ import annotations

import asyncio
from collections.abc import Iterator

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber
from moto import mock_aws

from boundary.errors import ResourceExhausted, Unavailable
from services.keys import kms
from services.keys.kms import KMS_CONFIG, KmsKeys
from services.keys.ports import KeyDestroyed, KeyDisabled, KeyState
from tests.contexts import make_context

A = make_context("A").key


class Inline:
    """Runs calls where they are asked for."""

    async def run(self, work):
        return work()


def kms_client():
    return boto3.client(
        "kms",
        region_name="eu-central-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=KMS_CONFIG,
    )


@pytest.fixture
def client() -> Iterator:
    with mock_aws():
        yield kms_client()


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr(kms, "_BACKOFF_SECONDS", 0)


async def test_a_key_is_named_tagged_and_rotates_each_year(client):
    keys = KmsKeys({"local": client}, calls=Inline())
    made = await keys.create(A)
    tags = client.list_resource_tags(KeyId=made.key_id)["Tags"]
    assert tags == [{"TagKey": "SiloTenant", "TagValue": "A"}]
    assert client.get_key_rotation_status(KeyId=made.key_id)["KeyRotationEnabled"]
    aliases = {
        alias["AliasName"]: alias.get("TargetKeyId") for alias in client.list_aliases()["Aliases"]
    }
    assert aliases["alias/silo/tenant-a"] == made.key_id


async def test_every_use_carries_tenant_and_purpose(client):
    sent: list[dict[str, object]] = []
    client.meta.events.register(
        "provide-client-params.kms.*", lambda params, **_: sent.append(dict(params))
    )
    keys = KmsKeys({"local": client}, calls=Inline())
    await keys.create(A)
    sent.clear()
    made = await keys.generate(A, purpose="objects")
    await keys.wrap(A, made.plaintext, purpose="objects")
    await keys.unwrap(A, made.wrapped, purpose="objects")
    assert len(sent) == 3
    for params in sent:
        assert params["KeyId"] == "alias/silo/tenant-a"
        assert params["EncryptionContext"] == {"tenant": "A", "purpose": "objects"}


async def test_a_destroyed_key_is_disabled_renamed_and_scheduled(client):
    keys = KmsKeys({"local": client}, calls=Inline(), erase_after_days=7)
    made = await keys.create(A)
    await keys.destroy(A)
    metadata = client.describe_key(KeyId=made.key_id)["KeyMetadata"]
    assert metadata["KeyState"] == "PendingDeletion"
    names = {alias["AliasName"] for alias in client.list_aliases()["Aliases"]}
    assert "alias/silo/tenant-a" not in names
    assert "alias/silo/destroyed/tenant-a" in names


async def test_a_destruction_that_was_cut_off_is_finished_by_the_next(client):
    keys = KmsKeys({"local": client}, calls=Inline())
    made = await keys.create(A)
    wrapped = (await keys.generate(A, purpose="objects")).wrapped
    client.disable_key(KeyId=made.key_id)  # as far as the first call came
    client.create_alias(AliasName="alias/silo/destroyed/tenant-a", TargetKeyId=made.key_id)
    destroyed = await keys.destroy(A)
    assert (destroyed.key_id, destroyed.state) == (made.key_id, KeyState.DESTROYED)
    with pytest.raises(KeyDestroyed):
        await keys.unwrap(A, wrapped, purpose="objects")


async def test_of_two_that_make_the_key_at_once_one_gives_way(client, monkeypatch):
    first, second = (KmsKeys({"local": client}, calls=Inline()) for _ in range(2))
    described = second.describe
    answers = [None]

    async def describe(key):  # the second has looked before the first was done
        return answers.pop() if answers else await described(key)

    monkeypatch.setattr(second, "describe", describe)
    made = await first.create(A)
    assert await second.create(A) == made
    states = [
        client.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
        for key in client.list_keys()["Keys"]
    ]
    assert sorted(states) == ["Enabled", "PendingDeletion"]


@pytest.mark.parametrize(
    ("code", "status", "raised", "calls"),
    [
        ("ThrottlingException", 400, ResourceExhausted, 3),
        ("KMSInternalException", 500, Unavailable, 3),
        ("DependencyTimeoutException", 503, Unavailable, 3),
        ("AccessDeniedException", 400, Unavailable, 1),
        ("DisabledException", 409, KeyDisabled, 1),
    ],
)
async def test_what_kms_refuses_is_told_in_our_words(code, status, raised, calls):
    client = kms_client()
    keys = KmsKeys({"local": client}, calls=Inline())
    with Stubber(client) as stub:
        for _ in range(calls):
            stub.add_client_error("generate_data_key", code, "driver text", http_status_code=status)
        with pytest.raises(raised) as caught:
            await keys.generate(A, purpose="objects")
        stub.assert_no_pending_responses()
    assert "driver text" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ClientError)


async def test_a_failed_creation_is_not_made_again():
    client = kms_client()
    keys = KmsKeys({"local": client}, calls=Inline())
    with Stubber(client) as stub:
        for _ in range(2):
            stub.add_client_error("describe_key", "NotFoundException", http_status_code=400)
        stub.add_client_error("create_key", "KMSInternalException", http_status_code=500)
        with pytest.raises(Unavailable):
            await keys.create(A)
        stub.assert_no_pending_responses()


async def test_a_kms_that_is_not_there_is_unavailable():
    class Gone:
        calls = 0

        async def run(self, work):
            Gone.calls += 1
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    keys = KmsKeys({"local": kms_client()}, calls=Gone())
    with pytest.raises(Unavailable) as caught:
        await keys.generate(A, purpose="objects")
    assert "127.0.0.1" not in caught.value.message
    assert Gone.calls == 3


async def test_a_kms_that_does_not_answer_is_waited_for_a_bounded_time(monkeypatch):
    class Slow:
        calls = 0

        async def run(self, work):
            Slow.calls += 1
            await asyncio.sleep(30)

    monkeypatch.setattr(kms, "_CALL_SECONDS", 0.05)
    monkeypatch.setattr(kms, "_BUDGET_SECONDS", 0.04)
    keys = KmsKeys({"local": kms_client()}, calls=Slow())
    with pytest.raises(Unavailable):
        await keys.generate(A, purpose="objects")
    assert Slow.calls == 1


async def test_a_region_without_a_client_is_unavailable():
    keys = KmsKeys({"elsewhere": kms_client()}, calls=Inline())
    with pytest.raises(Unavailable):
        await keys.generate(A, purpose="objects")


@pytest.mark.parametrize("days", [0, 6, 31])
def test_kms_erases_after_7_to_30_days(days):
    with pytest.raises(ValueError, match="7 to 30"):
        KmsKeys({}, calls=Inline(), erase_after_days=days)
