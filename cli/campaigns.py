"""`silo campaigns`: campaigns of the caller's tenant."""

import typer

from cli.resource import Resource
from cli.resources import register
from silo.data.v1 import campaign_pb2

app = typer.Typer(help="Campaigns of the tenant.", no_args_is_help=True)

register(
    app,
    Resource(
        collection="campaigns",
        message=campaign_pb2.DESCRIPTOR.message_types_by_name["Campaign"],
        service=campaign_pb2.DESCRIPTOR.services_by_name["CampaignService"],
        columns=("name", "display_name", "status", "subject", "update_time"),
    ),
)
