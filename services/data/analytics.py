"""Daily counters: added to once per request, read by ranges of days.

A counter is one item, `ANALYTICS#{date}#{metric}`, and in GSI1 under its metric, by date, so that a
report on a few metrics reads those alone. A hot tenant's counters are spread over shards, items of their
own that reports add up: `ANALYTICS#{date}#{metric}#{shard}` (see services/table/sharding.py).
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections import Counter as Sums
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from boundary.context import TenantContext
from boundary.errors import InvalidArgument
from boundary.ids import parse_request_id
from boundary.scope import Partition
from services.data import changes
from services.data.changes import Clock
from services.data.codec import NANOS
from services.data.retention import ItemRetention
from services.table.ports import (
    ABSENT,
    ConditionFailed,
    Item,
    Put,
    Range,
    Stored,
    Table,
    Update,
    Write,
)
from services.table.sharding import SEPARATOR, shard_key, shard_of

MAX_INCREMENTS = 50
MAX_DELTA = 10**15
MAX_DAYS = 366
MAX_METRICS = 20
MAX_COUNTERS = 20_000
"""The most counters in a report."""

REPLAY_SECONDS = 48 * 3600
"""For how long a request id is remembered; at least the 24 hours that are promised."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_METRIC = re.compile(r"[A-Z][A-Z0-9_]{0,39}")
_PREFIX = "ANALYTICS"
_INT64 = 2**63 - 1
_PAGE = 1000


@dataclass(frozen=True, slots=True, order=True)
class Counter:
    """A counter: its day as `YYYY-MM-DD`, its metric, its value or the amount to add."""

    date: str
    metric: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Counters by day and metric, and the totals by metric.

    What is beyond 64 bits reads as the largest or the smallest number of 64 bits.
    """

    counters: Sequence[Counter]
    totals: Sequence[tuple[str, int]]


def _shards_of(tenant: TenantContext) -> int:
    return tenant.counter_shards or 1


class Analytics:
    """The counters of tenants."""

    def __init__(
        self,
        *,
        table: Table,
        clock: Clock = changes.now,
        shards: Callable[[TenantContext], int] = _shards_of,
    ) -> None:
        """Takes the parts; shards says over how many items a counter is spread; the tenant's limit where unset."""
        self._table = table
        self._clock = clock
        self._shards = shards
        self._retention = ItemRetention(table=table, clock=clock)

    async def increment(
        self, tenant: TenantContext, *, request_id: str, increments: Sequence[Counter]
    ) -> bool:
        """Adds to counters, all or none and once; whether an earlier call had added them.

        The mark of the request stands in the same transaction as the increments, so that neither is
        ever there without the other.

        Raises:
            InvalidArgument: a field is out of grammar or range, a counter is named twice, or the
                request id named other increments before.
        """
        parse_request_id(request_id)
        _require_increments(increments)
        digest = _digest(increments)
        token = f"{_PREFIX}#{changes.requester(tenant)}#{request_id}"
        shard = shard_of(token, self._shards(tenant))
        mark = Put(
            sort_key=f"REQUEST#{token}",
            item={"digest": digest},
            condition=ABSENT,
            expires_at=self._clock() // NANOS + REPLAY_SECONDS,
        )
        updates: list[Write] = [
            Update(
                sort_key=shard_key(f"{_PREFIX}#{each.date}#{each.metric}", shard),
                set=index_entry(tenant.partition, each.date, each.metric, shard),
                add={"value": each.value},
            )
            for each in increments
        ]
        try:
            await self._table.transact([(tenant.partition, write) for write in [mark, *updates]])
        except ConditionFailed as error:
            if error.existing is None or error.existing.get("digest") != digest:
                raise InvalidArgument(
                    "request_id", "has named other increments before", reason="REQUEST_ID_REUSED"
                ) from error
            return True
        return False

    async def report(
        self, tenant: TenantContext, *, start: str, end: str, metrics: Sequence[str]
    ) -> Report:
        """The counters of a range of days, both included, but for those that the tenant keeps no longer.

        Raises:
            InvalidArgument: a field is out of grammar or range, or the report is too large.
        """
        _require_range(start, end)
        _require_metrics(metrics)
        sums: Sums[tuple[str, str]] = Sums()
        start = max(start, await self._retention.oldest_day(tenant) or start)
        async for stored in self._stored(tenant, start, end, metrics):
            _, date, metric, *_shard = stored.sort_key.split(SEPARATOR)
            sums[date, metric] += _number(stored.item)
            if len(sums) > MAX_COUNTERS:
                raise InvalidArgument(
                    "end_date",
                    f"the range holds more than {MAX_COUNTERS} counters; ask for fewer days or "
                    "name metrics",
                    reason="REPORT_TOO_LARGE",
                )
        totals: Sums[str] = Sums()
        for (_, metric), value in sums.items():
            totals[metric] += value
        return Report(
            counters=[Counter(*key, _bounded(value)) for key, value in sorted(sums.items())],
            totals=[(metric, _bounded(value)) for metric, value in sorted(totals.items())],
        )

    async def _stored(
        self, tenant: TenantContext, start: str, end: str, metrics: Sequence[str]
    ) -> AsyncIterator[Stored]:
        if start > end:  # kept no longer, all of them
            return
        if not metrics:
            # "~" follows every character of a metric.
            days = Range(low=f"{_PREFIX}#{start}#", high=f"{_PREFIX}#{end}#~")
            async for stored in self._pages(tenant, days, None):
                yield stored
        for metric in metrics:
            dates = Range(low=start, high=f"{end}{SEPARATOR}~")
            async for stored in self._pages(tenant, dates, metric):
                yield stored

    async def _pages(
        self, tenant: TenantContext, keys: Range, metric: str | None
    ) -> AsyncIterator[Stored]:
        position = None
        while True:
            page = await self._table.query(
                tenant.partition,
                keys=keys,
                limit=_PAGE,
                position=position,
                index=None if metric is None else "GSI1",
                index_key="" if metric is None else _metric_key(tenant.partition, metric),
            )
            for stored in page.items:
                yield stored
            if page.position is None:
                return
            position = page.position


