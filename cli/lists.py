"""`silo lists`: recipient lists of the caller's tenant."""

import typer

from cli.resource import Resource
from cli.resources import register
from silo.data.v1 import recipient_list_pb2

app = typer.Typer(help="Recipient lists of the tenant.", no_args_is_help=True)

register(
    app,
    Resource(
        collection="lists",
        message=recipient_list_pb2.DESCRIPTOR.message_types_by_name["RecipientList"],
        service=recipient_list_pb2.DESCRIPTOR.services_by_name["RecipientListService"],
        columns=("name", "display_name", "recipient_count", "description", "update_time"),
    ),
)
