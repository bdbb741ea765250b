"""Calendar buckets in a time zone, exact across changes of the zone's offset.

A bucket is every instant that a calendar of the zone gives the same label: the same hour at the same offset,
the same date, the same week, the same month. So a day of a change has 23, 25 or 23.5 hours, an hour that the
clocks repeat is two buckets, and a date that a zone skipped is none.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from services.search.ports import CalendarInterval

_SECOND = 1_000
_HOUR = 3_600 * _SECOND
_DAY = 24 * _HOUR
_LENGTH = {
    CalendarInterval.HOUR: _HOUR,
    CalendarInterval.DAY: _DAY,
    CalendarInterval.WEEK: 7 * _DAY,
    CalendarInterval.MONTH: 31 * _DAY,
}
_EPOCH = date(1970, 1, 1)
_WEEK_SHIFT = 3 * _DAY
"""From Thursday, when the epoch begins, back to its Monday."""

_SAMPLE_SECONDS = 6 * 3_600
"""How far apart a zone is asked for its offset. No zone has gone back on a change within hours since 2000."""


class TooLong(Exception):
    """The range has more buckets than are allowed."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The buckets between two instants.

    A bucket need not be one stretch of time (at 00:01 some zones went back into the day before), so times
    are cut into segments and each segment belongs to a bucket.

    Attributes:
        starts: each bucket's first instant, in milliseconds since the epoch, ascending.
        grain: milliseconds; every segment is made of whole grains, counted from the epoch.
    """

    starts: tuple[int, ...]
    grain: int
    segment_starts: tuple[int, ...]
    segment_buckets: tuple[int, ...]

    def place_of(self, instant_ms: int) -> int:
        """The place in `starts` of the bucket that an instant within the range belongs to."""
        return self.segment_buckets[bisect_right(self.segment_starts, instant_ms) - 1]


@cache
def time_zones() -> frozenset[str]:
    """The names of the zones in the IANA database that is installed. The first call reads the disk."""
    return frozenset(available_timezones())


def buckets_between(
    first_ms: int, last_ms: int, *, interval: CalendarInterval, time_zone: str, limit: int
) -> Buckets:
    """The buckets of the instants from first_ms to last_ms.

    At both ends there may be one that holds none of these instants, where a zone went back into the day before.

    Raises:
        TooLong: there are more than limit.
    """
    if (last_ms - first_ms) // _LENGTH[interval] > limit:
        raise TooLong
    zone = ZoneInfo(time_zone)
    margin = (
        _LENGTH[interval] + 2 * _DAY
    )  # the first bucket began at most this long before first_ms
    starts: list[int] = []
    places: dict[object, int] = {}
    segments: list[tuple[int, int]] = []
    for begin, label in _segments(zone, interval, first_ms - margin, last_ms):
        place = places.setdefault(label, len(starts))
        if place == len(starts):
            starts.append(begin)
        segments.append((begin, place))
    segment_starts = [begin for begin, _ in segments]
    first_segment = bisect_right(segment_starts, first_ms) - 1
    skipped = min(place for _, place in segments[first_segment:])
    kept = [(begin, place - skipped) for begin, place in segments if place >= skipped]
    if len(starts) - skipped > limit:
        raise TooLong
    return Buckets(
        starts=tuple(starts[skipped:]),
        grain=math.gcd(*(begin for begin, _ in kept)) or _LENGTH[interval],
        segment_starts=tuple(begin for begin, _ in kept),
        segment_buckets=tuple(place for _, place in kept),
    )


def local_time(instant_ms: int, time_zone: str) -> str:
    """An instant as the zone's clocks show it, with the offset (RFC 3339)."""
    instant = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=instant_ms)
    return instant.astimezone(ZoneInfo(time_zone)).isoformat()


def _segments(
    zone: ZoneInfo, interval: CalendarInterval, first_ms: int, last_ms: int
) -> Iterator[tuple[int, object]]:
    """The first instant and the label of each stretch of time with one label at one offset.

    The first stretch may begin late and is only there to lead up to the next.
    """
    for begin, end, offset in _offsets(zone, first_ms, last_ms):
        instant = begin
        while instant < end:
            label, following = _label(instant + offset, interval)
            yield instant, (label, offset if interval is CalendarInterval.HOUR else 0)
            instant = following - offset


def _label(local_ms: int, interval: CalendarInterval) -> tuple[int, int]:
    """A number for the bucket of a local time, and the local time at which the next bucket begins."""
    if interval is CalendarInterval.MONTH:
        day = _EPOCH + timedelta(days=local_ms // _DAY)
        following = date(day.year + day.month // 12, day.month % 12 + 1, 1)
        return day.year * 12 + day.month, (following - _EPOCH).days * _DAY
    shift = _WEEK_SHIFT if interval is CalendarInterval.WEEK else 0
    length = _LENGTH[interval]
    number = (local_ms + shift) // length
    return number, (number + 1) * length - shift


def _offsets(zone: ZoneInfo, first_ms: int, last_ms: int) -> Iterator[tuple[int, int, int]]:
    """The stretches of constant offset that cover first_ms to last_ms: begin, end, offset, in milliseconds."""
    begin = first_ms
    years = range(_utc(first_ms // _SECOND).year, _utc(last_ms // _SECOND).year + 1)
    for change in (change for year in years for change in _changes(zone.key, year)):
        if first_ms < change <= last_ms:
            yield begin, change, _offset(zone, begin // _SECOND) * _SECOND
            begin = change
    yield begin, last_ms + 1, _offset(zone, begin // _SECOND) * _SECOND


@lru_cache(maxsize=4096)
def _changes(time_zone: str, year: int) -> tuple[int, ...]:
    """The instants of a UTC year at which the zone's offset changes, in milliseconds since the epoch.

    zoneinfo does not tell them, so they are searched for.
    """
    zone = ZoneInfo(time_zone)
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(year + 1, 1, 1, tzinfo=UTC).timestamp())
    changes = []
    for sample in range(start, end, _SAMPLE_SECONDS):
        low, high = sample - 1, min(sample + _SAMPLE_SECONDS, end) - 1
        before = _offset(zone, low)
        if before == _offset(zone, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(zone, middle) == before:
                low = middle
            else:
                high = middle
        changes.append(high * _SECOND)
    return tuple(changes)


def _offset(zone: ZoneInfo, second: int) -> int:
    """Seconds that the zone is ahead of UTC."""
    offset = _utc(second).astimezone(zone).utcoffset()
    assert offset is not None  # noqa: S101 - a ZoneInfo always knows
    return int(offset.total_seconds())


def _utc(second: int) -> datetime:
    return datetime.fromtimestamp(second, tz=UTC)
