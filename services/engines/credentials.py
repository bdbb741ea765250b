"""The credentials with which a service asks DynamoDB and S3, as the engines file says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from boundary.tenants import TenantState
from services.aws.botocore_credentials import TenantBotocoreCredentials
from services.aws.dynamodb_credentials import TenantDynamoCredentials
from services.aws.policy import TenantRole
from services.aws.process_credentials import ProcessDynamoCredentials
from services.aws.sessions import TenantSessions
from services.aws.sts import StsIssuer, sts_client
from services.engines import settings

DynamoCredentials = TenantDynamoCredentials | ProcessDynamoCredentials


class ServiceCredentials:
    """One service's credentials: a session for each tenant, or the process's own for all of them.

    Attributes:
        dynamodb: for aiodynamo's client.
        s3: for botocore's client; None where it finds the process's own by itself.
        ensure: to be awaited before a thread is taken for a call, so that a slow STS holds up no thread.
        observe: to be told of every tenant's state: one that may not work any more keeps no session.
        close: lets go of threads; blocks.
    """

    def __init__(self, engines: settings.Engines, *, service: Literal["data", "storage"]) -> None:
        """Takes the engines, and the service whose policy sessions get (services.aws.policy.FILES)."""
        sessions = _sessions(engines, service=service)
        self.dynamodb: DynamoCredentials
        self.s3: TenantBotocoreCredentials | None = None
        self.ensure: Callable[[], Awaitable[object]] | None = None
        self.observe: Callable[[TenantState], None] = lambda _: None
        if sessions is None:
            own = ProcessDynamoCredentials()
            self.dynamodb = own
            self.close = own.close
        else:
            self.dynamodb = TenantDynamoCredentials(sessions)
            self.s3 = TenantBotocoreCredentials(sessions)
            self.ensure = sessions.ensure
            self.observe = sessions.observe
            self.close = sessions.close


def _sessions(
    engines: settings.Engines, *, service: Literal["data", "storage"]
) -> TenantSessions | None:
    asked = engines.credentials
    if not isinstance(asked, settings.TenantSessions):
        return None
    roles = {
        name: TenantRole(arn=asked.roles[service], aws_region=aws_region)
        for name, region in engines.regions.items()
        if (aws_region := _aws_region(region))
    }
    if not roles:
        return None
    issuer = StsIssuer(
        sts_client(aws_region=next(iter(roles.values())).aws_region, endpoint=asked.sts_endpoint),
        tags=asked.sts_endpoint is None,
    )
    return TenantSessions(service=service, roles=roles, issuer=issuer, seconds=asked.seconds)


def _aws_region(region: settings.Region) -> str:
    engine = region.table or region.objects
    return engine.aws_region if engine else ""
