"""`silo ls`, `stat`, `cp` and `rm`: objects of the caller's tenant."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.command import command
from cli.failures import Failure
from cli.render import document, moment, print_json, print_table, size
from cli.resources import show
from cli.session import Session
from silo.storage.v1 import object_pb2, object_pb2_grpc

app = typer.Typer()

ObjectPath = Annotated[str, typer.Argument(metavar="PATH", help="Which object.")]


@command(app, "ls")
def ls(
    session: Session,
    prefix: Annotated[
        str, typer.Argument(metavar="[PREFIX]", help="Only paths that begin so.")
    ] = "",
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="What lies in folders, instead of folders.")
    ] = False,
    page_size: Annotated[int, typer.Option("--page-size", help="At most this many a page.")] = 0,
    page_token: Annotated[str, typer.Option("--page-token", help="Go on after a page.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Follow the pages to the end.")] = False,
) -> None:
    """List objects and folders."""
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    request = object_pb2.ListObjectsRequest(
        prefix=prefix,
        delimiter="" if recursive else "/",
        page_size=page_size,
        page_token=page_token,
    )
    whole = object_pb2.ListObjectsResponse()
    while True:
        page = session.client.call(stub.ListObjects, request)
        whole.objects.extend(page.objects)
        whole.prefixes.extend(page.prefixes)
        whole.next_page_token = page.next_page_token
        if not every or not page.next_page_token:
            break
        request.page_token = page.next_page_token
    if session.json:
        print_json(document(whole))
        return
    rows = [["", "", "folder", folder] for folder in whole.prefixes]
    rows += [
        [size(found.size), moment(found.update_time), found.content_type, found.path]
        for found in whole.objects
    ]
    print_table((">size", "update_time", "content_type", "path"), rows, empty="no objects")
    if whole.next_page_token:
        typer.echo(f"more: --all, or --page-token {whole.next_page_token}", err=True)


@command(app, "stat")
def stat(session: Session, path: ObjectPath) -> None:
    """Describe an object without its content."""
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    request = object_pb2.GetObjectRequest(path=path)
    show(session, session.client.call(stub.GetObject, request).object)


@command(app, "cp")
def cp(
    session: Session,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to copy.")],
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="Where to.")],
    *,
    if_match: Annotated[str, typer.Option("--if-match", help="Only a source of this etag.")] = "",
    create_only: Annotated[
        bool, typer.Option("--create-only", help="Only where no object is there yet.")
    ] = False,
) -> None:
    """Copy an object within the tenant."""
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    request = object_pb2.CopyObjectRequest(
        source_path=source,
        destination_path=destination,
        source_if_match=if_match,
        create_only=create_only,
    )
    show(session, session.client.call(stub.CopyObject, request).object)


@command(app, "rm")
def rm(
    session: Session,
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="Which object; a prefix with --recursive.")
    ] = "",
    *,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Every object whose path begins so.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--everything", help="Every object of the tenant.")
    ] = False,
    if_match: Annotated[str, typer.Option("--if-match", help="Only an object of this etag.")] = "",
) -> None:
    """Delete an object, or many."""
    stub = session.client.stub(object_pb2_grpc.ObjectServiceStub)
    if everything == bool(path):
        raise Failure("give either a PATH or --everything")
    deleted = 1
    if recursive or everything:
        deleted = _delete_many(session, stub, path)
    else:
        request = object_pb2.DeleteObjectRequest(path=path, if_match=if_match)
        session.client.call(stub.DeleteObject, request)
    if session.json:
        print_json({"deleted_count": deleted})
    else:
        typer.echo(f"{deleted} deleted")


def _delete_many(session: Session, stub: object_pb2_grpc.ObjectServiceStub, prefix: str) -> int:
    deleted = 0
    while True:
        request = object_pb2.DeleteObjectsRequest(prefix=prefix, all=not prefix)
        answer = session.client.call(stub.DeleteObjects, request)
        deleted += answer.deleted_count
        if not answer.more:
            return deleted
