"""`silo events report`: what the events add up to, in tables and a plot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cli.event_filters import type_of_name
from cli.failures import Failure
from cli.plot import print_bars
from cli.render import console, document, print_json, print_table
from cli.session import Session
from silo.search.v1 import event_pb2, event_pb2_grpc

_INTERVALS = {
    "hour": (event_pb2.CALENDAR_INTERVAL_HOUR, slice(5, 13)),
    "day": (event_pb2.CALENDAR_INTERVAL_DAY, slice(5, 10)),
    "week": (event_pb2.CALENDAR_INTERVAL_WEEK, slice(0, 10)),
    "month": (event_pb2.CALENDAR_INTERVAL_MONTH, slice(0, 7)),
}
"""Each interval's number, and the part of a local time that labels its bars."""

_TYPES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the events add up to.

    Attributes:
        types: counts by type.
        campaigns: counts by campaign.
        unique: distinct recipients, also by type.
        rates: rates over all campaigns.
        histogram: counts by time.
        by_campaign: rates and distinct recipients of each campaign shown.
    """

    types: event_pb2.TermsResult
    campaigns: event_pb2.TermsResult
    unique: event_pb2.UniqueRecipientsResult
    rates: event_pb2.RatesResult
    histogram: event_pb2.HistogramResult
    by_campaign: dict[str, tuple[event_pb2.RatesResult, event_pb2.UniqueRecipientsResult]]

    def document(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "event_types": document(self.types),
            "campaigns": document(self.campaigns),
            "unique_recipients": document(self.unique),
            "rates": document(self.rates),
            "histogram": document(self.histogram),
            "by_campaign": {
                campaign: {"rates": document(rates), "unique_recipients": document(unique)}
                for campaign, (rates, unique) in self.by_campaign.items()
            },
        }


def run(
    session: Session, chosen: event_pb2.EventFilter, *, interval: str, time_zone: str, top: int
) -> None:
    """Asks for the report and prints it.

    Raises:
        Failure: the interval is unknown, or a call was refused.
    """
    if interval not in _INTERVALS:
        raise Failure(f"--interval takes {', '.join(_INTERVALS)}, not {interval!r}")
    report = _report(session, chosen, interval=interval, time_zone=time_zone, top=top)
    if session.json:
        print_json(report.document())
        return
    if not report.types.buckets:
        console(stderr=True).print("no events", style="dim")
        return
    _print_types(report)
    _print_campaigns(report)
    label = _INTERVALS[interval][1]
    print_bars(
        f"Events by {interval} ({time_zone or 'UTC'})",
        [bucket.local_start_time[label].replace("T", " ") for bucket in report.histogram.buckets],
        [bucket.count for bucket in report.histogram.buckets],
    )


def _report(
    session: Session, chosen: event_pb2.EventFilter, *, interval: str, time_zone: str, top: int
) -> Report:
    request = event_pb2.AggregateEventsRequest(filter=chosen)
    request.aggregations.add().terms.CopyFrom(
        event_pb2.TermsAggregation(field=event_pb2.TERMS_FIELD_EVENT_TYPE, size=_TYPES)
    )
    request.aggregations.add().terms.CopyFrom(
        event_pb2.TermsAggregation(field=event_pb2.TERMS_FIELD_CAMPAIGN_ID, size=top)
    )
    request.aggregations.add().histogram.CopyFrom(
        event_pb2.HistogramAggregation(interval=_INTERVALS[interval][0], time_zone=time_zone)
    )
    _add_rates(request)
    stub = session.client.stub(event_pb2_grpc.EventServiceStub)
    results = session.client.call(stub.AggregateEvents, request).results
    campaigns = results[1].terms
    return Report(
        types=results[0].terms,
        campaigns=campaigns,
        histogram=results[2].histogram,
        unique=results[3].unique_recipients,
        rates=results[4].rates,
        by_campaign={
            bucket.value: _of_campaign(session, chosen, bucket.value)
            for bucket in campaigns.buckets
            if bucket.value
        },
    )


def _of_campaign(
    session: Session, chosen: event_pb2.EventFilter, campaign: str
) -> tuple[event_pb2.RatesResult, event_pb2.UniqueRecipientsResult]:
    request = event_pb2.AggregateEventsRequest(filter=chosen)
    del request.filter.campaign_ids[:]
    request.filter.campaign_ids.append(campaign)
    _add_rates(request)
    stub = session.client.stub(event_pb2_grpc.EventServiceStub)
    results = session.client.call(stub.AggregateEvents, request).results
    return results[1].rates, results[0].unique_recipients


def _add_rates(request: event_pb2.AggregateEventsRequest) -> None:
    request.aggregations.add().unique_recipients.CopyFrom(
        event_pb2.UniqueRecipientsAggregation(by_event_type=True)
    )
    request.aggregations.add().rates.SetInParent()


def _print_types(report: Report) -> None:
    recipients = {bucket.value: bucket.count for bucket in report.unique.event_types}
    rows = [
        [type_of_name(bucket.value), f"{bucket.count:,}", f"{recipients.get(bucket.value, 0):,}"]
        for bucket in report.types.buckets
    ]
    events = sum(bucket.count for bucket in report.types.buckets)
    rows.append(["all", f"{events:,}", f"{report.unique.count:,}"])
    print_table(("type", ">events", ">recipients"), rows, empty="")


def _print_campaigns(report: Report) -> None:
    rows = []
    for bucket in report.campaigns.buckets:
        rates, unique = report.by_campaign.get(bucket.value, (None, None))
        counted = [bucket.value or "(none)", f"{bucket.count:,}"]
        reached = f"{unique.count:,}" if unique is not None else ""
        rows.append([*counted, reached, *_rates(rates)])
    if report.campaigns.other_count:
        rows.append(["(others)", f"{report.campaigns.other_count:,}", "", *_rates(None)])
    events = sum(bucket.count for bucket in report.types.buckets)
    rows.append(["all", f"{events:,}", f"{report.unique.count:,}", *_rates(report.rates)])
    columns = (
        "campaign",
        ">events",
        ">recipients",
        ">sent",
        ">delivered",
        ">opened",
        ">clicked",
        ">bounced",
        ">complained",
    )
    console().print()
    print_table(columns, rows, empty="")


def _rates(rates: event_pb2.RatesResult | None) -> list[str]:
    if rates is None:
        return [""] * 6
    shares = (rates.open_rate, rates.click_rate, rates.bounce_rate, rates.complaint_rate)
    return [
        f"{rates.sent_count:,}",
        f"{rates.delivered_count:,}",
        *(f"{share:.1%}" for share in shares),
    ]
