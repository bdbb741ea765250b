"""Sessions from AWS STS, over one client with boto3."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from boundary.errors import ResourceExhausted, Unavailable
from services.aws.sessions import IssuedKey, SessionRequest

if TYPE_CHECKING:
    from types_boto3_sts import STSClient

_log = logging.getLogger(__name__)

TENANT_TAG = "SiloTenant"
"""The session tag that holds the tenant id; the tenant roles' own policies compare partition keys with it."""

SLUG_TAG = "SiloSlug"
"""The session tag that holds the slug; the tenant roles' own policies compare prefixes and aliases with it."""

_THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
}

_CONFIG = Config(
    connect_timeout=2,
    read_timeout=3,
    # AssumeRole may be repeated: a session that nobody received harms nobody.
    retries={"mode": "standard", "total_max_attempts": 2},
    max_pool_connections=8,
)


class StsIssuer:
    """Asks STS for sessions (services.aws.sessions.Issuer)."""

    def __init__(self, client: STSClient, *, tags: bool = True) -> None:
        """Takes an STS client of the service's own identity.

        Args:
            client: asks STS.
            tags: whether sessions carry the tenant as tags; S3 servers with an STS of their own know none.
        """
        self._client = client
        self._tags = tags

    def assume(self, request: SessionRequest) -> IssuedKey:
        """See Issuer.assume."""
        tags = [
            {"Key": TENANT_TAG, "Value": request.tenant_id},
            {"Key": SLUG_TAG, "Value": request.slug},
        ]
        try:
            answer = self._client.assume_role(
                RoleArn=request.role_arn,
                RoleSessionName=request.name,
                Policy=request.policy,
                DurationSeconds=request.seconds,
                **({"Tags": tags} if self._tags else {}),  # type: ignore[arg-type]  # a TypedDict's shape
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _THROTTLED:
                raise ResourceExhausted(
                    "CREDENTIALS_THROTTLED", "too many credentials are asked for", retry_after=1.0
                ) from error
            _log.error("STS refused the session %s: %s", request.name, code)
            raise _unavailable() from error
        except BotoCoreError as error:
            _log.warning("STS does not answer: %s", type(error).__name__)
            raise _unavailable() from error
        credentials = answer["Credentials"]
        return IssuedKey(
            access_key=credentials["AccessKeyId"],
            secret_key=credentials["SecretAccessKey"],
            token=credentials["SessionToken"],
        )


def sts_client(*, aws_region: str, endpoint: str | None = None) -> STSClient:
    """A client for the region's own STS endpoint, under the process's own identity."""
    client: STSClient = boto3.Session().client(
        "sts", region_name=aws_region, endpoint_url=endpoint, config=_CONFIG
    )
    return client


def _unavailable() -> Unavailable:
    return Unavailable(
        "CREDENTIALS_UNAVAILABLE", "the tenant's credentials cannot be had at present"
    )
