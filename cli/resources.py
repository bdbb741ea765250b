"""Create, get, list, update and delete for any resource with the standard methods (AIP-131 to 135)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from google.protobuf.message import Message

from cli.command import command
from cli.fields import FieldOption, document, fill, given, immutable, settable
from cli.render import cell, print_json, print_record, print_table
from cli.render import document as json_document
from cli.resource import Resource
from cli.session import Session


def register(
    app: typer.Typer,
    resource: Resource,
    *,
    verbs: tuple[str, ...] = ("create", "get", "list", "update", "delete"),
) -> None:
    """Registers the commands of the verbs for a resource."""
    makers = {
        "create": _register_create,
        "get": _register_get,
        "list": _register_list,
        "update": _register_update,
        "delete": _register_delete,
    }
    for verb in verbs:
        makers[verb](app, resource)


Identifier = Annotated[str, typer.Argument(metavar="ID", help="The id, or the resource name.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Sets any field, nested ones by path; may be repeated."
    ),
]
Source = Annotated[
    str | None,
    typer.Option("--from", metavar="FILE|-", help="JSON of the resource; options go on top of it."),
]
Etag = Annotated[str, typer.Option("--etag", help="Only where this is still its etag.")]


def _register_create(app: typer.Typer, resource: Resource) -> None:
    fields = tuple(settable(resource.message))

    def create(
        session: Session,
        identifier: Identifier,
        *,
        options: Mapping[str, Any],
        assignments: Assignments = None,
        source: Source = None,
        request_id: Annotated[
            str, typer.Option("--request-id", help="Makes a retry of this call safe.")
        ] = "",
    ) -> None:
        request = resource.request("Create")
        setattr(
            request, f"{resource.singular}_id", identifier.removeprefix(f"{resource.collection}/")
        )
        request.request_id = request_id
        described = document(
            resource.message,
            options=given(fields, options),
            assignments=assignments or (),
            source=source,
        )
        target = getattr(request, resource.singular)
        target.SetInParent()
        fill(target, described)
        show(session, getattr(resource.call(session, "Create", request), resource.singular))

    _command(app, resource, "create", fields, f"Create one of the {resource.collection}.")(create)


def _register_get(app: typer.Typer, resource: Resource) -> None:
    def get(session: Session, identifier: Identifier) -> None:
        request = resource.request("Get")
        request.name = resource.name(identifier)
        show(session, getattr(resource.call(session, "Get", request), resource.singular))

    _command(app, resource, "get", (), f"Show one of the {resource.collection}.")(get)


def _register_list(app: typer.Typer, resource: Resource) -> None:
    def list_(
        session: Session,
        *,
        options: Mapping[str, Any],
        page_size: Annotated[
            int, typer.Option("--page-size", help="At most this many a page.")
        ] = 0,
        page_token: Annotated[str, typer.Option("--page-token", help="Go on after a page.")] = "",
        every: Annotated[bool, typer.Option("--all", help="Follow the pages to the end.")] = False,
        order_by: Annotated[
            str, typer.Option("--order-by", help="`id`, `create_time`, either with ` desc`.")
        ] = "",
    ) -> None:
        request = resource.request("List")
        request.page_size, request.page_token = page_size, page_token
        if order_by:
            fill(request, {"order_by": order_by})
        fill(request, {f.name: f.value(raw) for f, raw in given(resource.filters, options).items()})
        found, token = _pages(session, resource, request, every=every)
        show_list(session, resource, found, token)

    _command(app, resource, "list", resource.filters, f"List {resource.collection}.")(list_)


def _register_update(app: typer.Typer, resource: Resource) -> None:
    fields = tuple(settable(resource.message, skip=immutable(resource.message)))

    def update(
        session: Session,
        identifier: Identifier,
        *,
        options: Mapping[str, Any],
        assignments: Assignments = None,
        source: Source = None,
        etag: Etag = "",
        mask: Annotated[
            str,
            typer.Option(
                "--mask", help="The fields to change, by commas; the given ones unless set."
            ),
        ] = "",
    ) -> None:
        request = resource.request("Update")
        described = document(
            resource.message,
            options=given(fields, options),
            assignments=assignments or (),
            source=source,
        )
        apply_update(request, getattr(request, resource.singular), described, mask=mask, etag=etag)
        getattr(request, resource.singular).name = resource.name(identifier)
        show(session, getattr(resource.call(session, "Update", request), resource.singular))

    _command(app, resource, "update", fields, f"Change one of the {resource.collection}.")(update)


def _register_delete(app: typer.Typer, resource: Resource) -> None:
    def delete(session: Session, identifier: Identifier, etag: Etag = "") -> None:
        request = resource.request("Delete")
        request.name, request.etag = resource.name(identifier), etag
        answer = resource.call(session, "Delete", request)
        if session.json:
            print_json(json_document(answer))
        else:
            typer.echo(f"{request.name} is deleted")

    _command(app, resource, "delete", (), f"Delete one of the {resource.collection}.")(delete)


def apply_update(
    request: Any, target: Message, described: Mapping[str, Any], *, mask: str, etag: str
) -> None:
    """Fills an update: the values, the mask of what was given, the etag."""
    values = {key: value for key, value in described.items() if key != "name"}
    fill(target, values)
    paths = mask.split(",") if mask else [key for key in values if key != "etag"]
    request.update_mask.paths.extend(path.strip() for path in paths if path.strip())
    if etag:
        fill(target, {"etag": etag})


def show(session: Session, message: Message) -> None:
    """Prints one resource."""
    if session.json:
        print_json(json_document(message))
    else:
        print_record(message)


def show_list(session: Session, resource: Resource, found: list[Any], token: str) -> None:
    """Prints resources and how to go on."""
    if session.json:
        items = [json_document(item) for item in found]
        print_json({resource.plural: items, "next_page_token": token})
        return
    rows = ([cell(item, column) for column in resource.columns] for item in found)
    print_table(resource.columns, rows, empty=f"no {resource.collection}")
    if token:
        typer.echo(f"more: --all, or --page-token {token}", err=True)


def _pages(
    session: Session, resource: Resource, request: Any, *, every: bool
) -> tuple[list[Any], str]:
    found: list[Any] = []
    for page in _each_page(session, resource, request):
        found.extend(getattr(page, resource.plural))
        if not every:
            return found, page.next_page_token
    return found, ""


def _each_page(session: Session, resource: Resource, request: Any) -> Iterator[Any]:
    while True:
        page = resource.call(session, "List", request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def _command(
    app: typer.Typer, resource: Resource, verb: str, fields: tuple[FieldOption, ...], text: str
) -> Any:
    return command(
        app,
        verb,
        operator=resource.operator,
        options=[field.parameter() for field in fields],
        help=text,
    )
