"""`silo keys`: the keys that sign tenant contexts and those of the tenants, for platform operators."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.command import command
from cli.failures import Failure
from cli.operations import RequestId
from cli.render import document, print_json
from cli.resources import Etag, show
from cli.session import Session
from cli.tenants import TENANTS
from silo.resolver.v1 import (
    operation_pb2,
    operation_pb2_grpc,
    signing_key_pb2,
    signing_key_pb2_grpc,
    tenant_key_pb2,
    tenant_key_pb2_grpc,
)

app = typer.Typer(
    help="The keys that sign tenant contexts, and the tenants' own, for operators.",
    no_args_is_help=True,
)


@app.callback()
def keys() -> None:
    """The keys that sign tenant contexts, and the tenants' own, for operators."""


@command(app, "rotate", operator=True)
def rotate(
    session: Session,
    tenant: Annotated[
        str, typer.Argument(metavar="[TENANT]", help="Whose key; the signing key where left out.")
    ] = "",
    etag: Etag = "",
) -> None:
    """Make a new version of a tenant's key, or a new signing key. What the former ones made stays good."""
    if tenant:
        _rotate_tenant(session, tenant, etag)
        return
    stub = session.client.stub(signing_key_pb2_grpc.SigningKeyServiceStub)
    answer = session.client.call(stub.RotateSigningKey, signing_key_pb2.RotateSigningKeyRequest())
    if session.json:
        print_json(document(answer))
    else:
        typer.echo(f"contexts are signed with the key {answer.key_id} from now on")


@command(app, "reencrypt", operator=True)
def reencrypt(
    session: Session,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose data.")],
    request_id: RequestId = "",
) -> None:
    """Bring everything of a tenant under its newest data keys, then drop the older ones; shows each step's end.

    The operation goes on where this command is ended.
    """
    stub = session.client.stub(tenant_key_pb2_grpc.TenantKeyServiceStub)
    request = tenant_key_pb2.StartReencryptionRequest(
        name=TENANTS.name(tenant), request_id=request_id
    )
    operation = session.client.call(stub.StartReencryption, request).operation
    watching = session.client.stub(operation_pb2_grpc.OperationServiceStub)
    shown: set[str] = set()
    watch = operation_pb2.WatchOperationRequest(name=operation.name)
    for answer in session.client.download(watching.WatchOperation, watch):
        operation = answer.operation
        for step in operation.steps:
            if step.state == operation_pb2.STEP_STATE_DONE and step.name not in shown:
                shown.add(step.name)
                if not session.json:
                    typer.echo(f"{step.name}: {step.done} {step.unit} {step.detail}".rstrip())
        if operation.state == operation_pb2.OPERATION_STATE_FAILED:
            error = operation.error
            raise Failure(error.message, code=error.code, reason=error.reason)
    if session.json:
        print_json(document(operation))


@command(app, "destroy", operator=True)
def destroy(
    session: Session,
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Whose key.")],
    confirm: Annotated[
        str, typer.Option("--confirm", metavar="TENANT", help="The tenant's id once more.")
    ] = "",
) -> None:
    """Destroy a tenant's key for good: nobody reads again what was encrypted under it, in whatever copy."""
    if not confirm:
        raise Failure(f"this cannot be undone; say so with --confirm {tenant}")
    stub = session.client.stub(tenant_key_pb2_grpc.TenantKeyServiceStub)
    request = tenant_key_pb2.DestroyTenantKeyRequest(
        name=TENANTS.name(tenant), confirmation=confirm
    )
    show(session, session.client.call(stub.DestroyTenantKey, request).tenant)


def _rotate_tenant(session: Session, tenant: str, etag: str) -> None:
    stub = session.client.stub(tenant_key_pb2_grpc.TenantKeyServiceStub)
    request = tenant_key_pb2.RotateTenantKeyRequest(name=TENANTS.name(tenant), etag=etag)
    show(session, session.client.call(stub.RotateTenantKey, request).tenant)
