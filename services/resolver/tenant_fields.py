"""What an operator may say of a tenant: each field as it is taken, or refused."""

from __future__ import annotations

from boundary.errors import InvalidArgument
from services.table.sharding import MAX_SHARDS

TIERS = frozenset({"BASIC", "STANDARD", "PREMIUM"})
MAX_NAME = 200
MAX_BACKUP_HOURS = 366 * 24
MAX_BACKUPS = 1000


def display_name(value: str) -> str:
    """A name for people.

    Raises:
        InvalidArgument: it is not.
    """
    if not 1 <= len(value.strip()) <= MAX_NAME or not value.isprintable():
        raise InvalidArgument("tenant.display_name", f"must be 1 to {MAX_NAME} characters")
    return value


def tier(value: str) -> str:
    """One of TIERS.

    Raises:
        InvalidArgument: it is not.
    """
    if value not in TIERS:
        raise InvalidArgument("tenant.tier", f"must be one of {', '.join(sorted(TIERS))}")
    return value


def counter_shards(value: int) -> int:
    """Over how many items a counter is spread.

    Raises:
        InvalidArgument: it is not.
    """
    if not 0 <= value <= MAX_SHARDS:
        raise InvalidArgument("tenant.limits.counter_shards", f"must be 0 to {MAX_SHARDS}")
    return value


def backup_hours(value: int) -> int:
    """Every how many hours; 0 for never.

    Raises:
        InvalidArgument: it is not.
    """
    if not 0 <= value <= MAX_BACKUP_HOURS:
        raise InvalidArgument("tenant.backups.interval_hours", f"must be 0 to {MAX_BACKUP_HOURS}")
    return value


def backups_kept(value: int) -> int:
    """How many backups; 0 for all.

    Raises:
        InvalidArgument: it is not.
    """
    if not 0 <= value <= MAX_BACKUPS:
        raise InvalidArgument("tenant.backups.kept_count", f"must be 0 to {MAX_BACKUPS}")
    return value


def max_object_bytes(value: int) -> int:
    """A size in bytes; 0 for the service's own bound.

    Raises:
        InvalidArgument: it is not.
    """
    if value < 0:
        raise InvalidArgument("tenant.limits.max_object_bytes", "must not be negative")
    return value
