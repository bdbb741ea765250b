"""`silo tenants`: the tenant directory, for platform operators."""

from __future__ import annotations

import typer

from cli.command import command
from cli.resource import Resource
from cli.resources import Etag, Identifier, register, show
from cli.session import Session
from silo.resolver.v1 import tenant_pb2, tenant_pb2_grpc

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
