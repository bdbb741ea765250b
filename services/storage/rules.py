"""What happens by itself to a tenant's objects: the rules, and what an engine must do for them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Protocol

from boundary.errors import FailedPrecondition, InvalidArgument
from boundary.scope import ObjectPrefix
from services.storage.paths import parse_prefix

MAX_TENANT_RULES = 10
MAX_DAYS = 36_500
RULES_NOT_ALLOWED = "LIFECYCLE_RULES_NOT_ALLOWED"

_PATH = "object_lifecycle.rules"
"""The request field that holds the rules, for errors."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens by itself to objects.

    Attributes:
        name: the tenant's name for the rule: `a-z 0-9 -`, up to 64.
        under: what the paths begin with that it is for; all where empty.
        expire_days: after so many days an object is deleted; 0 for never.
        archive_days: after so many days an object moves to the archive, where it is read as before; 0 for never.
        noncurrent_days: after so many days as an older version it is gone for good; 0 for never.
    """

    name: str
    under: str = ""
    expire_days: int = 0
    archive_days: int = 0
    noncurrent_days: int = 0


Change = Callable[[Sequence[Rule]], Sequence[Rule]]
"""Makes a tenant's new rules from its present ones, or raises where it may not; can be asked again."""


class ObjectRules(Protocol):
    """The rules of tenants.

    Every call may raise boundary.errors.Unavailable, and FailedPrecondition where the service's own identity may
    not see the rules (`LIFECYCLE_RULES_NOT_ALLOWED`).
    """

    async def read(self, prefix: ObjectPrefix) -> Sequence[Rule]:
        """The tenant's rules, by name."""

    async def change(self, prefix: ObjectPrefix, change: Change) -> Sequence[Rule]:
        """Gives the tenant what change makes of its rules; those afterwards, by name. One change at a time.

        Raises:
            InvalidArgument: a rule is out of order, or there are more than MAX_TENANT_RULES.
            FailedPrecondition: a rule archives, and there is no archive (`ARCHIVE_MISSING`).
            ResourceExhausted: the engine takes no more rules (`LIFECYCLE_RULES_FULL`).
        """

    async def apply(self, prefix: ObjectPrefix) -> int:
        """Does what the rules say and the engine does not by itself; how much was removed."""


def check(rules: Sequence[Rule]) -> None:
    """Returns where rules are in order.

    Raises:
        InvalidArgument: a rule is out of order, or there are more than MAX_TENANT_RULES.
    """
    if len(rules) > MAX_TENANT_RULES:
        raise InvalidArgument(_PATH, f"must be {MAX_TENANT_RULES} at the most")
    if len({rule.name for rule in rules}) < len(rules):
        raise InvalidArgument(_PATH, "must have names of their own")
    for index, rule in enumerate(rules):
        _check_rule(rule, f"{_PATH}[{index}]")


def _check_rule(rule: Rule, path: str) -> None:
    if _NAME.fullmatch(rule.name) is None:
        raise InvalidArgument(f"{path}.rule_id", "must be 1 to 64 of a-z, 0-9 and -")
    parse_prefix(rule.under, field=f"{path}.folder")
    days = {
        "expire_days": rule.expire_days,
        "archive_days": rule.archive_days,
        "noncurrent_days": rule.noncurrent_days,
    }
    for name, count in days.items():
        if not 0 <= count <= MAX_DAYS:
            raise InvalidArgument(f"{path}.{name}", f"must be 0 to {MAX_DAYS}")
    if not any(days.values()):
        raise InvalidArgument(path, "must do something after some days")
    if rule.expire_days and rule.archive_days >= rule.expire_days:
        raise InvalidArgument(f"{path}.archive_days", "must be fewer than expire_days")


def archive_missing() -> FailedPrecondition:
    """The error for a rule that archives where there is no archive."""
    return FailedPrecondition("ARCHIVE_MISSING", "the engine of the tenant's region has no archive")


def rules_not_allowed() -> FailedPrecondition:
    """The error for a bucket whose rules the service may not see, and so has never written."""
    return FailedPrecondition(
        RULES_NOT_ALLOWED, "the service may not read the lifecycle rules of the tenant's bucket"
    )


def in_order(rules: Sequence[Rule]) -> list[Rule]:
    """The rules by name."""
    return sorted(rules, key=lambda rule: rule.name)


def etag_of(rules: Sequence[Rule]) -> str:
    """The etag of a tenant's rules: equal rules have an equal one, whichever engine has them."""
    content = json.dumps([astuple(rule) for rule in in_order(rules)]).encode()
    return hashlib.sha256(content).hexdigest()[:16]
