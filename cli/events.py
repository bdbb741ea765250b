"""`silo events`: e-mail events of the caller's tenant."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import event_report, ingest
from cli.command import command
from cli.event_filters import FILTER_OPTIONS, filter_of, type_word
from cli.render import document, moment, print_json, print_table
from cli.ses import DEFAULT_CAMPAIGN_TAG
from cli.session import Session
from silo.search.v1 import event_pb2, event_pb2_grpc

app = typer.Typer(help="E-mail events of the tenant.", no_args_is_help=True)


@command(app, "ingest")
def ingest_(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE|-", help="Amazon SES records, one JSON object a line.")
    ],
    *,
    campaign_tag: Annotated[
        str,
        typer.Option("--campaign-tag", help="The message tag that holds the campaign's id."),
    ] = DEFAULT_CAMPAIGN_TAG,
) -> None:
    """Take Amazon SES event records, bare or in an SNS envelope.

    Repeating it is safe: an event is taken once. Exit code 1 where a line could not be taken.
    """
    ingest.run(session, file, campaign_tag=campaign_tag)


@command(app, "search", options=FILTER_OPTIONS)
def search(
    session: Session,
    *,
    options: Mapping[str, Any],
    ascending: Annotated[bool, typer.Option("--ascending", help="Oldest first.")] = False,
    page_size: Annotated[int, typer.Option("--page-size", help="At most this many a page.")] = 0,
    page_token: Annotated[str, typer.Option("--page-token", help="Go on after a page.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Follow the pages to the end.")] = False,
) -> None:
    """Find events, newest first."""
    request = event_pb2.SearchEventsRequest(
        filter=filter_of(options), page_size=page_size, page_token=page_token, ascending=ascending
    )
    stub = session.client.stub(event_pb2_grpc.EventServiceStub)
    whole = event_pb2.SearchEventsResponse()
    while True:
        page = session.client.call(stub.SearchEvents, request)
        whole.events.extend(page.events)
        whole.next_page_token = page.next_page_token
        if not every or not page.next_page_token:
            break
        request.page_token = page.next_page_token
    if session.json:
        print_json(document(whole))
        return
    rows = (
        [
            moment(event.timestamp),
            type_word(event.event_type),
            event.campaign_id,
            event.recipient,
            event.subject,
            event.event_id,
        ]
        for event in whole.events
    )
    columns = ("timestamp", "type", "campaign", "recipient", "subject", "event_id")
    print_table(columns, rows, empty="no events")
    if whole.next_page_token:
        typer.echo(f"more: --all, or --page-token {whole.next_page_token}", err=True)


@command(app, "count", options=FILTER_OPTIONS)
def count(session: Session, *, options: Mapping[str, Any]) -> None:
    """Count events."""
    stub = session.client.stub(event_pb2_grpc.EventServiceStub)
    request = event_pb2.CountEventsRequest(filter=filter_of(options))
    answer = session.client.call(stub.CountEvents, request)
    if session.json:
        print_json({"count": answer.count})
    else:
        typer.echo(str(answer.count))


@command(app, "report", options=FILTER_OPTIONS)
def report(
    session: Session,
    *,
    options: Mapping[str, Any],
    interval: Annotated[
        str, typer.Option("--interval", metavar="hour|day|week|month", help="Of the plot's bars.")
    ] = "day",
    time_zone: Annotated[
        str, typer.Option("--time-zone", help="Of the calendar, for example Europe/Berlin.")
    ] = "UTC",
    top: Annotated[
        int, typer.Option("--top", min=1, max=50, help="How many campaigns are shown.")
    ] = 10,
) -> None:
    """Add events up: by type, by campaign, rates, unique recipients, and a plot over time."""
    chosen = filter_of(options)
    event_report.run(session, chosen, interval=interval, time_zone=time_zone, top=top)
