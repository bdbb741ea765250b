"""`silo keys`: the keys that sign tenant contexts, for platform operators."""

from __future__ import annotations

import typer

from cli.command import command
from cli.render import document, print_json
from cli.session import Session
from silo.resolver.v1 import signing_key_pb2, signing_key_pb2_grpc

app = typer.Typer(help="The keys that sign tenant contexts, for operators.", no_args_is_help=True)


@app.callback()
def keys() -> None:
    """The keys that sign tenant contexts, for operators."""


@command(app, "rotate", operator=True)
def rotate(session: Session) -> None:
    """Make a new signing key; the former ones go on verifying until what they signed is over."""
    stub = session.client.stub(signing_key_pb2_grpc.SigningKeyServiceStub)
    answer = session.client.call(stub.RotateSigningKey, signing_key_pb2.RotateSigningKeyRequest())
    if session.json:
        print_json(document(answer))
    else:
        typer.echo(f"contexts are signed with the key {answer.key_id} from now on")
