"""`silo tenants`: the tenant directory, for platform operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from google.protobuf import duration_pb2

from cli.command import command
from cli.fields import document, fill, given, settable
from cli.operations import Detach, RequestId, begun
from cli.resource import Resource
from cli.resources import Etag, Identifier, register, show
from cli.session import Session
from silo.resolver.v1 import (
    tenant_lifecycle_pb2,
    tenant_lifecycle_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)

app = typer.Typer(help="The tenant directory, for platform operators.", no_args_is_help=True)

TENANTS = Resource(
    collection="tenants",
    message=tenant_pb2.DESCRIPTOR.message_types_by_name["Tenant"],
    service=tenant_pb2.DESCRIPTOR.services_by_name["TenantService"],
    columns=("tenant_id", "display_name", "status", "tier", "slug", "generation", "update_time"),
    operator=True,
)

register(app, TENANTS, verbs=("create", "get", "list", "update"))


@command(app, "suspend", operator=True)
def suspend(session: Session, identifier: Identifier, etag: Etag = "") -> None:
    """Refuse every call of a tenant from now on, running streams included."""
    stub = session.client.stub(tenant_pb2_grpc.TenantServiceStub)
    request = tenant_pb2.SuspendTenantRequest(name=TENANTS.name(identifier), etag=etag)
    show(session, session.client.call(stub.SuspendTenant, request).tenant)


@command(app, "resume", operator=True)
def resume(session: Session, identifier: Identifier, etag: Etag = "") -> None:
    """Let a suspended tenant work again."""
    stub = session.client.stub(tenant_pb2_grpc.TenantServiceStub)
    request = tenant_pb2.ResumeTenantRequest(name=TENANTS.name(identifier), etag=etag)
    show(session, session.client.call(stub.ResumeTenant, request).tenant)


_FIELDS = tuple(settable(TENANTS.message))


def _onboard(
    session: Session,
    identifier: Identifier,
    *,
    options: Mapping[str, Any],
    request_id: RequestId = "",
    detach: Detach = False,
) -> None:
    """Set a tenant up, step by step: record, key, storage, search, limits, monitoring. Shows the steps live."""
    request = tenant_lifecycle_pb2.StartOnboardingRequest(
        tenant_id=TENANTS.name(identifier).removeprefix("tenants/"), request_id=request_id
    )
    described = document(
        TENANTS.message, options=given(_FIELDS, options), assignments=(), source=None
    )
    request.tenant.SetInParent()
    fill(request.tenant, described)
    stub = session.client.stub(tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub)
    begun(session, session.client.call(stub.StartOnboarding, request).operation, detach=detach)


command(app, "onboard", operator=True, options=[field.parameter() for field in _FIELDS])(_onboard)


@command(app, "offboard", operator=True)
def offboard(
    session: Session,
    identifier: Identifier,
    grace_days: Annotated[
        float | None,
        typer.Option(
            "--grace-days",
            min=0,
            max=366,
            help="How long it can be taken back; else as configured.",
        ),
    ] = None,
    request_id: RequestId = "",
    detach: Detach = False,
) -> None:
    """Refuse a tenant's calls, and once the grace period is over remove everything of it for good."""
    request = tenant_lifecycle_pb2.StartOffboardingRequest(
        name=TENANTS.name(identifier), request_id=request_id
    )
    if grace_days is not None:
        grace = duration_pb2.Duration(seconds=round(grace_days * 24 * 3600))
        request.grace_period.CopyFrom(grace)
    stub = session.client.stub(tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub)
    begun(session, session.client.call(stub.StartOffboarding, request).operation, detach=detach)


@command(app, "move", operator=True)
def move(
    session: Session,
    identifier: Identifier,
    *,
    region: Annotated[str, typer.Option("--region", help="The new region.")] = "",
    table: Annotated[str, typer.Option("--table", help="The new table.")] = "",
    bucket: Annotated[str, typer.Option("--bucket", help="The new bucket.")] = "",
    search_cluster: Annotated[
        str, typer.Option("--search-cluster", help="The new search cluster.")
    ] = "",
    request_id: RequestId = "",
    detach: Detach = False,
) -> None:
    """Move a tenant to another region, table, bucket or cluster; it is read meanwhile, and not written to."""
    placement = tenant_pb2.Placement(
        region=region, table=table, bucket=bucket, search_cluster=search_cluster
    )
    request = tenant_lifecycle_pb2.StartMoveRequest(
        name=TENANTS.name(identifier), placement=placement, request_id=request_id
    )
    stub = session.client.stub(tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub)
    begun(session, session.client.call(stub.StartMove, request).operation, detach=detach)


@command(app, "hold", operator=True)
def hold(
    session: Session,
    identifier: Identifier,
    reason: Annotated[
        str, typer.Option("--reason", help="Why; told to whoever is refused for it.")
    ],
) -> None:
    """Forbid that the platform removes anything of a tenant (legal hold)."""
    stub = session.client.stub(tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub)
    request = tenant_lifecycle_pb2.SetLegalHoldRequest(name=TENANTS.name(identifier), reason=reason)
    show(session, session.client.call(stub.SetLegalHold, request).tenant)


@command(app, "release", operator=True)
def release(session: Session, identifier: Identifier) -> None:
    """Release a legal hold."""
    stub = session.client.stub(tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub)
    request = tenant_lifecycle_pb2.ReleaseLegalHoldRequest(name=TENANTS.name(identifier))
    show(session, session.client.call(stub.ReleaseLegalHold, request).tenant)
