"""`silo templates`: templates of the caller's tenant, record and content together."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.command import command
from cli.fields import document, fill, given, settable
from cli.render import document as json_document
from cli.render import print_json
from cli.resource import Resource
from cli.resources import (
    Assignments,
    Etag,
    Identifier,
    Source,
    apply_update,
    register,
    show,
)
from cli.session import Session
from silo.data.v1 import template_pb2, template_pb2_grpc

app = typer.Typer(help="Templates of the tenant, with their content.", no_args_is_help=True)

TEMPLATES = Resource(
    collection="templates",
    message=template_pb2.DESCRIPTOR.message_types_by_name["Template"],
    service=template_pb2.DESCRIPTOR.services_by_name["TemplateService"],
    columns=("name", "display_name", "subject", "content_size", "content_path", "update_time"),
)
_FIELDS = tuple(settable(TEMPLATES.message))
_PARAMETERS = [field.parameter() for field in _FIELDS]

Html = Annotated[Path, typer.Argument(metavar="FILE|-", help="The HTML; `-` is standard input.")]


@command(app, "create", options=_PARAMETERS)
def create(
    session: Session,
    identifier: Identifier,
    content: Html,
    *,
    options: Mapping[str, Any],
    assignments: Assignments = None,
    source: Source = None,
    request_id: Annotated[
        str, typer.Option("--request-id", help="Makes a retry of this call safe.")
    ] = "",
) -> None:
    """Create a template from a file."""
    request = template_pb2.CreateTemplateRequest(
        template_id=identifier.removeprefix("templates/"),
        content=_read(content),
        request_id=request_id,
    )
    described = document(
        TEMPLATES.message,
        options=given(_FIELDS, options),
        assignments=assignments or (),
        source=source,
    )
    request.template.SetInParent()
    fill(request.template, described)
    stub = session.client.stub(template_pb2_grpc.TemplateServiceStub)
    show(session, session.client.call(stub.CreateTemplate, request).template)


register(app, TEMPLATES, verbs=("get", "list"))


@command(app, "update", options=_PARAMETERS)
def update(
    session: Session,
    identifier: Identifier,
    *,
    options: Mapping[str, Any],
    content: Annotated[
        Path | None, typer.Option("--content", metavar="FILE|-", help="The new HTML.")
    ] = None,
    assignments: Assignments = None,
    source: Source = None,
    etag: Etag = "",
    mask: Annotated[str, typer.Option("--mask", help="The fields to change, by commas.")] = "",
) -> None:
    """Change a template's record, its content, or both."""
    request = template_pb2.UpdateTemplateRequest()
    described = document(
        TEMPLATES.message,
        options=given(_FIELDS, options),
        assignments=assignments or (),
        source=source,
    )
    apply_update(request, request.template, described, mask=mask, etag=etag)
    request.template.name = TEMPLATES.name(identifier)
    if content is not None:
        request.content = _read(content)
    stub = session.client.stub(template_pb2_grpc.TemplateServiceStub)
    show(session, session.client.call(stub.UpdateTemplate, request).template)


register(app, TEMPLATES, verbs=("delete",))


@command(app, "content")
def content(
    session: Session,
    identifier: Identifier,
    file: Annotated[
        Path, typer.Argument(metavar="[FILE|-]", help="Where to; standard output unless given.")
    ] = Path("-"),
) -> None:
    """Write a template's content to a file or to standard output."""
    stub = session.client.stub(template_pb2_grpc.TemplateServiceStub)
    request = template_pb2.GetTemplateContentRequest(name=TEMPLATES.name(identifier))
    answer = session.client.call(stub.GetTemplateContent, request)
    if session.json:
        print_json(json_document(answer))
    elif str(file) == "-":
        sys.stdout.buffer.write(answer.content)
    else:
        file.write_bytes(answer.content)


def _read(file: Path) -> bytes:
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
