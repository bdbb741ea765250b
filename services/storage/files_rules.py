"""Tenants' rules on the embedded bucket: they stand beside the objects' metadata, and a sweep applies them.

There are no versions, so nothing is left of an object that was replaced or deleted; and there is no archive.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from boundary.scope import ObjectPrefix
from services.embedded.sqlite import Database
from services.storage.rules import Change, Rule, archive_missing, check, in_order

RULES_SCHEMA = """
CREATE TABLE IF NOT EXISTS rules (
    bucket TEXT NOT NULL,
    prefix TEXT NOT NULL,
    rules TEXT NOT NULL,
    PRIMARY KEY (bucket, prefix)
) WITHOUT ROWID;
"""

_FIND = "SELECT rules FROM rules WHERE bucket = ? AND prefix = ?"
_PUT = "INSERT OR REPLACE INTO rules (bucket, prefix, rules) VALUES (?, ?, ?)"
_DELETE = "DELETE FROM rules WHERE bucket = ? AND prefix = ?"

Expire = Callable[[ObjectPrefix, str, datetime], Awaitable[int]]
"""Deletes the objects whose paths begin so and that were stored before; how many there were."""


def _now() -> datetime:
    return datetime.now(UTC)


class FileRules:
    """The rules of tenants on this machine; a services.storage.rules.ObjectRules."""

    def __init__(
        self, database: Database, expire: Expire, *, clock: Callable[[], datetime] = _now
    ) -> None:
        """Takes the metadata's database, what deletes objects, and the time in UTC."""
        self._database = database
        self._expire = expire
        self._clock = clock

    async def read(self, prefix: ObjectPrefix) -> list[Rule]:
        """See ObjectRules.read."""
        return await self._database.read(lambda connection: _find(connection, prefix))

    async def change(self, prefix: ObjectPrefix, change: Change) -> list[Rule]:
        """See ObjectRules.change."""

        def work(connection: sqlite3.Connection) -> list[Rule]:
            changed = change(_find(connection, prefix))
            check(changed)
            if any(rule.archive_days for rule in changed):
                raise archive_missing()
            rules = in_order(changed)
            place = (prefix.bucket, prefix.prefix)
            if rules:
                text = json.dumps([asdict(rule) for rule in rules])
                connection.execute(_PUT, (*place, text))
            else:
                connection.execute(_DELETE, place)
            return rules

        return await self._database.write(work)

    async def apply(self, prefix: ObjectPrefix) -> int:
        """See ObjectRules.apply."""
        removed = 0
        for rule in await self.read(prefix):
            if rule.expire_days:
                before = self._clock() - timedelta(days=rule.expire_days)
                removed += await self._expire(prefix, rule.under, before)
        return removed


def _find(connection: sqlite3.Connection, prefix: ObjectPrefix) -> list[Rule]:
    row = connection.execute(_FIND, (prefix.bucket, prefix.prefix)).fetchone()
    return [] if row is None else [Rule(**fields) for fields in json.loads(row[0])]
