"""The bucket is made as planned, and what differs is found, against moto in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from services.storage.s3_buckets import BucketPlan, create, drift

PLAN = BucketPlan(name="email-platform-storage", region="eu-central-1")


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client(
            "s3",
            region_name="eu-central-1",
            aws_access_key_id="AKIA",
            aws_secret_access_key="secret",
        )


@pytest.mark.parametrize("kms_key", ["", "arn:aws:kms:eu-central-1:111122223333:key/k"])
def test_made_as_planned_and_again(client: Any, kms_key: str) -> None:
    plan = replace(PLAN, kms_key=kms_key)
    assert drift(client, plan) == ["bucket email-platform-storage is not there"]
    for _ in range(2):
        assert create(client, plan) == []
        assert drift(client, plan) == []


def test_every_difference_is_named(client: Any) -> None:
    create(client, PLAN)
    client.put_bucket_versioning(Bucket=PLAN.name, VersioningConfiguration={"Status": "Suspended"})
    client.delete_public_access_block(Bucket=PLAN.name)
    client.delete_bucket_lifecycle(Bucket=PLAN.name)
    plan = replace(PLAN, region="eu-west-1", kms_key="another")
    assert drift(client, plan) == [
        "bucket email-platform-storage is in eu-central-1, not in eu-west-1",
        "bucket email-platform-storage keeps no versions",
        "bucket email-platform-storage does not block public access",
        "bucket email-platform-storage has another default encryption",
        "bucket email-platform-storage lacks the lifecycle rule silo-bucket",
    ]
    create(client, PLAN)
    assert drift(client, PLAN) == []


def test_the_rules_of_tenants_stay(client: Any) -> None:
    create(client, PLAN)
    rules = client.get_bucket_lifecycle_configuration(Bucket=PLAN.name)["Rules"]
    tenant = {
        "ID": "tenant-a/old",
        "Status": "Enabled",
        "Filter": {"Prefix": "tenant-a/"},
        "Expiration": {"Days": 1},
    }
    client.put_bucket_lifecycle_configuration(
        Bucket=PLAN.name, LifecycleConfiguration={"Rules": [*rules, tenant]}
    )
    create(client, replace(PLAN, noncurrent_days=7))
    rules = client.get_bucket_lifecycle_configuration(Bucket=PLAN.name)["Rules"]
    assert sorted(rule["ID"] for rule in rules) == ["silo-bucket", "tenant-a/old"]


def test_what_a_server_lacks_is_said(client: Any) -> None:
    def lacking(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "NotImplemented"}}, "PutPublicAccessBlock")

    client.put_public_access_block = lacking
    assert create(client, PLAN) == ["public access block"]
