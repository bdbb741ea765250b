"""`silo analytics`: daily counters of the caller's tenant."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.command import command
from cli.failures import Failure
from cli.fields import pair
from cli.plot import print_bars
from cli.render import document, print_json, print_table
from cli.session import Session
from silo.data.v1 import analytics_pb2, analytics_pb2_grpc

_USUAL_DAYS = 30

app = typer.Typer(help="Daily counters of the tenant.", no_args_is_help=True)


@command(app, "increment")
def increment(
    session: Session,
    counters: Annotated[
        list[str], typer.Argument(metavar="METRIC=N...", help="For example OPENS=3 CLICKS=1.")
    ],
    *,
    date: Annotated[
        str, typer.Option("--date", metavar="YYYY-MM-DD", help="Today in UTC unless given.")
    ] = "",
    request_id: Annotated[
        str, typer.Option("--request-id", help="Makes a retry of this call safe.")
    ] = "",
) -> None:
    """Add to counters, all or none and once."""
    day = date or datetime.now(UTC).date().isoformat()
    request = analytics_pb2.IncrementCountersRequest(request_id=request_id or uuid.uuid4().hex)
    for counter in counters:
        metric, amount = pair(counter, "increment")
        try:
            delta = int(amount)
        except ValueError as error:
            raise Failure(f"{counter}: {amount!r} is no whole number") from error
        request.increments.add(date=day, metric=metric, delta=delta)
    stub = session.client.stub(analytics_pb2_grpc.AnalyticsServiceStub)
    answer = session.client.call(stub.IncrementCounters, request)
    if session.json:
        print_json(document(answer) | {"request_id": request.request_id})
    else:
        said = "was counted before" if answer.replayed else "counted"
        typer.echo(f"{said} (request {request.request_id})")


@command(app, "report")
def report(
    session: Session,
    *,
    start: Annotated[
        str,
        typer.Option("--start", metavar="YYYY-MM-DD", help="29 days before the end unless given."),
    ] = "",
    end: Annotated[
        str, typer.Option("--end", metavar="YYYY-MM-DD", help="Today in UTC unless given.")
    ] = "",
    metrics: Annotated[
        list[str] | None, typer.Option("--metric", help="Only these; may be repeated.")
    ] = None,
) -> None:
    """Show counters by day with totals, and a plot of the largest."""
    last = end or datetime.now(UTC).date().isoformat()
    request = analytics_pb2.GetAnalyticsReportRequest(
        start_date=start or _days_before(last), end_date=last, metrics=metrics or ()
    )
    stub = session.client.stub(analytics_pb2_grpc.AnalyticsServiceStub)
    answer = session.client.call(stub.GetAnalyticsReport, request)
    if session.json:
        print_json(document(answer))
        return
    names = [total.metric for total in answer.totals]
    days: dict[str, dict[str, int]] = {}
    for counter in answer.counters:
        days.setdefault(counter.date, {})[counter.metric] = counter.value
    rows = [[day, *(f"{counts.get(name, 0):,}" for name in names)] for day, counts in days.items()]
    if rows:
        rows.append(["total", *(f"{total.value:,}" for total in answer.totals)])
    empty = f"nothing was counted from {request.start_date} to {request.end_date}"
    print_table(("date", *(f">{name}" for name in names)), rows, empty=empty)
    if answer.totals:
        largest = max(answer.totals, key=lambda total: total.value).metric
        print_bars(
            f"{largest} by day",
            [day[5:] for day in days],
            [counts.get(largest, 0) for counts in days.values()],
        )


def _days_before(day: str) -> str:
    try:
        end = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise Failure(f"--end takes YYYY-MM-DD, not {day!r}") from error
    return (end - timedelta(days=_USUAL_DAYS - 1)).date().isoformat()
