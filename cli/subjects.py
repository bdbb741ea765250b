"""`silo subjects`: one person, taken out of everything that the tenant has."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.command import command
from cli.operations import RequestId, begun_by_tenant
from cli.session import Session
from silo.resolver.v1 import subject_erasure_pb2 as pb
from silo.resolver.v1 import subject_erasure_pb2_grpc

app = typer.Typer(help="One person, taken out of everything.", no_args_is_help=True)


@app.callback()
def subjects() -> None:
    """One person, taken out of everything that the tenant has."""


@command(app, "erase")
def erase(
    session: Session,
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")],
    request_id: RequestId = "",
) -> None:
    """Erase a person by address: users, recipient lists, events, objects' metadata. Shows the steps live."""
    stub = session.client.stub(subject_erasure_pb2_grpc.SubjectErasureServiceStub)
    request = pb.StartSubjectErasureRequest(email=email, request_id=request_id)
    operation = session.client.call(stub.StartSubjectErasure, request).operation
    begun_by_tenant(session, operation)


@command(app, "certificate")
def certificate(
    session: Session,
    operation: Annotated[str, typer.Argument(metavar="OPERATION", help="What has erased.")],
) -> None:
    """Print the certificate of an erasure; `silo certificate verify` checks it offline."""
    stub = session.client.stub(subject_erasure_pb2_grpc.SubjectErasureServiceStub)
    request = pb.GetSubjectErasureCertificateRequest(
        name=f"certificates/{operation.rpartition('/')[2]}"
    )
    answer = session.client.call(stub.GetSubjectErasureCertificate, request)
    sys.stdout.write(answer.certificate + "\n")
