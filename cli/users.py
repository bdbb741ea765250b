"""`silo users`: users of the caller's tenant."""

import typer

from cli.resource import Resource
from cli.resources import register
from silo.data.v1 import user_pb2

app = typer.Typer(help="Users of the tenant.", no_args_is_help=True)

register(
    app,
    Resource(
        collection="users",
        message=user_pb2.DESCRIPTOR.message_types_by_name["User"],
        service=user_pb2.DESCRIPTOR.services_by_name["UserService"],
        columns=("name", "email", "display_name", "role", "update_time"),
    ),
)
