"""The CloudFormation template as the tests read it: one stack's values in place of its functions."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from cfnlint.decode import decode

PATH = Path(__file__).parents[3] / "deploy" / "aws" / "silo.yaml"

ACCOUNT = "111122223333"
REGION = "eu-central-1"
TABLE_ARN = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/EmailPlatform"
BUCKET_ARN = "arn:aws:s3:::email-platform-storage"

_VALUES = {
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::URLSuffix": "amazonaws.com",
    "NamePrefix": "silo",
    "ServicePrincipal": "ecs-tasks.amazonaws.com",
    "SearchDomainName": "silo-search",
    "TableName": "EmailPlatform",
    "BucketName": "email-platform-storage",
    "Table": "EmailPlatform",
    "Table.Arn": TABLE_ARN,
    "Bucket": "email-platform-storage",
    "Bucket.Arn": BUCKET_ARN,
    "PlatformKey.Arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/platform",
    "SearchPassword": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:search",
    "TenantBoundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
    **{
        f"{name}.Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}"
        for name in ("DataRole", "StorageRole", "TenantDataRole", "TenantStorageRole")
    },
    **{name: name for name in ("DataRole", "StorageRole")},
}


@functools.cache
def resources() -> dict[str, Any]:
    """The template's resources by logical name, as CloudFormation has them written."""
    template, problems = decode(str(PATH))
    assert not problems
    found: dict[str, Any] = template["Resources"]
    return found


def properties(name: str) -> Any:
    """A resource's properties in a stack of the tests' values."""
    return _resolved(resources()[name]["Properties"])


def inline_policies(role: str) -> list[Any]:
    """The documents of a role's inline policies, those that stand beside it included."""
    documents = [policy["PolicyDocument"] for policy in properties(role).get("Policies", ())]
    documents += [
        properties(name)["PolicyDocument"]
        for name, resource in resources().items()
        if resource["Type"] == "AWS::IAM::RolePolicy" and properties(name)["RoleName"] == role
    ]
    return documents


def _resolved(node: Any) -> Any:
    if isinstance(node, dict):
        if set(node) == {"Ref"}:
            return _VALUES[node["Ref"]]
        if set(node) == {"Fn::GetAtt"}:
            name = node["Fn::GetAtt"]
            return _VALUES[name if isinstance(name, str) else ".".join(name)]
        if set(node) == {"Fn::Sub"}:
            filled = re.sub(r"\$\{([\w:.]+)\}", lambda match: _VALUES[match[1]], node["Fn::Sub"])
            return filled.replace("${!", "${")
        return {str(key): _resolved(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(part) for part in node]
    return str(node) if isinstance(node, str) else node
