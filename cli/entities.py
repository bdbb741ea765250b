"""`silo entities`: several entities at once, described in JSON."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from google.rpc import code_pb2

from cli.command import command
from cli.failures import Failure
from cli.fields import fill, read_json
from cli.render import document, print_json, print_table
from cli.session import Session
from silo.data.v1 import entity_pb2, entity_pb2_grpc

app = typer.Typer(help="Several entities at once, described in JSON.", no_args_is_help=True)

Writes = Annotated[
    str,
    typer.Argument(
        metavar="FILE|-",
        help='Writes in JSON: [{"create": {"entity": {"user": {"name": "users/1", ...}}}}, '
        '{"update": ...}, {"delete": {"name": ...}}]',
    ),
]


@command(app, "batch-get")
def batch_get(
    session: Session,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names of any kind, or `-` for JSON.")
    ],
) -> None:
    """Read up to 100 entities of any kind."""
    wanted = read_json("-") if names == ["-"] else names
    request = entity_pb2.BatchGetEntitiesRequest()
    fill(request, {"names": wanted} if isinstance(wanted, list) else wanted)
    stub = session.client.stub(entity_pb2_grpc.EntityServiceStub)
    answer = session.client.call(stub.BatchGetEntities, request)
    if session.json:
        print_json(document(answer))
        return
    rows = [_row(entity) for entity in answer.entities]
    rows += [["missing", name, "", ""] for name in answer.missing_names]
    print_table(("kind", "name", "display_name", "etag"), rows, empty="no entities")


@command(app, "batch-write")
def batch_write(session: Session, source: Writes) -> None:
    """Make up to 100 writes, each for itself; exit code 1 where one was refused."""
    request = entity_pb2.BatchWriteEntitiesRequest()
    fill(request, _writes(source))
    stub = session.client.stub(entity_pb2_grpc.EntityServiceStub)
    answer = session.client.call(stub.BatchWriteEntities, request)
    refused = sum(result.status.code != code_pb2.OK for result in answer.results)
    if session.json:
        print_json(document(answer))
    else:
        rows = [
            [
                str(place),
                code_pb2.Code.Name(code_pb2.Code.ValueType(result.status.code)),
                _row(result.entity)[1],
                result.status.message,
            ]
            for place, result in enumerate(answer.results)
        ]
        print_table((">write", "status", "name", "message"), rows, empty="no writes")
    if refused:
        raise Failure(f"{refused} of {len(answer.results)} writes were refused")


@command(app, "transact")
def transact(session: Session, source: Writes) -> None:
    """Make up to 100 writes, all or none."""
    request = entity_pb2.TransactEntitiesRequest()
    fill(request, _writes(source))
    stub = session.client.stub(entity_pb2_grpc.EntityServiceStub)
    answer = session.client.call(stub.TransactEntities, request)
    if session.json:
        print_json(document(answer))
        return
    rows = [_row(entity) for entity in answer.entities]
    print_table(("kind", "name", "display_name", "etag"), rows, empty="no entities")


def _writes(source: str) -> dict[str, Any]:
    described = read_json(source)
    if isinstance(described, list):
        return {"writes": described}
    if not isinstance(described, dict):
        raise Failure(f"{source} holds no list of writes")
    return described


def _row(entity: entity_pb2.Entity) -> list[str]:
    kind = entity.WhichOneof("entity")
    if kind is None:
        return ["", "", "", ""]
    held = getattr(entity, kind)
    return [kind, held.name, held.display_name, held.etag]
