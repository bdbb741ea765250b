"""`silo policies`: what happens by itself to what the tenant has stored."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.command import command
from cli.fields import document
from cli.resources import Assignments, Etag, Source, apply_update, show
from cli.session import Session
from silo.storage.v1 import object_lifecycle_pb2, object_lifecycle_pb2_grpc

app = typer.Typer(
    help="What happens by itself to what the tenant has stored.", no_args_is_help=True
)


@command(app, "get-objects")
def get_objects(session: Session) -> None:
    """Show by which rules objects expire and are archived."""
    stub = session.client.stub(object_lifecycle_pb2_grpc.ObjectLifecycleServiceStub)
    request = object_lifecycle_pb2.GetObjectLifecycleRequest()
    show(session, session.client.call(stub.GetObjectLifecycle, request).object_lifecycle)


@command(app, "update-objects")
def update_objects(
    session: Session,
    *,
    assignments: Assignments = None,
    source: Source = None,
    etag: Etag = "",
    mask: Annotated[str, typer.Option("--mask", help="The fields to change, by commas.")] = "",
) -> None:
    """Replace the rules by which objects expire and are archived: `--set rules='[{...}]'`, or `--from`."""
    stub = session.client.stub(object_lifecycle_pb2_grpc.ObjectLifecycleServiceStub)
    request = object_lifecycle_pb2.UpdateObjectLifecycleRequest()
    described = document(
        object_lifecycle_pb2.ObjectLifecycle.DESCRIPTOR,
        options={},
        assignments=assignments or (),
        source=source,
    )
    apply_update(request, request.object_lifecycle, described, mask=mask, etag=etag)
    request.object_lifecycle.name = "objectLifecycle"
    show(session, session.client.call(stub.UpdateObjectLifecycle, request).object_lifecycle)
