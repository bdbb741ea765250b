"""What IAM answers to a tenant's session: the session policy as it is rendered, the tenant role's own policy, its
boundary and the resources' policies from the CloudFormation template, decided by a simulator.

Tenants A, A-1, AB, a1 and B are one another's neighbours by prefix.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from services.aws.policy import FILES, session_policy
from tests.engines.servers.iam_simulator import iam_simulator_folder, simulate
from tests.unit.aws import template
from tests.unit.aws.template import ACCOUNT, BUCKET_ARN, REGION, TABLE_ARN
from tests.unit.aws.tenants import ROLE, context_of

pytestmark = pytest.mark.timeout(360)  # the first test's time includes installing the simulator

NEIGHBOURS = ("A-1", "AB", "a1", "B", "a")
ROLES = {"data": "TenantDataRole", "storage": "TenantStorageRole"}
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000001"
ITEM_ACTIONS = (
    "dynamodb:GetItem",
    "dynamodb:BatchGetItem",
    "dynamodb:Query",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:DeleteItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
)
BATCHES = ("dynamodb:BatchGetItem", "dynamodb:BatchWriteItem")
OBJECT_ACTIONS = (
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:ListMultipartUploadParts",
    "s3:AbortMultipartUpload",
)
LEADING = "dynamodb:LeadingKeys"


@dataclass(frozen=True)
class Case:
    """A request of tenant A's session."""

    action: str
    resource: str
    context: dict[str, str | list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.action} {self.resource} {json.dumps(self.context)}"


def simulation(
    service: str, case: Case, *, tenant: str = "A", role: bool = True, session: bool = True
) -> dict[str, Any]:
    """A simulation of a case under a tenant's session.

    Without the role, or without the session policy, it is replaced by one that allows everything: the other has
    to hold by itself.
    """
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }
    policies = template.inline_policies(ROLES[service]) if role else [everything]
    boundary = template.properties("TenantBoundary")["PolicyDocument"] if role else everything
    found: dict[str, Any] = {
        "request": {
            "principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLES[service]}/silo-{service}-{tenant}",
            "action": case.action,
            "resource": {"resource": case.resource, "accountId": ACCOUNT},
            "contextVariables": {
                "aws:PrincipalTag/SiloTenant": tenant,
                "aws:PrincipalTag/SiloSlug": tenant.lower(),
                "aws:SecureTransport": "true",
                **case.context,
            },
        },
        "identityPolicies": [{"name": "role", "policy": policy} for policy in policies],
        "sessionPolicy": (
            json.loads(session_policy(service, context_of(tenant), ROLE)) if session else everything
        ),
        "permissionBoundaryPolicies": [{"name": "boundary", "policy": boundary}],
        "serviceControlPolicies": [],
        "resourceControlPolicies": [],
    }
    if case.action.startswith("s3:"):
        found["resourcePolicy"] = template.properties("BucketPolicy")["PolicyDocument"]
    if case.action.startswith("kms:"):
        found["resourcePolicy"] = template.properties("PlatformKey")["KeyPolicy"]
    return found


def check(service: str, cases: list[Case], *, allowed: bool, **how: bool) -> None:
    answers = simulate([simulation(service, case, **how) for case in cases])
    wrong = [
        f"{answer}: {case}"
        for case, answer in zip(cases, answers, strict=True)
        if (answer == "Allowed") is not allowed
    ]
    assert wrong == []


LAYERS = pytest.mark.parametrize(
    "how",
    [{}, {"role": False}, {"session": False}],
    ids=["session-and-role", "session-alone", "role-alone"],
)


@pytest.fixture(scope="module", autouse=True)
def _simulator() -> None:
    iam_simulator_folder()


# The table


def items(action: str, *keys: str, resource: str = TABLE_ARN) -> Case:
    return Case(action, resource, {LEADING: list(keys)})


@LAYERS
def test_a_tenant_reaches_its_own_items(how):
    cases = [items(action, "TENANT#A") for action in ITEM_ACTIONS]
    cases += [items(action, "TENANT#A", "TENANT#A") for action in BATCHES]
    cases += [
        items("dynamodb:Query", f"TENANT#A#{part}", resource=f"{TABLE_ARN}/index/GSI{number}")
        for number in (1, 2, 3)
        for part in ("CAMPAIGN#STATUS#SENT", "USER")
    ]
    check("data", cases, allowed=True, **how)


