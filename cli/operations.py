"""`silo operations`: durable work on tenants, listed, watched, rolled back and gone on with; for operators."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.command import command
from cli.failures import Failure
from cli.render import cell, console, document, print_json, print_table
from cli.resources import show
from cli.session import Session
from silo.resolver.v1 import operation_pb2 as pb
from silo.resolver.v1 import operation_pb2_grpc

app = typer.Typer(
    help="Durable work on tenants: list, watch, cancel, resume; for operators.",
    no_args_is_help=True,
)

_COLLECTION = "operations/"
_PAGE = 200
_PATIENCE_SECONDS = 600
_SIGNS = {
    "pending": ("·", "dim"),
    "running": ("▸", "bold"),
    "done": ("✓", "green"),
    "failed": ("✗", "red"),
    "undoing": ("◂", "yellow"),
    "undone": ("↶", "yellow"),
}

RequestId = Annotated[str, typer.Option("--request-id", help="Makes a retry of this call safe.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; do not follow.")]
"""What every command takes that begins an operation."""

Name = Annotated[str, typer.Argument(metavar="OPERATION", help="Its id, or its resource name.")]


@command(app, "list", operator=True)
def list_(
    session: Session,
    tenant: Annotated[str, typer.Option("--of", metavar="TENANT", help="Of this tenant.")] = "",
    limit: Annotated[int, typer.Option("--limit", help="At most this many.", min=1)] = 50,
) -> None:
    """List operations, the newest first."""
    found: list[pb.Operation] = []
    token = ""
    while len(found) < limit:
        request = pb.ListOperationsRequest(tenant_id=tenant, page_size=_PAGE, page_token=token)
        page = session.client.call(_stub(session).ListOperations, request)
        found += page.operations
        token = page.next_page_token
        if not token:
            break
    found = found[:limit]
    if session.json:
        print_json([document(operation) for operation in found])
        return
    print_table(
        ("operation", "kind", "tenant", "state", "step", "started"),
        [
            (
                operation.name.removeprefix(_COLLECTION),
                operation.kind,
                operation.tenant_id,
                _state(operation),
                _at(operation),
                cell(operation, "create_time"),
            )
            for operation in found
        ],
        empty="no operations",
    )


@command(app, "get", operator=True)
def get(session: Session, operation: Name) -> None:
    """Show an operation."""
    request = pb.GetOperationRequest(name=_name(operation))
    show(session, session.client.call(_stub(session).GetOperation, request).operation)


@command(app, "watch", operator=True)
def watch(session: Session, operation: Name) -> None:
    """Follow an operation until it is over; it goes on where this command is ended."""
    request = pb.GetOperationRequest(name=_name(operation))
    follow(session, session.client.call(_stub(session).GetOperation, request).operation)


@command(app, "cancel", operator=True)
def cancel(session: Session, operation: Name) -> None:
    """Roll an operation back: what its steps did is undone in reverse."""
    request = pb.CancelOperationRequest(name=_name(operation))
    follow(session, session.client.call(_stub(session).CancelOperation, request).operation)


@command(app, "resume", operator=True)
def resume(session: Session, operation: Name) -> None:
    """Go on with an operation that failed, from the step that failed."""
    request = pb.ResumeOperationRequest(name=_name(operation))
    follow(session, session.client.call(_stub(session).ResumeOperation, request).operation)


def begun(session: Session, operation: pb.Operation, *, detach: bool) -> None:
    """Follows an operation that an operator has begun, or shows it.

    Raises:
        Failure: it failed.
    """
    if detach:
        show(session, operation)
    else:
        follow(session, operation)


def begun_by_tenant(session: Session, operation: pb.Operation, *, detach: bool = False) -> None:
    """See begun; for an operation that a tenant's own people have begun."""
    if detach:
        show(session, operation)
        return
    watching = session.client.stub(operation_pb2_grpc.TenantOperationServiceStub)
    watch = pb.WatchTenantOperationRequest(name=operation.name)
    follow_as(session, operation, session.client.download(watching.WatchTenantOperation, watch))


def follow(session: Session, operation: pb.Operation) -> None:
    """Shows an operation's steps as they go until it is over, waits or fails.

    Raises:
        Failure: it failed.
    """
    request = pb.WatchOperationRequest(name=operation.name)
    follow_as(session, operation, session.client.download(_stub(session).WatchOperation, request))


def follow_as(session: Session, operation: pb.Operation, told: Iterable[Any]) -> None:
    """See follow; told is what the service that lets the caller watch tells of the operation.

    Raises:
        Failure: it failed.
    """
    screen = console()
    live = Live(console=screen, refresh_per_second=10) if screen.is_terminal else None
    with live or nullcontext():
        for answer in told:
            operation = answer.operation
            if live is not None and not session.json:
                live.update(_steps(operation))
            if _stands(operation):
                break
    if session.json:
        print_json(document(operation))
    elif live is None:
        screen.print(_steps(operation))
    if operation.state == pb.OPERATION_STATE_FAILED:
        error = operation.error
        raise Failure(error.message, code=error.code, reason=error.reason)


def _stands(operation: pb.Operation) -> bool:
    """Whether nothing happens for longer than anybody wants to watch."""
    if operation.state == pb.OPERATION_STATE_WAITING:
        return operation.due_time.seconds - time.time() > _PATIENCE_SECONDS
    return operation.state in (pb.OPERATION_STATE_BLOCKED, pb.OPERATION_STATE_FAILED)


def _steps(operation: pb.Operation) -> RenderableType:
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for step in operation.steps:
        sign, style = _SIGNS.get(cell(step, "state"), ("?", ""))
        counted = f"{step.done:,}" if step.done else ""
        if counted and step.total:
            counted += f" of {step.total:,}"
        grid.add_row(
            Text(sign, style=style),
            Text(step.name),
            Text(f"{counted} {step.unit if counted else ''}".strip(), style="dim"),
            Text(step.detail, style="dim"),
        )
    name = operation.name.removeprefix(_COLLECTION)
    title = Text.assemble(
        (f"{operation.kind} of {operation.tenant_id}", "bold"),
        f"  {_state(operation).lower().replace('_', ' ')}",
        (f"  {name}", "dim"),
    )
    whole = Table.grid()
    whole.add_row(title)
    whole.add_row(grid)
    if operation.HasField("error"):
        whole.add_row(Text(f"{operation.error.reason}: {operation.error.message}", style="red"))
    return whole


def _state(operation: pb.Operation) -> str:
    return cell(operation, "state")


def _at(operation: pb.Operation) -> str:
    """The step that an operation is at."""
    begun = [step for step in operation.steps if step.state != pb.STEP_STATE_PENDING]
    return begun[-1].name if begun else ""


def _name(operation: str) -> str:
    return _COLLECTION + operation.removeprefix(_COLLECTION)


def _stub(session: Session) -> Any:
    return session.client.stub(operation_pb2_grpc.OperationServiceStub)
