"""The bucket itself: made as it should be, and compared with what it should be. For administrators; blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

LIFECYCLE_ID = "silo-bucket"
"""The id of the bucket's own lifecycle rule; those of tenants begin with `tenant-`."""

_PUBLIC = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}

_LACKING = frozenset({"NotImplemented", "NotSupported", "MethodNotAllowed", "501", "405"})

_ABSENT = frozenset(
    {
        "NoSuchBucket",
        "404",
        "NoSuchPublicAccessBlockConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        "NoSuchLifecycleConfiguration",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketPlan:
    """What a bucket should be.

    Attributes:
        name: the bucket.
        region: where it is.
        kms_key: the key that encrypts what has no key of its own; S3's own keys where empty.
        abort_days: after so many days S3 drops an upload in parts that never ended.
        noncurrent_days: after so many days an older version is gone for good.
    """

    name: str
    region: str
    kms_key: str = ""
    abort_days: int = 1
    noncurrent_days: int = 30

    @property
    def encryption(self) -> dict[str, Any]:
        """The default encryption, as S3 writes it."""
        if not self.kms_key:
            return {"SSEAlgorithm": "AES256"}
        return {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": self.kms_key}

    @property
    def rule(self) -> dict[str, Any]:
        """The bucket's own lifecycle rule, as S3 writes it."""
        return {
            "ID": LIFECYCLE_ID,
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
            "NoncurrentVersionExpiration": {"NoncurrentDays": self.noncurrent_days},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": self.abort_days},
        }


def create(client: S3Client, plan: BucketPlan) -> list[str]:
    """Makes the bucket where it is not there, and what differs from the plan as planned; never deletes anything.

    Returns:
        What the server lacks, such as `public access block`; empty on Amazon S3.

    Raises:
        botocore.exceptions.ClientError: the server refused.
    """
    _create_bucket(client, plan)
    steps: Mapping[str, Callable[[], object]] = {
        "versioning": lambda: client.put_bucket_versioning(
            Bucket=plan.name, VersioningConfiguration={"Status": "Enabled"}
        ),
        "public access block": lambda: client.put_public_access_block(
            Bucket=plan.name, PublicAccessBlockConfiguration=_as_any(_PUBLIC)
        ),
        "default encryption": lambda: client.put_bucket_encryption(
            Bucket=plan.name,
            ServerSideEncryptionConfiguration=_as_any(
                {
                    "Rules": [
                        {
                            "ApplyServerSideEncryptionByDefault": plan.encryption,
                            "BucketKeyEnabled": bool(plan.kms_key),
                        }
                    ]
                }
            ),
        ),
        "lifecycle": lambda: _put_rule(client, plan),
    }
    return [name for name, step in steps.items() if not _taken(step)]


def drift(client: S3Client, plan: BucketPlan) -> list[str]:
    """How the bucket differs from the plan, in words for an administrator; empty where it does not."""
    return list(_differences(client, plan))


def _differences(client: S3Client, plan: BucketPlan) -> Iterator[str]:
    name = plan.name
    if _asked(lambda: client.head_bucket(Bucket=name)) is None:
        yield f"bucket {name} is not there"
        return
    location = _asked(lambda: client.get_bucket_location(Bucket=name)) or {}
    region = location.get("LocationConstraint") or "us-east-1"
    if region != plan.region:
        yield f"bucket {name} is in {region}, not in {plan.region}"
    versioning = _asked(lambda: client.get_bucket_versioning(Bucket=name)) or {}
    if versioning.get("Status") != "Enabled":
        yield f"bucket {name} keeps no versions"
    public = _asked(lambda: client.get_public_access_block(Bucket=name)) or {}
    if public.get("PublicAccessBlockConfiguration") != _PUBLIC:
        yield f"bucket {name} does not block public access"
    encryption = _asked(lambda: client.get_bucket_encryption(Bucket=name)) or {}
    rules = encryption.get("ServerSideEncryptionConfiguration", {}).get("Rules", [])
    if plan.encryption not in [rule.get("ApplyServerSideEncryptionByDefault") for rule in rules]:
        yield f"bucket {name} has another default encryption"
    lifecycle = _asked(lambda: client.get_bucket_lifecycle_configuration(Bucket=name)) or {}
    if not any(_fits(rule, plan.rule) for rule in lifecycle.get("Rules", ())):
        yield f"bucket {name} lacks the lifecycle rule {LIFECYCLE_ID}"


def _fits(rule: Mapping[str, Any], planned: Mapping[str, Any]) -> bool:
    keys = ("ID", "Status", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
    return all(rule.get(key) == planned[key] for key in keys)


def _create_bucket(client: S3Client, plan: BucketPlan) -> None:
    if _asked(lambda: client.head_bucket(Bucket=plan.name)) is not None:
        return
    where: Any = {"LocationConstraint": plan.region}
    arguments = {} if plan.region == "us-east-1" else {"CreateBucketConfiguration": where}
    try:
        client.create_bucket(Bucket=plan.name, **arguments)
    except ClientError as error:
        if error.response["Error"].get("Code") != "BucketAlreadyOwnedByYou":
            raise


def _put_rule(client: S3Client, plan: BucketPlan) -> None:
    """Puts the bucket's own rule among the others. Before tenants have rules, or under their lock."""
    answer = _asked(lambda: client.get_bucket_lifecycle_configuration(Bucket=plan.name)) or {}
    rules = [rule for rule in answer.get("Rules", ()) if rule.get("ID") != LIFECYCLE_ID]
    client.put_bucket_lifecycle_configuration(
        Bucket=plan.name, LifecycleConfiguration=_as_any({"Rules": [*rules, plan.rule]})
    )


def _taken(step: Callable[[], object]) -> bool:
    try:
        step()
    except ClientError as error:
        if error.response["Error"].get("Code") in _LACKING:
            return False
        raise
    return True


def _asked(question: Callable[[], Any]) -> Mapping[str, Any] | None:
    try:
        answer: Mapping[str, Any] = question()
    except ClientError as error:
        if error.response["Error"].get("Code") in _ABSENT | _LACKING:
            return None
        raise
    return answer


def _as_any(value: object) -> Any:
    """A dictionary where the client's types want one spelled out."""
    return value
