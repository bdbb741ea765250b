from __future__ import annotations

import json

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from services.aws.policy import FILES, TenantRole, session_policy
from services.table.ports import INDEXES
from tests.unit.aws import template
from tests.unit.aws.tenants import ROLE, context_of

TENANT_ROLES = {"data": "TenantDataRole", "storage": "TenantStorageRole"}
SERVICE_ROLES = ("ResolverRole", "DataRole", "StorageRole", "SearchRole")


def actions(document) -> set[str]:
    found: set[str] = set()
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            listed = statement["Action"]
            found |= {listed} if isinstance(listed, str) else set(listed)
    return found


def test_cfn_lint_finds_nothing() -> None:
    assert lint_file(template.PATH, ManualArgs(regions=["eu-central-1", "us-east-1"])) == []


def test_the_table_is_the_one_that_the_adapters_know() -> None:
    table = template.properties("Table")
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["PK", "SK"]
    found = {
        index["IndexName"]: tuple(key["AttributeName"] for key in index["KeySchema"])
        for index in table["GlobalSecondaryIndexes"]
    }
    assert found == INDEXES
    for index in table["GlobalSecondaryIndexes"]:
        assert index["Projection"] == {"ProjectionType": "ALL"}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["SSESpecification"]["SSEEnabled"] is True


def test_the_bucket_is_closed() -> None:
    bucket = template.properties("Bucket")
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    statements = template.properties("BucketPolicy")["PolicyDocument"]["Statement"]
    tls = next(statement for statement in statements if statement["Sid"] == "TlsOnly")
    assert tls["Effect"] == "Deny"
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_search_domain_is_closed() -> None:
    resource = template.resources()["Search"]["Properties"]
    assert resource["EncryptionAtRestOptions"]["Enabled"] is True
    assert resource["NodeToNodeEncryptionOptions"]["Enabled"] is True
    assert resource["DomainEndpointOptions"]["EnforceHTTPS"] is True
    assert resource["AdvancedSecurityOptions"]["Enabled"] is True
    assert resource["VPCOptions"]["SubnetIds"]


@pytest.mark.parametrize("service", FILES)
def test_a_tenant_role_and_its_session_policy_allow_the_same_actions(service: str) -> None:
    (role,) = template.inline_policies(TENANT_ROLES[service])
    session = json.loads(session_policy(service, context_of("A"), ROLE))
    assert actions(role) == actions(session)
    boundary = template.properties("TenantBoundary")["PolicyDocument"]
    assert actions(role) <= actions(boundary)


@pytest.mark.parametrize("service", FILES)
def test_a_tenant_role_names_its_tenant_by_the_sessions_tags(service: str) -> None:
    (role,) = template.inline_policies(TENANT_ROLES[service])
    for statement in role["Statement"]:
        assert "${aws:PrincipalTag/Silo" in json.dumps(statement), statement["Sid"]


@pytest.mark.parametrize("service", FILES)
def test_only_its_own_service_assumes_a_tenant_role_and_not_without_tags(service: str) -> None:
    role = template.properties(TENANT_ROLES[service])
    own = f"arn:aws:iam::{template.ACCOUNT}:role/{service.title()}Role"
    for statement in role["AssumeRolePolicyDocument"]["Statement"]:
        assert statement["Principal"] == {"AWS": own}
        assert statement["Condition"]
    assume = role["AssumeRolePolicyDocument"]["Statement"][0]
    assert assume["Condition"]["Null"] == {
        "aws:RequestTag/SiloTenant": "false",
        "aws:RequestTag/SiloSlug": "false",
    }
    assert role["PermissionsBoundary"] == f"arn:aws:iam::{template.ACCOUNT}:policy/boundary"


@pytest.mark.parametrize("role", [*SERVICE_ROLES, *TENANT_ROLES.values()])
def test_no_role_may_do_everything(role: str) -> None:
    for document in template.inline_policies(role):
        for action in actions(document):
            assert "*" not in action
            assert action not in {"dynamodb:Scan", "s3:DeleteBucket", "s3:PutBucketPolicy"}


def test_a_services_own_role_reaches_no_tenants_items_or_objects() -> None:
    for role in ("DataRole", "StorageRole", "SearchRole"):
        for document in template.inline_policies(role):
            for statement in document["Statement"]:
                for action in actions({"Statement": [statement]}):
                    assert not action.startswith("dynamodb:")
                    if action.endswith("Object"):
                        assert statement["Resource"] in {
                            f"{template.BUCKET_ARN}/audit/*",
                            f"{template.BUCKET_ARN}/.silo/locks/*",
                        }
                    if action == "s3:ListBucket":
                        only = {"StringLike": {"s3:prefix": "audit/*"}}
                        assert statement["Condition"] == only


def test_roles_of_the_template_are_taken_by_the_sessions() -> None:
    arn = f"arn:aws:iam::{template.ACCOUNT}:role/silo-tenant-data-{template.REGION}"
    assert TenantRole(arn=arn, aws_region=template.REGION).account == template.ACCOUNT