@LAYERS
def test_a_tenant_reaches_no_neighbours_items(how):
    keys = [f"TENANT#{name}" for name in NEIGHBOURS]
    keys += ["TENANT#", "TENANT#A#", "TENANT#A#X", "TENANT", "A", "SLUG#a", "DIRECTORY#TENANTS", ""]
    cases = [items(action, key) for action in ITEM_ACTIONS for key in keys]
    cases += [
        items(action, "TENANT#A", f"TENANT#{name}") for action in BATCHES for name in NEIGHBOURS
    ]
    check("data", cases, allowed=False, **how)


@LAYERS
def test_a_tenant_reads_no_neighbours_part_of_an_index(how):
    keys = [f"TENANT#{name}#USER" for name in NEIGHBOURS]
    keys += ["TENANT#A", "TENANT#A-1#", "TENANT#AB#A#", "DIRECTORY#TENANTS", "TENANT#", "A#USER"]
    cases = [
        items("dynamodb:Query", key, resource=f"{TABLE_ARN}/index/GSI{number}")
        for number in (1, 2, 3)
        for key in keys
    ]
    check("data", cases, allowed=False, **how)


@LAYERS
def test_a_request_that_names_no_key_is_refused(how):
    """ForAllValues is true of no values at all; the Null condition is what refuses these."""
    cases = [Case(action, TABLE_ARN) for action in ITEM_ACTIONS]
    cases += [Case("dynamodb:Query", f"{TABLE_ARN}/index/GSI1")]
    check("data", cases, allowed=False, **how)


@LAYERS
def test_scans_statements_and_administration_are_refused(how):
    cases = [
        Case("dynamodb:Scan", TABLE_ARN),
        Case("dynamodb:Scan", f"{TABLE_ARN}/index/GSI1"),
        *(
            Case(f"dynamodb:PartiQL{verb}", TABLE_ARN, {LEADING: ["TENANT#A"]})
            for verb in ("Select", "Insert", "Update", "Delete")
        ),
        *(
            Case(f"dynamodb:{verb}", TABLE_ARN)
            for verb in ("DescribeTable", "UpdateTable", "DeleteTable", "UpdateTimeToLive")
        ),
        Case("dynamodb:ExportTableToPointInTime", TABLE_ARN),
    ]
    check("data", cases, allowed=False, **how)


@LAYERS
def test_other_tables_and_indexes_are_refused(how):
    others = [
        TABLE_ARN + "2",
        TABLE_ARN.replace("EmailPlatform", "Email"),
        TABLE_ARN.replace(REGION, "us-east-1"),
        TABLE_ARN.replace(ACCOUNT, "999999999999"),
    ]
    cases = [
        items(action, "TENANT#A", resource=other) for action in ITEM_ACTIONS for other in others
    ]
    cases += [
        items("dynamodb:Query", "TENANT#A#USER", resource=f"{TABLE_ARN}{suffix}")
        for suffix in ("/index/GSI4", "/index/GSI", "/index/GSI11", "2/index/GSI1")
    ]
    check("data", cases, allowed=False, **how)


# The bucket


def listing(action: str, prefix: str, *, bucket: str = BUCKET_ARN) -> Case:
    return Case(action, bucket, {"s3:prefix": prefix})


@LAYERS
def test_a_tenant_reaches_its_own_objects(how):
    paths = ("templates/html/1.html", "x", "exports/a/b/c.csv", "tenant-b/x")
    cases = [
        Case(action, f"{BUCKET_ARN}/tenant-a/{path}") for action in OBJECT_ACTIONS for path in paths
    ]
    cases += [
        listing(action, prefix)
        for action in ("s3:ListBucket", "s3:ListBucketVersions")
        for prefix in ("tenant-a/", "tenant-a/templates/", "tenant-a/x")
    ]
    check("storage", cases, allowed=True, **how)


@LAYERS
def test_a_tenant_reaches_no_neighbours_objects(how):
    keys = [f"tenant-{name.lower()}/x" for name in NEIGHBOURS if name != "a"]
    keys += ["tenant-a", "tenant-ax", "tenant-A/x", "x", "x/tenant-a/y", "/tenant-a/x", "tenant-/x"]
    cases = [Case(action, f"{BUCKET_ARN}/{key}") for action in OBJECT_ACTIONS for key in keys]
    cases += [Case("s3:GetObject", f"{BUCKET_ARN}2/tenant-a/x")]
    cases += [Case("s3:GetObject", "arn:aws:s3:::other/tenant-a/x")]
    check("storage", cases, allowed=False, **how)


