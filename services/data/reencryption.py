"""Brings the sensitive fields of a tenant to the newest data key while the tenant works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from boundary.context import TenantContext
from boundary.errors import FailedPrecondition, InvalidArgument
from services.data.data_keys import FIELDS
from services.data.operations import ATTEMPTS, contended
from services.data.sealed_fields import version_of
from services.data.sealed_table import RULES, Rule, SealedTable
from services.keys.ring import KeyRing
from services.table.ports import (
    Condition,
    ConditionFailed,
    Item,
    Page,
    Put,
    Range,
    Stored,
    Table,
    Update,
    Write,
)

_PAGE = 100
_SEPARATOR = b":"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a run is: how many were looked at and encrypted anew by it, and where another one goes on."""

    seen: int
    rewritten: int
    position: bytes


class Reencryption:
    """Encrypts anew what is in the clear or under an older data key."""

    def __init__(self, *, engine: Table, sealed: SealedTable, ring: KeyRing) -> None:
        """Takes the guarded table, the layer over it that encrypts, and the data keys."""
        self._engine = engine
        self._sealed = sealed
        self._ring = ring

    async def run(self, tenant: TenantContext, position: bytes = b"") -> AsyncIterator[Progress]:
        """Goes through every item with sensitive fields from a position on, and says how far it is.

        Each item is written on condition that nobody has changed it since it was read; who did has encrypted it.

        Raises:
            FailedPrecondition: the tenant has no encryption, or its key does not serve.
            DataLoss: an item is damaged.
        """
        if not tenant.key_version:
            raise FailedPrecondition("ENCRYPTION_OFF", "the tenant has no encryption")
        self._ring.require(tenant)
        entities = sorted(RULES)
        at, _, within = position.partition(_SEPARATOR)
        begin = int(at) if at else 0
        seen = rewritten = 0
        for number, entity in enumerate(entities[begin:], begin):
            following: bytes | None = (within or None) if number == begin else None
            while True:
                page = await self._page(tenant, entity, following)
                for stored in page.items:
                    seen += 1
                    rewritten += await self._rewrite(tenant, RULES[entity], stored)
                following = page.position
                go_on = number if following is not None else number + 1
                place = b"%d" % go_on + _SEPARATOR + (following or b"")
                yield Progress(seen=seen, rewritten=rewritten, position=place)
                if following is None:
                    break

    async def drop(self, tenant: TenantContext, *, before: int) -> int:
        """Removes the data keys of versions below before; says how many there were.

        Raises:
            InvalidArgument: something is still written under one of them.
        """
        if not 1 <= before <= tenant.key_version:
            raise InvalidArgument("before_version", "must be 1 to the newest version")
        return await self._ring.drop(tenant, purpose=FIELDS, before=before)

    async def _page(self, tenant: TenantContext, entity: str, position: bytes | None) -> Page:
        if RULES[entity].within:  # the one item of its kind
            item = await self._engine.get(tenant.partition, entity)
            items = [] if item is None else [Stored(sort_key=entity, item=item)]
            return Page(items=items, position=None)
        return await self._engine.query(
            tenant.partition, keys=Range(prefix=f"{entity}#"), limit=_PAGE, position=position
        )

    async def _rewrite(self, tenant: TenantContext, rule: Rule, stored: Stored) -> bool:
        """Whether the item had to be encrypted anew, and was."""
        item: Item | None = stored.item
        for _ in range(ATTEMPTS):
            if item is None or not _outdated(tenant, rule, stored.sort_key, item):
                return False
            opened = await self._sealed.opened(stored.sort_key, item)
            try:
                await self._sealed.write(
                    tenant.partition, _as_before(rule, stored.sort_key, item, opened)
                )
            except ConditionFailed:
                item = await self._engine.get(tenant.partition, stored.sort_key)
                continue
            return True
        raise contended(stored.sort_key)


def _outdated(tenant: TenantContext, rule: Rule, sort_key: str, item: Item) -> bool:
    holder = item.get(rule.within) if rule.within else item
    if not isinstance(holder, dict):
        return False
    version = version_of(holder, place=sort_key)
    in_the_clear = not rule.names.isdisjoint(holder)
    return in_the_clear or 0 < version != tenant.key_version


def _as_before(rule: Rule, sort_key: str, item: Item, opened: Item) -> Write:
    """Writes an item with its content as it is, where that has not changed."""
    if rule.within:
        unchanged = {"settings_etag": item.get("settings_etag")}
        return Update(
            sort_key=sort_key,
            set={rule.within: opened[rule.within]},
            condition=Condition(exists=True, equals=unchanged),
        )
    unchanged = {"etag": item.get("etag")}
    return Put(sort_key=sort_key, item=opened, condition=Condition(exists=True, equals=unchanged))
