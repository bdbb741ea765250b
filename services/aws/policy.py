"""Session policies: the files in `policies/`, rendered for exactly one tenant and one service.

A placeholder, `{{name}}`, stands inside a JSON string and is replaced after parsing, so that no value can
become structure. What IAM would read as a pattern or a variable is refused in every value.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boundary.context import TenantContext

_FOLDER = Path(__file__).with_name("policies")
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")
_LITERAL = re.compile(r"[A-Za-z0-9#/:._-]+")
_ROLE_ARN = re.compile(r"arn:(aws[a-z-]*):iam::(?:(\d{12}):)?role/[\w+=,.@/-]{1,512}")

MAX_CHARACTERS = 2048
"""The most that an inline session policy holds (AWS STS API reference, AssumeRole, Policy)."""

FILES = {
    "data": ("table", "keys"),
    "storage": ("objects", "keys"),
}
"""The policy files of each service that works under a tenant's session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRole:
    """The role that a service assumes for its tenants of one region.

    Attributes:
        arn: the role. Tables, buckets and keys are in its account. An S3 server with an STS of its own may name
            no account.
        aws_region: the AWS region that stands in ARNs.

    Raises:
        ValueError: the ARN is not a role's.
    """

    arn: str
    aws_region: str

    def __post_init__(self) -> None:
        self._parts()

    @property
    def aws_partition(self) -> str:
        """`aws`, `aws-cn` or `aws-us-gov`."""
        return self._parts()[0]

    @property
    def account(self) -> str:
        """The account's 12 digits, or empty."""
        return self._parts()[1]

    def _parts(self) -> tuple[str, str]:
        match = _ROLE_ARN.fullmatch(self.arn)
        if match is None:
            raise ValueError(f"{self.arn!r} is not the ARN of a role")
        return match[1], match[2] or ""


def session_policy(service: str, context: TenantContext, role: TenantRole) -> str:
    """The session policy that lets a service work for the context's tenant and no other, as JSON.

    Raises:
        KeyError: the service works under no tenant's session.
        ValueError: a name would widen the policy, or the policy is too long for STS.
    """
    values = _values(context, role)
    statements = [
        _filled(statement, values) for name in FILES[service] for statement in _statements(name)
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    if len(policy) > MAX_CHARACTERS:
        raise ValueError(f"the session policy has {len(policy)} characters, over {MAX_CHARACTERS}")
    return policy


def _values(context: TenantContext, role: TenantRole) -> dict[str, str]:
    names = {
        "table": context.partition.table,
        "partition_key": context.partition.key,
        "bucket": context.objects.bucket,
        "object_prefix": context.objects.prefix,
        "key_name": context.key.name,
        "tenant_id": context.tenant_id,
        "region": role.aws_region,
    }
    for name, value in names.items():
        if _LITERAL.fullmatch(value) is None:
            raise ValueError(f"{name} holds characters that a policy may not: {value!r}")
    region, account, aws = role.aws_region, role.account, role.aws_partition
    return names | {
        "table_arn": f"arn:{aws}:dynamodb:{region}:{account}:table/{names['table']}",
        "bucket_arn": f"arn:{aws}:s3:::{names['bucket']}",
        # Which of the keys is for the conditions to say: no name of a key is known here.
        "any_key_arn": f"arn:{aws}:kms:{region}:{account}:key/*",
        "dns_suffix": "amazonaws.com.cn" if aws == "aws-cn" else "amazonaws.com",
    }


@functools.cache
def _statements(name: str) -> tuple[Any, ...]:
    return tuple(json.loads((_FOLDER / f"{name}.json").read_text())["Statement"])


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    """A copy of a JSON value with every placeholder replaced.

    Raises:
        KeyError: there is no value for a placeholder.
    """
    if isinstance(node, str):
        return _PLACEHOLDER.sub(lambda match: values[match[1]], node)
    if isinstance(node, list):
        return [_filled(part, values) for part in node]
    if isinstance(node, dict):
        return {key: _filled(part, values) for key, part in node.items()}
    return node