def _metric_key(partition: Partition, metric: str) -> str:
    return partition.index_key(_PREFIX, "METRIC", metric)


def index_entry(partition: Partition, date: str, metric: str, shard: int = 0) -> Item:
    """What places a counter in the index.

    Shards stand apart in the index too, or its one item would take all their writes.
    """
    return {"GSI1PK": _metric_key(partition, metric), "GSI1SK": shard_key(date, shard)}


def counters_before(day: str) -> Range:
    """The keys of all counters and shards of earlier days, the days as `YYYY-MM-DD`."""
    return Range(low=f"{_PREFIX}#", high=f"{_PREFIX}#{day}")


def counter_at(stored: Stored) -> tuple[str, str, int] | None:
    """The date, metric and value of a counter or of one of its shards; None for any other item."""
    entity, *rest = stored.sort_key.split(SEPARATOR)
    if entity != _PREFIX:
        return None
    date, metric, *_shard = rest
    return date, metric, _number(stored.item)


def sort_key_of(date: str, metric: str, *, path: str) -> str:
    """Where a counter stands that is not spread.

    Raises:
        InvalidArgument: the date or the metric is out of grammar.
    """
    _day(date, f"{path}.date")
    _require_metric(metric, f"{path}.metric")
    return f"{_PREFIX}#{date}#{metric}"


def _number(item: Item) -> int:
    value = item["value"]
    return value if isinstance(value, int) else 0


def _bounded(value: int) -> int:
    return max(-_INT64 - 1, min(_INT64, value))


def _digest(increments: Sequence[Counter]) -> str:
    lines = "\n".join(f"{each.date} {each.metric} {each.value}" for each in sorted(increments))
    return hashlib.sha256(lines.encode()).hexdigest()


def _require_increments(increments: Sequence[Counter]) -> None:
    if not 1 <= len(increments) <= MAX_INCREMENTS:
        raise InvalidArgument("increments", f"must hold 1 to {MAX_INCREMENTS} increments")
    seen: set[tuple[str, str]] = set()
    for index, each in enumerate(increments):
        path = f"increments[{index}]"
        _day(each.date, f"{path}.date")
        _require_metric(each.metric, f"{path}.metric")
        if each.value == 0 or abs(each.value) > MAX_DELTA:
            raise InvalidArgument(f"{path}.delta", "must not be 0 and lie between -1e15 and 1e15")
        if (each.date, each.metric) in seen:
            raise InvalidArgument(path, "names a counter that an earlier one names")
        seen.add((each.date, each.metric))


def _require_range(start: str, end: str) -> None:
    first, last = _day(start, "start_date"), _day(end, "end_date")
    if last < first:
        raise InvalidArgument("end_date", "must not be before start_date")
    if (last - first).days > MAX_DAYS:
        raise InvalidArgument("end_date", f"must be at most {MAX_DAYS} days after start_date")


def _require_metrics(metrics: Sequence[str]) -> None:
    if len(metrics) > MAX_METRICS:
        raise InvalidArgument("metrics", f"must hold at most {MAX_METRICS} metrics")
    for index, metric in enumerate(metrics):
        _require_metric(metric, f"metrics[{index}]")
        if metric in metrics[:index]:
            raise InvalidArgument(f"metrics[{index}]", "is named twice")


def _require_metric(metric: str, path: str) -> None:
    if _METRIC.fullmatch(metric) is None:
        raise InvalidArgument(
            path, "must be 1 to 40 of A-Z, 0-9 and _, beginning with a letter, such as OPENS"
        )


def _day(raw: str, path: str) -> datetime.date:
    try:
        if _DATE.fullmatch(raw) is None:
            raise ValueError(raw)
        return datetime.date.fromisoformat(raw)
    except ValueError as error:
        raise InvalidArgument(path, "must be a day as YYYY-MM-DD, such as 2024-01-15") from error
