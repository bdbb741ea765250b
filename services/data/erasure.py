"""Taking one person's address out of a tenant's items.

Users with the address are deleted, recipient lists lose it. What else may hold it stays, and is counted: a
sender's address is the tenant's own, and free text is not the platform's to rewrite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

from boundary.context import TenantContext
from boundary.ids import EntityId
from boundary.subjects import DataSubject
from services.data import changes
from services.data.changes import Clock
from services.data.config import SORT_KEY as CONFIG
from services.data.operations import ATTEMPTS, contended
from services.data.resources import CAMPAIGNS, LISTS, TEMPLATES, USERS
from services.table.ports import (
    Condition,
    ConditionFailed,
    Delete,
    Item,
    PurgeableTable,
    Put,
    Range,
    Stored,
    Table,
    Value,
)

_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """How far an erasure has come."""

    examined: int = 0
    users: int = 0
    lists: int = 0
    complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Where the address stands: users, recipient lists, and items that mention it elsewhere."""

    examined: int = 0
    users: int = 0
    lists: int = 0
    mentions: int = 0
    complete: bool = False


class SubjectErasure:
    """Looks through users and lists by consistent reads: an index may lag behind what an erasure must see."""

    def __init__(self, *, table: Table, engine: PurgeableTable, clock: Clock = changes.now) -> None:
        """Takes the table, above the layer that encrypts, and the guarded one below it."""
        self._table = table
        self._engine = engine
        self._clock = clock

    async def erase(self, tenant: TenantContext, subject: DataSubject) -> AsyncIterator[Erased]:
        """Deletes the person's users and takes the address out of lists. Repeatable.

        Raises:
            Aborted: others keep changing a user or a list that holds it.
        """
        done = Erased()
        async for page in self._pages(tenant, USERS.prefix):
            users = [each for each in page if subject.has(each.item.get("email"))]
            deleted = [await self._delete_user(tenant, user, subject) for user in users]
            done = replace(
                done, examined=done.examined + len(page), users=done.users + sum(deleted)
            )
            yield done
        async for page in self._pages(tenant, LISTS.prefix):
            lists = [each for each in page if _lists(each.item, subject)]
            changed = [await self._take_out(tenant, each, subject) for each in lists]
            done = replace(
                done, examined=done.examined + len(page), lists=done.lists + sum(changed)
            )
            yield done
        await self._engine.scrub(tenant.partition)
        yield replace(done, complete=True)

    async def survey(self, tenant: TenantContext, subject: DataSubject) -> AsyncIterator[Traces]:
        """Counts where the address stands, in users, lists, campaigns, templates and the settings."""
        found = Traces()
        for kind in (USERS, LISTS, CAMPAIGNS, TEMPLATES):
            async for page in self._pages(tenant, kind.prefix):
                users = [kind is USERS and subject.has(each.item.get("email")) for each in page]
                lists = [kind is LISTS and _lists(each.item, subject) for each in page]
                mentions = [_mentions(each.item, subject) for each in page]
                found = replace(
                    found,
                    examined=found.examined + len(page),
                    users=found.users + sum(users),
                    lists=found.lists + sum(lists),
                    mentions=found.mentions + sum(mentions),
                )
                yield found
        config = await self._table.get(tenant.partition, CONFIG) or {}
        mentioned = subject_in(config.get("settings"), subject)
        yield replace(found, mentions=found.mentions + mentioned, complete=True)

    async def _pages(self, tenant: TenantContext, prefix: str) -> AsyncIterator[list[Stored]]:
        position = None
        while True:
            page = await self._table.query(
                tenant.partition, keys=Range(prefix=prefix), limit=_PAGE, position=position
            )
            yield list(page.items)
            if page.position is None:
                return
            position = page.position

    async def _delete_user(self, tenant: TenantContext, user: Stored, subject: DataSubject) -> bool:
        """Deletes a user as long as it has the address; whether it did."""
        item: Item | None = user.item
        for _ in range(ATTEMPTS):
            if item is None or not subject.has(item.get("email")):
                return False
            # Not on condition of the address: below, it may be encrypted.
            unchanged = Condition(exists=True, equals={"etag": item["etag"]})
            delete = Delete(sort_key=user.sort_key, condition=unchanged)
            try:
                await self._table.write(tenant.partition, delete)
            except ConditionFailed:
                item = await self._table.get(tenant.partition, user.sort_key)
                continue
            return True
        raise contended(USERS.name(EntityId(user.sort_key.removeprefix(USERS.prefix))))

    async def _take_out(self, tenant: TenantContext, found: Stored, subject: DataSubject) -> bool:
        """Takes the address out of a list; whether it was in it."""
        item: Item | None = found.item
        key = EntityId(found.sort_key.removeprefix(LISTS.prefix))
        for _ in range(ATTEMPTS):
            if item is None or not _lists(item, subject):
                return False
            kept: list[Value] = [
                each for each in _recipients(item) if not subject.has(each.get("email"))
            ]
            changed = changes.finished_item(
                LISTS, tenant, key, {**item, "recipients": kept}, at=self._clock()
            )
            unchanged = Condition(exists=True, equals={"etag": item["etag"]})
            put = Put(sort_key=found.sort_key, item=changed, condition=unchanged)
            try:
                await self._table.write(tenant.partition, put)
            except ConditionFailed as error:
                item = error.existing
                continue
            return True
        raise contended(LISTS.name(key))


def _recipients(item: Item) -> Iterator[Item]:
    recipients = item.get("recipients")
    if isinstance(recipients, list):
        yield from (each for each in recipients if isinstance(each, dict))


def _lists(item: Item, subject: DataSubject) -> bool:
    return any(subject.has(each.get("email")) for each in _recipients(item))


def _mentions(item: Item, subject: DataSubject) -> bool:
    """Whether an item holds the address where an erasure leaves it."""
    kept: Item = {name: value for name, value in item.items() if not name.startswith("GSI")}
    if subject.has(kept.get("email")):
        del kept["email"]
    if "recipients" in kept:
        kept["recipients"] = [
            {name: value for name, value in each.items() if name != "email"}
            for each in _recipients(item)
            if not subject.has(each.get("email"))
        ]
    return subject_in(kept, subject)


def subject_in(value: Value, subject: DataSubject) -> bool:
    """Whether a value holds the address, however deep, as a key or as a part of a text."""
    if isinstance(value, str):
        return subject.mentioned_in(value)
    if isinstance(value, list):
        return any(subject_in(each, subject) for each in value)
    if isinstance(value, dict):
        return any(
            subject_in(name, subject) or subject_in(each, subject) for name, each in value.items()
        )
    return False
