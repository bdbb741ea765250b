"""A tenant's session, stolen: the server itself refuses whatever is not under the tenant's exact prefix."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.contexts import PLACEMENT
from tests.engines.servers.s3 import S3Server

BUCKET = PLACEMENT.bucket
# Prefixes are of slugs, which are lower-case. This server compares resources without regard to case, unlike S3.
NEIGHBOURS = ["tenant-ab/", "tenant-a-b/", "tenant-a0/", "tenant-b/"]


@pytest.fixture(scope="module")
def admin(s3_endpoint: S3Server) -> Iterator[Any]:
    client = s3_endpoint.client("s3")
    client.create_bucket(Bucket=BUCKET)
    for prefix in ["tenant-a/", *NEIGHBOURS]:
        client.put_object(Bucket=BUCKET, Key=prefix + "secret", Body=b"of " + prefix.encode())
    client.put_object(Bucket=BUCKET, Key="tenant-a", Body=b"no prefix at all")
    yield client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", ()):
            client.delete_object(Bucket=BUCKET, Key=item["Key"])
    client.delete_bucket(Bucket=BUCKET)
    client.close()


@pytest.fixture(scope="module")
def stolen(s3_endpoint: S3Server, admin: Any) -> Iterator[Any]:
    """A client with tenant A's session."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "s3:GetObject",
                    "s3:GetObjectVersion",
                    "s3:PutObject",
                    "s3:DeleteObject",
                    "s3:AbortMultipartUpload",
                ],
                "Resource": f"arn:aws:s3:::{BUCKET}/tenant-a/*",
            },
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": f"arn:aws:s3:::{BUCKET}",
                "Condition": {"StringLike": {"s3:prefix": "tenant-a/*"}},
            },
        ],
    }
    sts = s3_endpoint.client("sts")
    session = sts.assume_role(
        RoleArn=s3_endpoint.role, RoleSessionName="tenant-a", Policy=json.dumps(policy)
    )["Credentials"]
    sts.close()
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint.url,
        region_name="us-east-1",
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    yield client
    client.close()


def _refused(work: Callable[[], object]) -> None:
    with pytest.raises(ClientError) as caught:
        work()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_its_own_prefix_is_open(stolen: Any) -> None:
    own = {"Bucket": BUCKET, "Key": "tenant-a/own"}
    stolen.put_object(**own, Body=b"1")
    assert stolen.get_object(**own)["Body"].read() == b"1"
    assert stolen.list_objects_v2(Bucket=BUCKET, Prefix="tenant-a/")["KeyCount"] >= 1
    stolen.delete_object(**own)


@pytest.mark.parametrize("prefix", [*NEIGHBOURS, "tenant-a", ""])
def test_others_are_closed(stolen: Any, admin: Any, prefix: str) -> None:
    theirs = {"Bucket": BUCKET, "Key": prefix + "secret" if prefix != "tenant-a" else prefix}
    _refused(lambda: stolen.get_object(**theirs))
    _refused(lambda: stolen.head_object(**theirs))
    _refused(lambda: stolen.put_object(**theirs, Body=b"mine"))
    _refused(lambda: stolen.delete_object(**theirs))
    _refused(lambda: stolen.create_multipart_upload(**theirs))
    _refused(lambda: stolen.list_objects_v2(Bucket=BUCKET, Prefix=prefix))
    _refused(lambda: stolen.copy_object(Bucket=BUCKET, Key="tenant-a/loot", CopySource=theirs))
    _refused(
        lambda: stolen.copy_object(
            **theirs, CopySource={"Bucket": BUCKET, "Key": "tenant-a/secret"}
        )
    )


def test_a_batch_deletes_nothing_of_others(stolen: Any, admin: Any) -> None:
    keys = [prefix + "secret" for prefix in NEIGHBOURS]
    answer = stolen.delete_objects(
        Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]}
    )
    assert {error["Key"] for error in answer["Errors"]} == set(keys)
    for key in keys:
        admin.head_object(Bucket=BUCKET, Key=key)


def test_the_bucket_is_closed(stolen: Any) -> None:
    _refused(lambda: stolen.get_bucket_lifecycle_configuration(Bucket=BUCKET))
    _refused(
        lambda: stolen.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"}
        )
    )
    _refused(lambda: stolen.delete_bucket(Bucket=BUCKET))
