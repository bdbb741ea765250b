"""A tenant's lifecycle rules, among those of all others.

S3 has one lifecycle configuration for a bucket and replaces it whole, without conditions. A tenant's rules are
those whose id begins with the tenant's prefix, slash included; they are edited by reading all rules and writing
them back with the tenant's exchanged. Two editors at once would lose one's edit, so:

- all editors of ours hold the same lock for the bucket, which is given from outside: s3_lock has one in the bucket
  itself, for all processes; the one built in here holds within a process;
- before writing, the configuration is read again, and a change since the first reading restarts the edit;
- after writing, it is read back, and an edit that somebody without the lock has overwritten is made again.

What no client can exclude without the lock is a foreign write in the moment between the second reading and
ours.

A bucket takes 1,000 rules of all tenants together (S3 user guide, Managing the lifecycle of objects).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from boundary.errors import ResourceExhausted, Unavailable
from boundary.scope import ObjectPrefix
from services.storage.rules import (
    Change,
    Rule,
    archive_missing,
    check,
    in_order,
    rules_not_allowed,
)
from services.storage.s3_client import Calls
from services.storage.s3_errors import Kind, Refused

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

MAX_RULES = 1000

_ARCHIVE = "GLACIER_IR"
"""S3 Glacier Instant Retrieval: an object in it is read as any other (S3 user guide, storage classes)."""

_ATTEMPTS = 5
_PAUSE = 0.2

Configuration = list[dict[str, Any]]
"""All rules of a bucket, as S3 writes them."""

Edit = Callable[[Configuration], Configuration]

Lock = Callable[[str], AbstractAsyncContextManager[Any]]
"""For a bucket's name, what to hold while its configuration is edited."""


class LocalLocks:
    """A lock for each bucket, shared by what runs in this process."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}

    def __call__(self, bucket: str) -> asyncio.Lock:
        """The lock for a bucket."""
        return self._locks.setdefault(bucket, asyncio.Lock())


async def _nothing(_prefix: ObjectPrefix) -> int:
    return 0


class LifecycleRules:
    """The lifecycle rules of tenants in the buckets of one region; a services.storage.rules.ObjectRules.

    The bucket's configuration is where they stand; S3 does what they say.
    """

    def __init__(
        self,
        client: S3Client,
        calls: Calls,
        *,
        lock: Lock,
        leftovers: Callable[[ObjectPrefix], Awaitable[int]] = _nothing,
    ) -> None:
        """Takes the parts.

        Args:
            client: signs as who may write the bucket's configuration, which no tenant's session may.
            calls: makes its calls.
            lock: shared by all processes that edit, see s3_lock.
            leftovers: removes what the rules leave of a tenant, see S3Objects.sweep.
        """
        self._client = client
        self._calls = calls
        self._lock = lock
        self._leftovers = leftovers

    async def read(self, prefix: ObjectPrefix) -> list[Rule]:
        """The tenant's rules, by name."""
        return _own(prefix, await self._read(prefix.bucket))

    async def replace(self, prefix: ObjectPrefix, rules: Sequence[Rule]) -> None:
        """Gives the tenant these rules in the place of those that it has; raises what change does."""
        check(rules)
        await self.change(prefix, lambda _: rules)

    async def change(self, prefix: ObjectPrefix, change: Change) -> list[Rule]:
        """See ObjectRules.change.

        Raises:
            Unavailable: others edit without the lock, over and over.
        """
        wanted: list[Rule] | None = None

        def edited(configuration: Configuration) -> Configuration:
            nonlocal wanted
            own = _own(prefix, configuration)
            if wanted is None or own != wanted:
                changed = change(own)
                check(changed)
                wanted = in_order(changed)
            kept = [rule for rule in configuration if not _owned(prefix, rule)]
            return kept + [_rendered(prefix, rule) for rule in wanted]

        await self.edit(prefix.bucket, edited)
        assert wanted is not None  # noqa: S101 - an edit asks for the change at least once
        return wanted

    async def apply(self, prefix: ObjectPrefix) -> int:
        """See ObjectRules.apply. S3 applies the rules by itself, once a day."""
        return await self._leftovers(prefix)

    async def edit(self, bucket: str, change: Edit) -> None:
        """Changes a bucket's rules, without losing what others change meanwhile; see the module.

        Args:
            change: makes the new rules from the present ones; called again where they changed meanwhile. It must
                be content with its own result.
        """
        await self._read(
            bucket
        )  # whoever may not read them is told so, and not that it may not lock
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

        try:
            return await self._calls.call(read, provides={Kind.REFUSED})
        except Refused as error:
            raise rules_not_allowed() from error

    async def _write(self, bucket: str, rules: Configuration) -> None:
        if not rules:
            await self._calls.call(partial(self._client.delete_bucket_lifecycle, Bucket=bucket))
            return
        configuration: Any = {"Rules": rules}
        work = partial(
            self._client.put_bucket_lifecycle_configuration,
            Bucket=bucket,
            LifecycleConfiguration=configuration,
        )
        try:
            await self._calls.call(work, provides={Kind.LACKING})
        except Refused as error:
            # Servers other than Amazon's expire objects, and few of them have other classes of storage.
            raise archive_missing() from error


def _own(prefix: ObjectPrefix, configuration: Configuration) -> list[Rule]:
    return in_order([_parsed(prefix, rule) for rule in configuration if _owned(prefix, rule)])


def _owned(prefix: ObjectPrefix, rule: Mapping[str, Any]) -> bool:
    return prefix.owns(str(rule.get("ID", "")))


def _same(one: Configuration, other: Configuration) -> bool:
    """Whether two configurations have the same rules, whatever their order."""
    return sorted(map(_comparable, one)) == sorted(map(_comparable, other))


def _comparable(rule: Mapping[str, Any]) -> str:
    return repr(sorted((key, repr(value)) for key, value in rule.items() if value not in ({}, [])))


def _rendered(prefix: ObjectPrefix, rule: Rule) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "ID": prefix.key(rule.name),
        "Status": "Enabled",
        "Filter": {"Prefix": prefix.key(rule.under)},
    }
    if rule.expire_days:
        rendered["Expiration"] = {"Days": rule.expire_days}
    if rule.archive_days:
        rendered["Transitions"] = [{"Days": rule.archive_days, "StorageClass": _ARCHIVE}]
    if rule.noncurrent_days:
        rendered["NoncurrentVersionExpiration"] = {"NoncurrentDays": rule.noncurrent_days}
    return rendered


def _parsed(prefix: ObjectPrefix, rule: Mapping[str, Any]) -> Rule:
    under = rule.get("Filter", {}).get("Prefix", prefix.prefix)
    return Rule(
        name=prefix.path(rule["ID"]),
        under=prefix.path(under),
        expire_days=rule.get("Expiration", {}).get("Days", 0),
        archive_days=next((each["Days"] for each in rule.get("Transitions", ())), 0),
        noncurrent_days=rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays", 0),
    )
