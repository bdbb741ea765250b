"""`silo config`: the tenant's own settings, a singleton (AIP-156)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.command import command
from cli.fields import document, given, settable
from cli.resources import Assignments, Etag, Source, apply_update, show
from cli.session import Session
from silo.data.v1 import tenant_config_pb2, tenant_config_pb2_grpc

app = typer.Typer(help="The tenant's own settings.", no_args_is_help=True)

_FIELDS = tuple(settable(tenant_config_pb2.TenantConfig.DESCRIPTOR))


@command(app, "get")
def get(session: Session) -> None:
    """Show the settings."""
    stub = session.client.stub(tenant_config_pb2_grpc.TenantConfigServiceStub)
    request = tenant_config_pb2.GetTenantConfigRequest()
    show(session, session.client.call(stub.GetTenantConfig, request).tenant_config)


@command(app, "update", options=[field.parameter() for field in _FIELDS])
def update(
    session: Session,
    *,
    options: Mapping[str, Any],
    assignments: Assignments = None,
    source: Source = None,
    etag: Etag = "",
    mask: Annotated[str, typer.Option("--mask", help="The fields to change, by commas.")] = "",
) -> None:
    """Change settings."""
    stub = session.client.stub(tenant_config_pb2_grpc.TenantConfigServiceStub)
    request = tenant_config_pb2.UpdateTenantConfigRequest()
    described = document(
        tenant_config_pb2.TenantConfig.DESCRIPTOR,
        options=given(_FIELDS, options),
        assignments=assignments or (),
        source=source,
    )
    apply_update(request, request.tenant_config, described, mask=mask, etag=etag)
    request.tenant_config.name = "config"
    show(session, session.client.call(stub.UpdateTenantConfig, request).tenant_config)