@LAYERS
def test_a_tenant_lists_nothing_but_its_own(how):
    prefixes = [
        "",
        "tenant-",
        "tenant-a",
        "tenant-ab/",
        "tenant-a-1/",
        "tenant-a1/",
        "tenant-b/",
        "/",
    ]
    cases = [
        listing(action, prefix)
        for action in ("s3:ListBucket", "s3:ListBucketVersions")
        for prefix in prefixes
    ]
    cases += [Case(action, BUCKET_ARN) for action in ("s3:ListBucket", "s3:ListBucketVersions")]
    # AWS has no prefix for this listing (the simulator drops it, as AWS would), so none is allowed.
    cases += [listing("s3:ListBucketMultipartUploads", prefix) for prefix in ("tenant-a/", "")]
    cases += [listing("s3:ListBucket", "tenant-a/", bucket="arn:aws:s3:::other")]
    check("storage", cases, allowed=False, **how)


@LAYERS
def test_nothing_is_done_to_the_bucket_or_in_the_clear(how):
    cases = [
        Case(f"s3:{verb}", BUCKET_ARN)
        for verb in (
            "PutLifecycleConfiguration",
            "PutBucketPolicy",
            "DeleteBucket",
            "PutBucketVersioning",
            "PutEncryptionConfiguration",
        )
    ]
    own = f"{BUCKET_ARN}/tenant-a/x"
    cases += [Case(f"s3:{verb}", own) for verb in ("PutObjectAcl", "BypassGovernanceRetention")]
    cases += [Case("s3:GetObject", own, {"aws:SecureTransport": "false"})]
    check("storage", cases, allowed=False, **how)


# The keys


