"""`silo policies`: what happens by itself to what the tenant has stored."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.command import command
from cli.fields import document
from cli.resources import Assignments, Etag, Source, apply_update, show
from cli.session import Session
from silo.data.v1 import item_retention_pb2, item_retention_pb2_grpc
from silo.search.v1 import event_retention_pb2, event_retention_pb2_grpc
from silo.storage.v1 import object_lifecycle_pb2, object_lifecycle_pb2_grpc

app = typer.Typer(
    help="What happens by itself to what the tenant has stored.", no_args_is_help=True
)

Mask = Annotated[str, typer.Option("--mask", help="The fields to change, by commas.")]


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
    mask: Mask = "",
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


@command(app, "get-events")
def get_events(session: Session) -> None:
    """Show for how many days events are kept."""
    stub = session.client.stub(event_retention_pb2_grpc.EventRetentionServiceStub)
    request = event_retention_pb2.GetEventRetentionRequest()
    show(session, session.client.call(stub.GetEventRetention, request).event_retention)


@command(app, "update-events")
def update_events(
    session: Session,
    *,
    assignments: Assignments = None,
    source: Source = None,
    etag: Etag = "",
    mask: Mask = "",
) -> None:
    """Change for how many days events are kept: `--set days=90`; `--set days=0` for good."""
    stub = session.client.stub(event_retention_pb2_grpc.EventRetentionServiceStub)
    request = event_retention_pb2.UpdateEventRetentionRequest()
    described = document(
        event_retention_pb2.EventRetention.DESCRIPTOR,
        options={},
        assignments=assignments or (),
        source=source,
    )
    apply_update(request, request.event_retention, described, mask=mask, etag=etag)
    request.event_retention.name = "eventRetention"
    show(session, session.client.call(stub.UpdateEventRetention, request).event_retention)


@command(app, "get-items")
def get_items(session: Session) -> None:
    """Show for how many days counters are kept."""
    stub = session.client.stub(item_retention_pb2_grpc.ItemRetentionServiceStub)
    request = item_retention_pb2.GetItemRetentionRequest()
    show(session, session.client.call(stub.GetItemRetention, request).item_retention)


@command(app, "update-items")
def update_items(
    session: Session,
    *,
    assignments: Assignments = None,
    source: Source = None,
    etag: Etag = "",
    mask: Mask = "",
) -> None:
    """Change for how many days counters are kept: `--set counter_days=400`; `--set counter_days=0` for good."""
    stub = session.client.stub(item_retention_pb2_grpc.ItemRetentionServiceStub)
    request = item_retention_pb2.UpdateItemRetentionRequest()
    described = document(
        item_retention_pb2.ItemRetention.DESCRIPTOR,
        options={},
        assignments=assignments or (),
        source=source,
    )
    apply_update(request, request.item_retention, described, mask=mask, etag=etag)
    request.item_retention.name = "itemRetention"
    show(session, session.client.call(stub.UpdateItemRetention, request).item_retention)
