"""Tenants of several regions in one suite: each one's data is in its own region's engines, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import grpc
import pytest

from devstack.stack import Stack
from silo.data.v1 import campaign_pb2, campaign_pb2_grpc, tenant_config_pb2, tenant_config_pb2_grpc
from silo.resolver.v1 import tenant_pb2, tenant_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.engines.production import REGION, environment_on, region_on
from tests.engines.servers.s3 import S3Server

TENANTS = {
    "here": {},
    "dedicated": {"table": "Dedicated", "bucket": "dedicated"},
    "there": {"region": "elsewhere"},
}
PLACES = {
    "here": ("EmailPlatform", "pool"),
    "dedicated": ("Dedicated", "dedicated"),
    "there": ("Elsewhere", "elsewhere"),
}


@pytest.fixture(scope="module")
def regional(
    tmp_path_factory: pytest.TempPathFactory,
    dynamodb_endpoint: str,
    s3_endpoint: S3Server,
    opensearch_endpoint: str,
) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("regions")
    engines = {"dynamodb": dynamodb_endpoint, "s3": s3_endpoint, "opensearch": opensearch_endpoint}
    regions = {
        REGION: region_on(
            **engines,
            tables=("EmailPlatform", "Dedicated"),
            buckets=("pool", "dedicated"),
        ),
        "elsewhere": region_on(**engines, tables=("Elsewhere",), buckets=("elsewhere",)),
    }
    environment = environment_on(folder, s3=s3_endpoint, regions=regions)
    with Stack(
        home=folder / "home", environment=environment, tenants=(), drain_seconds=1.0
    ) as stack:
        with grpc.insecure_channel(stack.gateway) as channel:
            tenants = tenant_pb2_grpc.TenantServiceStub(channel)
            for tenant_id, placement in TENANTS.items():
                tenants.CreateTenant(
                    tenant_pb2.CreateTenantRequest(
                        tenant_id=tenant_id,
                        tenant=tenant_pb2.Tenant(
                            display_name=tenant_id, placement=tenant_pb2.Placement(**placement)
                        ),
                    ),
                    metadata=bearer(stack.operator_token()),
                    timeout=10,
                )
        yield stack


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


@pytest.mark.parametrize("tenant_id", TENANTS)
def test_a_tenants_data_is_where_it_is_placed_and_nowhere_else(
    regional: Stack, dynamodb_endpoint: str, s3_endpoint: S3Server, tenant_id: str
) -> None:
    common: dict[str, Any] = {"metadata": bearer(regional.token(tenant_id)), "timeout": 10}
    with grpc.insecure_channel(regional.gateway) as channel:
        campaign_pb2_grpc.CampaignServiceStub(channel).CreateCampaign(
            campaign_pb2.CreateCampaignRequest(
                campaign_id="c", campaign=campaign_pb2.Campaign(display_name="c")
            ),
            **common,
        )
        requests = [
            object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path="exports/o")),
            object_pb2.UploadObjectRequest(chunk=b"o"),
        ]
        object_pb2_grpc.ObjectServiceStub(channel).UploadObject(iter(requests), **common)
        config = tenant_config_pb2.TenantConfig(name="config", default_from_name=tenant_id)
        changed = tenant_config_pb2_grpc.TenantConfigServiceStub(channel).UpdateTenantConfig(
            tenant_config_pb2.UpdateTenantConfigRequest(tenant_config=config), **common
        )
    assert changed.tenant_config.default_from_name == tenant_id
    assert changed.tenant_config.display_name == tenant_id
    table = boto3.client(
        "dynamodb",
        endpoint_url=dynamodb_endpoint,
        region_name=REGION,
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    bucket = s3_endpoint.client("s3")
    for name, (table_name, bucket_name) in PLACES.items():
        key = {"PK": {"S": f"TENANT#{tenant_id}"}, "SK": {"S": "CAMPAIGN#c"}}
        item = table.get_item(TableName=table_name, Key=key).get("Item")
        listed = bucket.list_objects_v2(Bucket=bucket_name, Prefix=f"tenant-{tenant_id}/exports/")
        assert (item is not None) == (name == tenant_id)
        assert bool(listed.get("Contents")) == (name == tenant_id)
    table.close()
    bucket.close()


def test_a_place_that_no_region_has_is_refused(regional: Stack) -> None:
    with (
        grpc.insecure_channel(regional.gateway) as channel,
        pytest.raises(grpc.RpcError) as refused,
    ):
        tenant_pb2_grpc.TenantServiceStub(channel).CreateTenant(
            tenant_pb2.CreateTenantRequest(
                tenant_id="nowhere",
                tenant=tenant_pb2.Tenant(
                    display_name="x",
                    placement=tenant_pb2.Placement(region="elsewhere", table="Dedicated"),
                ),
            ),
            metadata=bearer(regional.operator_token()),
            timeout=10,
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
