"""Intents: how a template's record and its content stay together through any crash.

Record and content stand in two engines that share no transaction. A write therefore first stores in the
record what it is about to do (the intent: a token, the content's SHA-256, the record as it will be, and
a lease), then writes the content, then stores the record as it will be, on condition that the token is
still its own. Whoever meets an intent whose lease is over takes it over and finishes it: forward where
the content is the intent's, back where it is not. See docs/adr/0005-template-content-and-record.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from boundary.context import TenantContext
from boundary.ids import EntityId, TenantId
from boundary.scope import Partition
from services.data import changes
from services.data.changes import Clock
from services.data.codec import NANOS
from services.data.ports import CONTENT_SECONDS, TemplateContent
from services.data.resources import PENDING, TEMPLATES
from services.table.ports import Condition, ConditionFailed, Delete, Item, Put, Table, Write

TOKEN = "pending_token"  # noqa: S105 - an attribute's name
"""The attribute that holds whose the intent is; top-level, so that a write can depend on it."""

LEASE_SECONDS = 30
"""For how long nobody else touches an intent: three times what a call to the content takes."""

PENDING_INDEX = "GSI1"
_INTENT_ATTRIBUTES = frozenset({PENDING, TOKEN, "GSI1PK", "GSI1SK"})

IntentKind = Literal["create", "update", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A write that is under way.

    Attributes:
        kind: what it does.
        token: whose it is.
        sha256: the content's SHA-256; empty for a deletion.
        after: the record as it will be; empty for a deletion.
        lease_expires: when it is anyone's to finish, in nanoseconds since the epoch.
    """

    kind: IntentKind
    token: str
    sha256: str
    after: Item
    lease_expires: int


class LeaseLost(Exception):
    """Somebody else has taken the intent over.

    Attributes:
        existing: the record as it is, or None where there is none.
    """

    def __init__(self, existing: Item | None) -> None:
        super().__init__("the intent was taken over")
        self.existing = existing