def key_use(action: str, *, alias: str, **context: str) -> Case:
    named = {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
    return Case(action, KEY_ARN, {"kms:RequestAlias": alias, **named})


def via_s3(action: str, arn: str, *, service: str = f"s3.{REGION}.amazonaws.com") -> Case:
    context: dict[str, str | list[str]] = {
        "kms:ViaService": service,
        "kms:EncryptionContext:aws:s3:arn": arn,
    }
    return Case(action, KEY_ARN, context)


USES = ("kms:GenerateDataKey", "kms:Encrypt", "kms:Decrypt")


@LAYERS
@pytest.mark.parametrize("service", FILES)
def test_a_tenant_uses_its_own_key(service, how):
    cases = [
        key_use(use, alias="alias/silo/tenant-a", tenant="A", purpose="objects") for use in USES
    ]
    cases += [
        key_use("kms:DescribeKey", alias=f"alias/silo/{folder}tenant-a")
        for folder in ("", "destroyed/")
    ]
    check(service, cases, allowed=True, **how)


@LAYERS
@pytest.mark.parametrize("service", FILES)
def test_a_tenant_uses_no_other_key(service, how):
    cases = [
        key_use(use, alias=f"alias/silo/tenant-{name.lower()}", tenant=tenant)
        for use in USES
        for name in NEIGHBOURS
        if name != "a"
        for tenant in ("A", name)
    ]
    cases += [
        key_use(use, alias="alias/silo/tenant-a", tenant=tenant)
        for use in USES
        for tenant in (*NEIGHBOURS, "")
    ]
    cases += [Case(use, KEY_ARN) for use in USES]
    cases += [Case(use, KEY_ARN, {"kms:EncryptionContext:tenant": "A"}) for use in USES]
    cases += [Case(use, KEY_ARN, {"kms:RequestAlias": "alias/silo/tenant-a"}) for use in USES]
    cases += [key_use(use, alias="alias/silo/platform", tenant="A") for use in USES]
    cases += [
        Case(f"kms:{verb}", KEY_ARN, {"kms:RequestAlias": "alias/silo/tenant-a"})
        for verb in ("ScheduleKeyDeletion", "DisableKey", "CreateGrant", "PutKeyPolicy")
    ]
    check(service, cases, allowed=False, **how)


@LAYERS
def test_objects_are_encrypted_below_the_prefix_alone(how):
    uses = ("kms:GenerateDataKey", "kms:Decrypt")
    own = f"{BUCKET_ARN}/tenant-a/x"
    check("storage", [via_s3(use, own) for use in uses], allowed=True, **how)
    foreign = [f"{BUCKET_ARN}/tenant-{name}/x" for name in ("ab", "a-1", "a1", "b")]
    cases = [via_s3(use, arn) for use in uses for arn in (*foreign, BUCKET_ARN, "")]
    cases += [via_s3(use, own, service=f"ec2.{REGION}.amazonaws.com") for use in uses]
    cases += [Case(use, KEY_ARN, {"kms:EncryptionContext:aws:s3:arn": own}) for use in uses]
    check("storage", cases, allowed=False, **how)


# Across services


def test_one_services_session_is_worth_nothing_at_anothers_engine():
    check("storage", [items(action, "TENANT#A") for action in ITEM_ACTIONS], allowed=False)
    objects = [Case(action, f"{BUCKET_ARN}/tenant-a/x") for action in OBJECT_ACTIONS]
    check("data", objects, allowed=False)


@pytest.mark.parametrize("tenant", NEIGHBOURS)
def test_every_neighbour_has_its_own_and_not_as(tenant):
    own = [items(action, f"TENANT#{tenant}") for action in ITEM_ACTIONS]
    foreign = [items(action, "TENANT#A") for action in ITEM_ACTIONS]
    answers = simulate([simulation("data", case, tenant=tenant) for case in (*own, *foreign)])
    assert answers == ["Allowed"] * len(own) + ["ImplicitlyDenied"] * len(foreign)


def test_a_session_without_tags_reaches_nothing():
    case = items("dynamodb:GetItem", "TENANT#A")
    untagged = simulation("data", case, session=False)
    for name in ("SiloTenant", "SiloSlug"):
        del untagged["request"]["contextVariables"][f"aws:PrincipalTag/{name}"]
    bare = simulation("data", items("dynamodb:GetItem", "TENANT#"), session=False)
    for name in ("SiloTenant", "SiloSlug"):
        del bare["request"]["contextVariables"][f"aws:PrincipalTag/{name}"]
    assert simulate([untagged, bare]) == ["ImplicitlyDenied", "ImplicitlyDenied"]


def test_it_is_the_null_condition_that_refuses_a_request_without_keys():
    """The simulator tells the difference: without that condition the same request is allowed."""
    found = simulation("data", Case("dynamodb:GetItem", TABLE_ARN), role=False)
    for statement in found["sessionPolicy"]["Statement"]:
        statement["Condition"].pop("Null", None)
    assert simulate([found]) == ["Allowed"]


@pytest.mark.parametrize(
    ("without", "case", "service"),
    [
        ("/", Case("s3:GetObject", f"{BUCKET_ARN}/tenant-ab/x"), "storage"),
        (
            "#",
            items("dynamodb:Query", "TENANT#AB#USER", resource=f"{TABLE_ARN}/index/GSI1"),
            "data",
        ),
    ],
)
def test_it_is_the_delimiter_that_keeps_neighbours_apart(without, case, service):
    found = simulation(service, case, role=False)
    assert simulate([found]) == ["ImplicitlyDenied"]
    text = json.dumps(found["sessionPolicy"]).replace(f"{without}*", "*")
    found["sessionPolicy"] = json.loads(text)
    assert simulate([found]) == ["Allowed"]


# The services' own roles


def own(role: str, case: Case) -> dict[str, Any]:
    """A simulation of a case under a service's own role, with no tenant's session."""
    found = simulation("data", case)
    del found["sessionPolicy"], found["permissionBoundaryPolicies"]
    found["request"]["principal"] = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/task"
    found["request"]["contextVariables"] = {"aws:SecureTransport": "true", **case.context}
    found["identityPolicies"] = [
        {"name": f"{role}-{number}", "policy": policy}
        for number, policy in enumerate(template.inline_policies(role))
    ]
    return found


def test_the_resolver_reaches_the_directory_and_no_more():
    index = f"{TABLE_ARN}/index/GSI1"
    allowed = [
        *(items(f"dynamodb:{verb}Item", "TENANT#A") for verb in ("Get", "Put", "Update")),
        items("dynamodb:PutItem", "TENANT#A", "SLUG#a"),
        items("dynamodb:DeleteItem", "TENANT#A", "SLUG#a"),  # an onboarding that is rolled back
        *(
            items(f"dynamodb:{verb}Item", key)
            for verb in ("Get", "Put", "Update", "ConditionCheck")
            for key in (f"OPERATION#{'0' * 32}", "OPERATIONS#A")
        ),
        *(
            items(
                "dynamodb:Query",
                f"DIRECTORY#OPERATIONS{part}",
                resource=f"{TABLE_ARN}/index/GSI{number}",
            )
            for number, part in ((1, ""), (2, "#TENANT#A"), (3, "#STATE#RUNNING"))
        ),
        items("dynamodb:Query", "DIRECTORY#TENANTS", resource=index),
        items("dynamodb:Query", "DIRECTORY#TENANTS", resource=f"{TABLE_ARN}/index/GSI2"),
    ]
    refused = [
        items("dynamodb:Query", "TENANT#A"),
        items("dynamodb:Query", "TENANT#A#USER", resource=index),
        items("dynamodb:Query", "OPERATION#" + "0" * 32),
        items("dynamodb:Query", "DIRECTORY#OPERATIONSX", resource=index),
        items("dynamodb:Query", "DIRECTORY#TENANTS", resource=f"{TABLE_ARN}/index/GSI3"),
        Case("dynamodb:GetItem", TABLE_ARN),
        Case("dynamodb:Scan", TABLE_ARN),
        Case("s3:GetObject", f"{BUCKET_ARN}/tenant-a/x"),
        key_use("kms:Decrypt", alias="alias/silo/tenant-a", tenant="A"),
        Case("kms:ScheduleKeyDeletion", KEY_ARN),  # a key that bears no tenant's tag
    ]
    tagged = {"aws:ResourceTag/SiloTenant": "A"}
    allowed += [
        Case(f"kms:{verb}", KEY_ARN, tagged)
        for verb in ("DescribeKey", "RotateKeyOnDemand", "DisableKey", "ScheduleKeyDeletion")
    ]
    allowed += [Case("kms:CreateKey", "*", {"aws:RequestTag/SiloTenant": "A"})]
    answers = simulate([own("ResolverRole", case) for case in (*allowed, *refused)])
    wrong = [
        f"{answer}: {case}"
        for case, answer in zip((*allowed, *refused), answers, strict=True)
        if (answer == "Allowed") is not (case in allowed)
    ]
    assert wrong == []


def test_without_a_tenants_session_a_service_reaches_nothing():
    cases = [items(action, "TENANT#A") for action in ITEM_ACTIONS]
    cases += [Case(action, f"{BUCKET_ARN}/tenant-a/x") for action in OBJECT_ACTIONS]
    cases += [key_use(use, alias="alias/silo/tenant-a", tenant="A") for use in USES]
    for role in ("DataRole", "StorageRole", "SearchRole"):
        answers = simulate([own(role, case) for case in cases])
        assert set(answers) == {"ImplicitlyDenied"}, role


def test_a_tenant_role_is_assumed_by_its_service_with_tags_and_by_nobody_else():
    def assume(role: str, target: str, name: str, **tags: str) -> dict[str, Any]:
        context: dict[str, str | list[str]] = {"sts:RoleSessionName": name}
        context |= {f"aws:RequestTag/{tag}": value for tag, value in tags.items()}
        arn = f"arn:aws:iam::{ACCOUNT}:role/{target}"
        found = own(role, Case("sts:AssumeRole", arn, context))
        found["request"]["principal"] = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        found["resourcePolicy"] = template.properties(target)["AssumeRolePolicyDocument"]
        return found

    tags = {"SiloTenant": "A", "SiloSlug": "a"}
    answers = simulate(
        [
            assume("DataRole", "TenantDataRole", "silo-data-A", **tags),
            assume("StorageRole", "TenantStorageRole", "silo-storage-A", **tags),
            assume("DataRole", "TenantDataRole", "silo-data-A"),
            assume("DataRole", "TenantDataRole", "silo-data-A", SiloTenant="A"),
            assume("DataRole", "TenantDataRole", "somebody", **tags),
            assume("DataRole", "TenantStorageRole", "silo-storage-A", **tags),
            assume("StorageRole", "TenantDataRole", "silo-data-A", **tags),
            assume("SearchRole", "TenantDataRole", "silo-data-A", **tags),
            assume("ResolverRole", "TenantDataRole", "silo-data-A", **tags),
        ]
    )
    assert answers[:2] == ["Allowed", "Allowed"]
    assert "Allowed" not in answers[2:]
