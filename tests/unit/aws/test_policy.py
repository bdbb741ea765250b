from __future__ import annotations

import json
from pathlib import Path

import pytest

from boundary.context import Placement
from services.aws import policy
from services.aws.policy import FILES, MAX_CHARACTERS, TenantRole, session_policy
from tests.unit.aws.tenants import ROLE, context_of

FORBIDDEN = ("dynamodb:Scan", "dynamodb:PartiQL", "dynamodb:*", "s3:*", "kms:*", "es:*", '"*"')


def statements(service: str, tenant_id: str) -> dict[str, dict[str, object]]:
    document = json.loads(session_policy(service, context_of(tenant_id), ROLE))
    return {statement["Sid"]: statement for statement in document["Statement"]}


def test_the_tables_policy_is_the_exact_partition() -> None:
    items = statements("data", "A")["Items"]
    assert items["Resource"] == "arn:aws:dynamodb:eu-central-1:111122223333:table/EmailPlatform"
    assert items["Condition"] == {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "TENANT#A"},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def test_an_indexes_policy_ends_with_the_separator() -> None:
    indexes = statements("data", "A")["Indexes"]
    assert indexes["Action"] == "dynamodb:Query"
    assert indexes["Condition"] == {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": "TENANT#A#*"},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def test_the_buckets_policy_is_the_prefix_with_its_slash() -> None:
    found = statements("storage", "A")
    bucket = "arn:aws:s3:::email-platform-storage"
    assert found["Objects"]["Resource"] == f"{bucket}/tenant-a/*"
    assert found["Listings"]["Resource"] == bucket
    assert found["Listings"]["Condition"] == {"StringLike": {"s3:prefix": "tenant-a/*"}}


@pytest.mark.parametrize("service", FILES)
def test_every_condition_on_a_set_of_keys_asks_that_there_are_any(service: str) -> None:
    for statement in statements(service, "A").values():
        condition = statement.get("Condition", {})
        assert isinstance(condition, dict)
        for operator, keys in condition.items():
            if operator.startswith("ForAllValues:"):
                for key in keys:
                    assert condition["Null"][key] == "false"


@pytest.mark.parametrize("service", FILES)
def test_the_longest_names_fit(service: str) -> None:
    placement = Placement(region="local", table="T" * 64, bucket="b" * 63, search_cluster="local")
    role = TenantRole(
        arn="arn:aws-us-gov:iam::111122223333:role/silo-tenant", aws_region="ap-southeast-2"
    )
    text = session_policy(service, context_of("X" * 40, placement=placement), role)
    assert len(text) <= MAX_CHARACTERS
    assert not [action for action in FORBIDDEN if action in text]


@pytest.mark.parametrize("service", FILES)
def test_no_placeholder_is_left(service: str) -> None:
    text = session_policy(service, context_of("A"), ROLE)
    assert "{{" not in text
    assert "$" not in text


@pytest.mark.parametrize("bad", ["*", "Email*", "a?", "${aws:username}", 'a"', "", "a b"])
def test_a_name_that_would_widen_the_policy_is_refused(bad: str) -> None:
    for places in ({"table": bad, "bucket": "b"}, {"table": "t", "bucket": bad}):
        placement = Placement(region="local", search_cluster="local", **places)
        with pytest.raises(ValueError, match="characters"):
            session_policy("data", context_of("A", placement=placement), ROLE)


def test_a_service_without_a_policy_gets_none() -> None:
    with pytest.raises(KeyError):
        session_policy("search", context_of("A"), ROLE)


@pytest.mark.parametrize(
    "arn", ["", "silo", "arn:aws:iam::1:role/x", "arn:aws:iam::*:role/x", "arn:aws:sts::role/x"]
)
def test_a_role_is_named_by_its_arn(arn: str) -> None:
    with pytest.raises(ValueError, match="ARN"):
        TenantRole(arn=arn, aws_region="eu-central-1")


def test_every_file_belongs_to_a_service() -> None:
    files = {path.stem for path in (Path(policy.__file__).parent / "policies").glob("*.json")}
    assert files == {name for names in FILES.values() for name in names}