class Intents:
    """Begins, finishes and resolves intents.

    It also remembers which tenants recovery has to look at: those in which an intent was begun here, until its
    lease is long over. A look before that proves nothing: the intent may be on its way to the table, or not yet in
    the index.
    """

    def __init__(
        self, *, table: Table, content: TemplateContent, clock: Clock = changes.now
    ) -> None:
        self._table = table
        self._content = content
        self._clock = clock
        self._look_until: dict[TenantId, int] = {}

    def look_again(self, tenant_id: TenantId) -> None:
        """Has recovery look at a tenant until a lease that begins now is long over."""
        self._look_until[tenant_id] = self._clock() + 2 * LEASE_SECONDS * NANOS

    def to_look_at(self, tenant_id: TenantId) -> bool:
        """Whether recovery has to look at a tenant."""
        return tenant_id in self._look_until

    def looked(self, tenant_id: TenantId, *, began: int) -> None:
        """Notes that a look which began then found nothing: with every lease long over there is nothing."""
        if self._look_until.get(tenant_id, began) <= began:
            self._look_until.pop(tenant_id, None)

    def now(self) -> int:
        """Nanoseconds since the epoch."""
        return self._clock()

    def new(self, kind: IntentKind, *, sha256: str = "", after: Item | None = None) -> Intent:
        """An intent with a token and a lease of its own."""
        return Intent(
            kind=kind,
            token=secrets.token_hex(16),
            sha256=sha256,
            after=after or {},
            lease_expires=self._lease(),
        )

    def expired(self, intent: Intent) -> bool:
        """Whether the intent is anyone's to finish."""
        return self._clock() >= intent.lease_expires

    def outlasts_content(self, intent: Intent) -> bool:
        """Whether a call to the content that begins now ends within the lease."""
        return self._clock() + int(CONTENT_SECONDS * NANOS) < intent.lease_expires

    async def begin(
        self,
        tenant: TenantContext,
        key: EntityId,
        intent: Intent,
        *,
        before: Item | None,
        condition: Condition,
    ) -> None:
        """Stores an intent in the record.

        Raises:
            ConditionFailed, ItemTooLarge: it was not stored.
        """
        self.look_again(tenant.tenant_id)
        item = pending_item(tenant.partition, key, before, intent)
        put = Put(sort_key=TEMPLATES.sort_key(key), item=item, condition=condition)
        await self._table.write(tenant.partition, put)

    async def finish(self, tenant: TenantContext, key: EntityId, intent: Intent) -> None:
        """Stores the record as the intent has it, or drops it for a deletion.

        Raises:
            LeaseLost: the intent is no longer the caller's; nothing was written.
        """
        await self._end(tenant, key, intent, None if intent.kind == "delete" else intent.after)

    async def roll_back(
        self, tenant: TenantContext, key: EntityId, intent: Intent, before: Item | None
    ) -> None:
        """Stores the record as it was, or drops that of a creation. The content is left as it is.

        Raises:
            LeaseLost: the intent is no longer the caller's; nothing was written.
        """
        await self._end(
            tenant, key, intent, None if before is None else without_intent(before) or None
        )

    async def resolve(self, tenant: TenantContext, key: EntityId, item: Item) -> None:
        """Finishes the expired intent in a record, unless somebody else does.

        A deletion goes forward. A creation or an update goes forward where the content is the
        intent's, and back where it is not.

        Raises:
            SiloError: the table or the content does not answer; the intent stays.
        """
        intent = intent_of(item)
        if intent is None or not self.expired(intent):
            return
        mine = replace(intent, token=secrets.token_hex(16), lease_expires=self._lease())
        held = Condition(exists=True, equals={TOKEN: intent.token})
        before = without_intent(item) or None
        try:
            await self.begin(tenant, key, mine, before=before, condition=held)
            if mine.kind == "delete":
                await self._content.delete(tenant, key)
                await self.finish(tenant, key, mine)
                return
            stat = await self._content.stat(tenant, key)
            if stat is not None and stat.sha256 == mine.sha256:
                await self.finish(tenant, key, mine)
            else:
                await self.roll_back(tenant, key, mine, before)
        except (ConditionFailed, LeaseLost):
            return

    async def _end(
        self, tenant: TenantContext, key: EntityId, intent: Intent, after: Item | None
    ) -> None:
        sort_key = TEMPLATES.sort_key(key)
        held = Condition(exists=True, equals={TOKEN: intent.token})
        write: Write = (
            Delete(sort_key=sort_key, condition=held)
            if after is None
            else Put(sort_key=sort_key, item=after, condition=held)
        )
        try:
            await self._table.write(tenant.partition, write)
        except ConditionFailed as error:
            raise LeaseLost(error.existing) from error

    def _lease(self) -> int:
        return self._clock() + LEASE_SECONDS * NANOS


def pending_item(partition: Partition, key: EntityId, before: Item | None, intent: Intent) -> Item:
    """The record while an intent is under way: what it was, the intent, and a place in the index."""
    return {
        **(before or {}),
        PENDING: {
            "kind": intent.kind,
            "sha256": intent.sha256,
            "after": intent.after,
            "lease_expires": intent.lease_expires,
        },
        TOKEN: intent.token,
        "GSI1PK": pending_key(partition),
        "GSI1SK": TEMPLATES.sort_key(key),
    }


def pending_key(partition: Partition) -> str:
    """The index key under which a tenant's intents are found."""
    return partition.index_key("PENDING")


def intent_of(item: Mapping[str, Any]) -> Intent | None:
    """The intent in a record, or None where no write is under way."""
    pending = item.get(PENDING)
    if pending is None:
        return None
    return Intent(
        kind=pending["kind"],
        token=item[TOKEN],
        sha256=pending["sha256"],
        after=pending["after"],
        lease_expires=pending["lease_expires"],
    )


def without_intent(item: Item) -> Item:
    """The record as it was before the intent; empty for that of a creation."""
    return {name: value for name, value in item.items() if name not in _INTENT_ATTRIBUTES}


def unchanged(before: Item) -> Condition:
    """That the record is still this one, and no write of it is under way."""
    return Condition(exists=True, equals={"etag": before["etag"], TOKEN: None})
