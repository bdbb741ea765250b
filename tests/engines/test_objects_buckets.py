"""The bucket and the lifecycle rules of tenants on a real server."""

from __future__ import annotations

import asyncio

from botocore.credentials import Credentials

from services.storage.rules import Rule
from services.storage.s3 import S3Objects
from services.storage.s3_buckets import BucketPlan, create, drift
from services.storage.s3_client import S3Endpoint, s3_client
from services.storage.s3_lifecycle import LocalLocks
from tests.contexts import PLACEMENT, make_context
from tests.engines.servers.s3 import S3Server

PLAN = BucketPlan(name=PLACEMENT.bucket, region="us-east-1")


async def test_made_as_planned_with_the_rules_of_tenants(s3_endpoint: S3Server) -> None:
    client = s3_client(
        S3Endpoint(region="us-east-1", url=s3_endpoint.url, path_style=True),
        Credentials(s3_endpoint.access_key, s3_endpoint.secret_key),
    )
    adapter = S3Objects(client)
    try:
        for _ in range(2):
            lacking = await asyncio.to_thread(create, client, PLAN)
            assert lacking == []
            assert await asyncio.to_thread(drift, client, PLAN) == []
        rules = adapter.lifecycle(LocalLocks())
        tenants = [make_context(name, audience="storage").objects for name in ("a", "ab", "a-b")]
        exports = Rule(name="exports", under="exports/", expire_days=7)
        await asyncio.gather(*(rules.replace(tenant, [exports]) for tenant in tenants))
        await rules.replace(tenants[0], [])
        assert [await rules.read(tenant) for tenant in tenants] == [[], [exports], [exports]]
        assert await asyncio.to_thread(drift, client, PLAN) == []
    finally:
        await asyncio.to_thread(adapter.close)
        client.delete_bucket(Bucket=PLAN.name)
        client.close()
