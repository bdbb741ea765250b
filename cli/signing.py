"""`silo sign`: URLs with which anyone can put or get one object until they expire."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Annotated

import typer

from cli.command import command
from cli.render import document, moment, print_json
from cli.session import Session
from silo.storage.v1 import object_pb2, object_pb2_grpc

app = typer.Typer(help="URLs that put or get one object without a token.", no_args_is_help=True)

ObjectPath = Annotated[str, typer.Argument(metavar="PATH", help="Which object.")]
Ttl = Annotated[
    float,
    typer.Option("--ttl", metavar="SECONDS", help="How long it works; 15 minutes unless given."),
]


@app.callback()
def sign() -> None:
    """URLs that put or get one object without a token."""


@command(app, "upload")
def upload(
    session: Session,
    path: ObjectPath,
    *,
    ttl: Ttl = 0.0,
    content_type: Annotated[
        str, typer.Option("--content-type", help="What the upload must declare.")
    ] = "",
    max_bytes: Annotated[int, typer.Option("--max-bytes", help="The largest content.")] = 0,
    create_only: Annotated[
        bool, typer.Option("--create-only", help="Only where no object is there yet.")
    ] = False,
) -> None:
    """Sign a URL for PUT, and print the curl command that uses it."""
    request = object_pb2.SignUploadRequest(
        path=path, content_type=content_type, max_bytes=max_bytes, create_only=create_only
    )
    if ttl:
        request.ttl.FromTimedelta(timedelta(seconds=ttl))
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    answer = session.client.call(stub.SignUpload, request)
    if session.json:
        print_json(document(answer))
        return
    headers = "".join(
        f" -H {shlex.quote(f'{key}: {answer.headers[key]}')}" for key in sorted(answer.headers)
    )
    typer.echo(f"curl -T FILE{headers} {shlex.quote(answer.url)}")
    typer.echo(f"works until {moment(answer.expire_time)}", err=True)


@command(app, "download")
def download(
    session: Session,
    path: ObjectPath,
    *,
    ttl: Ttl = 0.0,
    download_name: Annotated[
        str, typer.Option("--download-name", help="The file name for browsers.")
    ] = "",
) -> None:
    """Sign a URL for GET, and print it."""
    request = object_pb2.SignDownloadRequest(path=path, download_name=download_name)
    if ttl:
        request.ttl.FromTimedelta(timedelta(seconds=ttl))
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    answer = session.client.call(stub.SignDownload, request)
    if session.json:
        print_json(document(answer))
        return
    typer.echo(answer.url)
    typer.echo(f"works until {moment(answer.expire_time)}", err=True)
