"""A tenant's lifecycle rules, among those of all others.

S3 has one lifecycle configuration for a bucket and replaces it whole, without conditions. A tenant's rules are
those whose id begins with the tenant's prefix, slash included; they are edited by reading all rules and writing
them back with the tenant's exchanged. Two editors at once would lose one's edit, so:

- all editors of ours hold the same lock for the bucket, which is given from outside, for only the deployment knows
  what its processes share; the one built in holds within a process;
- before writing, the configuration is read again, and a change since the first reading restarts the edit;
- after writing, it is read back, and an edit that somebody without the lock has overwritten is made again.

What no client can exclude without the lock is a foreign write in the moment between the second reading and
ours.

A bucket takes 1,000 rules of all tenants together (S3 user guide, Managing the lifecycle of objects).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from boundary.errors import InvalidArgument, ResourceExhausted, Unavailable
from boundary.scope import ObjectPrefix
from services.storage.paths import parse_prefix
from services.storage.s3_client import Calls

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MAX_RULES = 1000
MAX_TENANT_RULES = 10

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_ATTEMPTS = 5
_PAUSE = 0.2

Configuration = list[dict[str, Any]]
"""All rules of a bucket, as S3 writes them."""

Edit = Callable[[Configuration], Configuration]

Lock = Callable[[str], AbstractAsyncContextManager[Any]]
"""For a bucket's name, what to hold while its configuration is edited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens by itself to a tenant's objects.

    Attributes:
        name: the tenant's name for the rule: `a-z 0-9 -`, up to 64.
        under: what the paths begin with that it is for; all where empty.
        expire_days: after so many days an object is deleted; 0 for never.
        noncurrent_days: after so many days as an older version it is gone for good; 0 for never.
    """

    name: str
    under: str = ""
    expire_days: int = 0
    noncurrent_days: int = 0


class LocalLocks:
    """A lock for each bucket, shared by what runs in this process."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def __call__(self, bucket: str) -> asyncio.Lock:
        """The lock for a bucket."""
        return self._locks.setdefault(bucket, asyncio.Lock())


class LifecycleRules:
    """The lifecycle rules of tenants in the buckets of one region."""

    def __init__(self, client: S3Client, calls: Calls, *, lock: Lock) -> None:
        self._client = client
        self._calls = calls
        self._lock = lock

    async def read(self, prefix: ObjectPrefix) -> list[Rule]:
        """The tenant's rules, by name."""
        configuration = await self._read(prefix.bucket)
        own = [rule for rule in configuration if _owned(prefix, rule)]
        return sorted((_parsed(prefix, rule) for rule in own), key=lambda rule: rule.name)

    async def replace(self, prefix: ObjectPrefix, rules: Sequence[Rule]) -> None:
        """Gives the tenant these rules in the place of those that it has.

        Raises:
            InvalidArgument: a rule is out of order, or there are more than MAX_TENANT_RULES.
            ResourceExhausted: the bucket takes no more rules (`LIFECYCLE_RULES_FULL`).
            Unavailable: others edit without the lock, over and over.
        """
        _check(rules)
        own = [_rendered(prefix, rule) for rule in rules]
        await self.edit(
            prefix.bucket,
            lambda all_rules: [rule for rule in all_rules if not _owned(prefix, rule)] + own,
        )

    async def edit(self, bucket: str, change: Edit) -> None:
        """Changes a bucket's rules, without losing what others change meanwhile; see the module.

        Args:
            change: makes the new rules from the present ones; called again where they changed meanwhile. It must
                be content with its own result.
        """
        async with self._lock(bucket):
            for attempt in range(_ATTEMPTS):
                before = await self._read(bucket)
                after = change(before)
                if len(after) > MAX_RULES:
                    raise ResourceExhausted(
                        "LIFECYCLE_RULES_FULL", f"the bucket takes {MAX_RULES} rules of all tenants"
                    )
                if _same(before, after):
                    return
                if _same(before, await self._read(bucket)):
                    await self._write(bucket, after)
                    if _same(after, await self._read(bucket)):
                        return
                await asyncio.sleep(_PAUSE * attempt)
        raise Unavailable("ENGINE_BUSY", "the bucket's rules are being changed over and over")

    async def _read(self, bucket: str) -> Configuration:
        def read() -> Configuration:
            try:
                answer = self._client.get_bucket_lifecycle_configuration(Bucket=bucket)
            except ClientError as error:
                if error.response["Error"].get("Code") == "NoSuchLifecycleConfiguration":
                    return []
                raise
            return [dict(rule) for rule in answer.get("Rules", ())]

        return await self._calls.call(read)

    async def _write(self, bucket: str, rules: Configuration) -> None:
        if not rules:
            await self._calls.call(partial(self._client.delete_bucket_lifecycle, Bucket=bucket))
            return
        configuration: Any = {"Rules": rules}
        await self._calls.call(
            partial(
                self._client.put_bucket_lifecycle_configuration,
                Bucket=bucket,
                LifecycleConfiguration=configuration,
            )
        )


def _owned(prefix: ObjectPrefix, rule: Mapping[str, Any]) -> bool:
    return prefix.owns(str(rule.get("ID", "")))


def _same(one: Configuration, other: Configuration) -> bool:
    """Whether two configurations have the same rules, whatever their order."""
    return sorted(map(_comparable, one)) == sorted(map(_comparable, other))


def _comparable(rule: Mapping[str, Any]) -> str:
    return repr(sorted((key, repr(value)) for key, value in rule.items() if value not in ({}, [])))


def _check(rules: Sequence[Rule]) -> None:
    if len(rules) > MAX_TENANT_RULES:
        raise InvalidArgument("rules", f"must be {MAX_TENANT_RULES} at the most")
    if len({rule.name for rule in rules}) < len(rules):
        raise InvalidArgument("rules", "must have names of their own")
    for rule in rules:
        if _NAME.fullmatch(rule.name) is None:
            raise InvalidArgument("rules.name", "must be 1 to 64 of a-z, 0-9 and -")
        parse_prefix(rule.under, field="rules.under")
        if not all(0 <= days <= 36500 for days in (rule.expire_days, rule.noncurrent_days)):
            raise InvalidArgument("rules", "must have days of 0 to 36500")
        if not rule.expire_days and not rule.noncurrent_days:
            raise InvalidArgument("rules", "must do something after some days")


def _rendered(prefix: ObjectPrefix, rule: Rule) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "ID": prefix.key(rule.name),
        "Status": "Enabled",
        "Filter": {"Prefix": prefix.key(rule.under)},
    }
    if rule.expire_days:
        rendered["Expiration"] = {"Days": rule.expire_days}
    if rule.noncurrent_days:
        rendered["NoncurrentVersionExpiration"] = {"NoncurrentDays": rule.noncurrent_days}
    return rendered


def _parsed(prefix: ObjectPrefix, rule: Mapping[str, Any]) -> Rule:
    under = rule.get("Filter", {}).get("Prefix", prefix.prefix)
    return Rule(
        name=prefix.path(rule["ID"]),
        under=prefix.path(under),
        expire_days=rule.get("Expiration", {}).get("Days", 0),
        noncurrent_days=rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0),
    )
