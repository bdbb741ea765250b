"""Tenants' sessions on a server that enforces them: STS gives what S3 then refuses or allows.

The policies are the ones that are shipped, the client is one for all tenants, and each session that the server
refuses something to is as good as a stolen one: what it may do does not depend on our own checks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from boundary.context import serving
from boundary.errors import Unavailable
from boundary.guard import GuardViolation
from services.aws.botocore_credentials import TenantCalls, tenant_boto3_session
from services.aws.policy import TenantRole
from services.aws.sessions import TenantSessions
from services.aws.sts import StsIssuer
from tests.contexts import PLACEMENT
from tests.engines.servers.s3 import S3Server
from tests.unit.aws.tenants import context_of

BUCKET = PLACEMENT.bucket
TENANTS = {name: context_of(name) for name in ("A", "A-1", "AB", "B")}


@pytest.fixture(scope="module")
def bucket(s3_endpoint: S3Server) -> Iterator[Any]:
    admin = s3_endpoint.client("s3")
    admin.create_bucket(Bucket=BUCKET)
    for context in TENANTS.values():
        admin.put_object(Bucket=BUCKET, Key=f"{context.objects.prefix}own", Body=b"1")
    yield admin
    for item in admin.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
        admin.delete_object(Bucket=BUCKET, Key=item["Key"])
    admin.delete_bucket(Bucket=BUCKET)
    admin.close()


@pytest.fixture
def sessions(s3_endpoint: S3Server, bucket: Any) -> Iterator[TenantSessions]:
    sts = s3_endpoint.client("sts")
    sessions = TenantSessions(
        service="storage",
        roles={"local": TenantRole(arn=s3_endpoint.role, aws_region="us-east-1")},
        issuer=StsIssuer(sts, tags=False),
    )
    yield sessions
    sessions.close()
    sts.close()


@pytest.fixture
async def shared(s3_endpoint: S3Server, sessions: TenantSessions) -> AsyncIterator[Any]:
    client = tenant_boto3_session(sessions).client(
        "s3",
        endpoint_url=s3_endpoint.url,
        region_name="us-east-1",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


async def answer(calls: TenantCalls, work: Callable[[], Any]) -> int:
    """The HTTP status that a call gets."""
    try:
        await calls.run(work)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200


async def test_each_tenant_reaches_its_own_prefix_alone(sessions, shared):
    with ThreadPoolExecutor(4) as threads:
        calls = TenantCalls(sessions, threads)

        async def attack(tenant: str) -> None:
            with serving(TENANTS[tenant]):
                for other, context in TENANTS.items():
                    prefix = context.objects.prefix
                    own = {"Bucket": BUCKET, "Key": f"{prefix}own"}
                    expected = 200 if other == tenant else 403
                    for work in (
                        lambda own=own: shared.get_object(**own)["Body"].read(),
                        lambda own=own: shared.head_object(**own),
                        lambda own=own: shared.put_object(**own, Body=b"2"),
                        lambda prefix=prefix: shared.list_objects_v2(Bucket=BUCKET, Prefix=prefix),
                        lambda prefix=prefix: shared.list_multipart_uploads(
                            Bucket=BUCKET, Prefix=prefix
                        ),
                    ):
                        assert await answer(calls, work) == expected, (tenant, other)
                for prefix in ("", "tenant-", "tenant-a"):
                    listing = {"Bucket": BUCKET, "Prefix": prefix}
                    refused = await answer(
                        calls, lambda listing=listing: shared.list_objects_v2(**listing)
                    )
                    assert refused == 403, (tenant, prefix)
                assert await answer(calls, lambda: shared.delete_bucket(Bucket=BUCKET)) == 403

        await asyncio.gather(*(attack(tenant) for tenant in TENANTS))
    assert len(sessions) == len(TENANTS)


async def test_outside_of_a_call_nothing_is_reached(shared):
    with pytest.raises(GuardViolation):
        await asyncio.to_thread(shared.list_objects_v2, Bucket=BUCKET, Prefix="tenant-a/")


async def test_a_role_that_may_not_be_assumed_is_no_access(s3_endpoint, bucket):
    sts = s3_endpoint.client("sts")
    sessions = TenantSessions(
        service="storage",
        roles={"local": TenantRole(arn="arn:aws:iam::role/Nobody", aws_region="us-east-1")},
        issuer=StsIssuer(sts, tags=False),
    )
    with serving(TENANTS["A"]), pytest.raises(Unavailable):
        await sessions.ensure()
    sessions.close()
    sts.close()
