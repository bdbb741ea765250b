"""The layer over the table port that encrypts: below it, no sensitive field is in the clear.

Which fields are sensitive is written in the protos. A tenant's context says under which version of its data
keys is written; none, and items go through as they are. What an item says decides how it is read, so that items
from before the tenant had encryption stay readable, and those of older versions too. Ids, times and statuses
stay in the clear: keys and indexes are made of them. An index by a sensitive field holds a keyed hash of it.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from boundary.context import TenantContext
from boundary.guard import require_context
from boundary.scope import Partition
from services.data.changes import CREATION
from services.data.codec import Codec
from services.data.data_keys import FIELDS, INDEX, INDEX_VERSION, OWN
from services.data.resources import KINDS, Kind
from services.data.sealed_fields import SEALED, FieldCipher, keyed_hash, version_of
from services.keys.ring import KeyRing
from services.table.ports import (
    INDEXES,
    ConditionFailed,
    Delete,
    Item,
    Page,
    Put,
    Range,
    Stored,
    Table,
    Update,
    Write,
)
from silo.data.v1.tenant_config_pb2 import TenantConfig

_CONFIG = "CONFIG"
_SETTINGS = "settings"
_HASHED, _PLAIN = b"h", b"p"
_INDEX_PARTITION_KEYS = tuple(partition_key for partition_key, _ in INDEXES.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is encrypted in the items of one kind.

    Attributes:
        names: the attributes.
        kind: the kind, where an index holds one of them.
        within: the attribute whose own entries they are; the item's where empty.
    """

    names: frozenset[str]
    kind: Kind[Any] | None = None
    within: str = ""


@dataclass(frozen=True, slots=True)
class _Query:
    """What a query asks for, but for its place."""

    partition: Partition
    keys: Range
    index: str | None
    descending: bool


def _rules() -> dict[str, Rule]:
    """The rules by the first part of the sort key, from the protos."""
    rules = {
        kind.entity: Rule(
            # The mark of a creation has a digest of all of it.
            names=kind.codec.sensitive | {CREATION},
            kind=kind if kind.filter and kind.filter.attribute in kind.codec.sensitive else None,
        )
        for kind in KINDS
        if kind.codec.sensitive
    }
    rules[_CONFIG] = Rule(names=Codec(TenantConfig).sensitive, within=_SETTINGS)
    return rules


RULES: Mapping[str, Rule] = _rules()


_PREFIXES = tuple(RULES)


def _rule_of(sort_key: str) -> Rule | None:
    return RULES.get(sort_key.partition("#")[0])


class SealedTable:
    """A table whose sensitive fields are encrypted for tenants that have encryption (services.table.ports.Table).

    Besides what the port names, every method raises FailedPrecondition where the tenant's key does not serve
    (`KEY_DESTROYED`), and DataLoss where what is stored is not what was.
    """

    def __init__(self, inner: Table, ring: KeyRing) -> None:
        """Takes the guarded table below, and the data keys."""
        self._inner = inner
        self._ring = ring

    def get(self, partition: Partition, sort_key: str) -> Coroutine[Any, Any, Item | None]:
        """See Table.get. Where nothing of the kind is encrypted, the call is the inner table's own."""
        if not sort_key.startswith(_PREFIXES):
            return self._inner.get(partition, sort_key)
        return self._get(partition, sort_key)

    async def batch_get(self, partition: Partition, sort_keys: Sequence[str]) -> Mapping[str, Item]:
        """See Table.batch_get."""
        found = await self._inner.batch_get(partition, sort_keys)
        return {key: await self.opened(key, item) for key, item in found.items()}

    async def query(
        self,
        partition: Partition,
        *,
        keys: Range,
        limit: int,
        position: bytes | None = None,
        index: str | None = None,
        index_key: str = "",
        descending: bool = False,
    ) -> Page:
        """See Table.query.

        By a sensitive field, what is encrypted is found first and what is in the clear after it, each in the
        order of the index.
        """
        asked = _Query(partition, keys, index, descending)
        hashed = await self._hashed(partition, index_key) if index is not None else None
        if hashed is None:
            page = await self._page(asked, limit, position, index_key)
        elif position is not None and position[:1] == _PLAIN:
            page = await self._page(asked, limit, position[1:] or None, index_key)
            page = replace(page, position=_behind(_PLAIN, page.position))
        else:
            page = await self._page(asked, limit, position and position[1:], hashed)
            page = await self._with_plain(asked, limit, page, index_key)
        return replace(
            page,
            items=[
                Stored(sort_key=each.sort_key, item=await self.opened(each.sort_key, each.item))
                for each in page.items
                if not each.sort_key.startswith(OWN)
            ],
        )

    async def write(self, partition: Partition, write: Write) -> Item | None:
        """See Table.write."""
        rule = _rule_of(write.sort_key)
        if rule is None:
            _refuse_own(write)
            return await self._inner.write(partition, write)
        try:
            written = await self._inner.write(partition, await self._sealed(rule, write))
        except ConditionFailed as error:
            raise await self._opened_failure(error, write) from error
        if isinstance(write, Put):
            return write.item
        return None if written is None else await self.opened(write.sort_key, written)

    async def transact(self, writes: Sequence[tuple[Partition, Write]]) -> None:
        """See Table.transact."""
        for _, write in writes:
            _refuse_own(write)
        sealed = [
            (partition, write if rule is None else await self._sealed(rule, write))
            for partition, write in writes
            for rule in (_rule_of(write.sort_key),)
        ]
        try:
            await self._inner.transact(sealed)
        except ConditionFailed as error:
            raise await self._opened_failure(error, writes[error.index][1]) from error

    async def opened(self, sort_key: str, item: Item) -> Item:
        """An item of the current tenant as it is above this layer."""
        rule = _rule_of(sort_key)
        if rule is None:
            return item
        if not rule.within:
            return await self._open(rule, sort_key, item) if SEALED in item else item
        inside = item.get(rule.within)
        if not isinstance(inside, dict) or SEALED not in inside:
            return item
        return {**item, rule.within: await self._open(rule, sort_key, inside)}

    async def _get(self, partition: Partition, sort_key: str) -> Item | None:
        item = await self._inner.get(partition, sort_key)
        return None if item is None else await self.opened(sort_key, item)

    async def _open(self, rule: Rule, sort_key: str, item: Item) -> Item:
        tenant, version = require_context(), version_of(item, place=sort_key)
        data_key = await self._ring.read(tenant, purpose=FIELDS, version=version)
        opened = _cipher(tenant, data_key, sort_key, version).open(item)
        names = _indexed(rule.kind, tenant.partition, opened)
        if rule.kind is None or not names:
            return opened
        return opened | dict.fromkeys(names, _plain_key(rule.kind, tenant.partition, opened))

    async def _sealed(self, rule: Rule, write: Write) -> Write:
        """The write as the table below gets it."""
        tenant = require_context()
        if not tenant.key_version:
            return write
        if isinstance(write, Put) and not rule.within:
            item = await self._seal(tenant, rule, write.sort_key, write.item)
            return replace(write, item=await self._reindexed(tenant, rule.kind, write.item, item))
        if isinstance(write, Update) and rule.within in write.set:
            inside = write.set[rule.within]
            if isinstance(inside, dict):
                sealed = await self._seal(tenant, rule, write.sort_key, inside)
                return replace(write, set={**write.set, rule.within: sealed})
        if isinstance(write, Update) and not rule.names.isdisjoint({*write.set, *write.remove}):
            raise ValueError("an item with encrypted fields is written as a whole")
        return write

    async def _seal(self, tenant: TenantContext, rule: Rule, sort_key: str, item: Item) -> Item:
        version = tenant.key_version
        data_key = await self._ring.write(tenant, purpose=FIELDS, version=version)
        return _cipher(tenant, data_key, sort_key, version).seal(item, rule.names)

    async def _reindexed(
        self, tenant: TenantContext, kind: Kind[Any] | None, item: Item, sealed: Item
    ) -> Item:
        """The encrypted item with hashes in the indexes by the sensitive field."""
        names = _indexed(kind, tenant.partition, item)
        if kind is None or not names:
            return sealed
        hashed = await self._hash(tenant, kind, _plain_key(kind, tenant.partition, item))
        return sealed | dict.fromkeys(names, hashed)

    async def _hashed(self, partition: Partition, index_key: str) -> str | None:
        """What stands in the index for a value of a sensitive field; None where the index is by none."""
        tenant = require_context()
        if not tenant.key_version:
            return None
        for rule in RULES.values():
            kind = rule.kind
            if kind is not None and index_key.startswith(kind.filter_prefix(partition)):
                return await self._hash(tenant, kind, index_key)
        return None

    async def _hash(self, tenant: TenantContext, kind: Kind[Any], index_key: str) -> str:
        key = await self._ring.write(tenant, purpose=INDEX, version=INDEX_VERSION)
        own = kind.filter_prefix(tenant.partition)
        return own + keyed_hash(key, kind.entity, index_key.removeprefix(own))

    async def _page(
        self, asked: _Query, limit: int, position: bytes | None, index_key: str
    ) -> Page:
        return await self._inner.query(
            asked.partition,
            keys=asked.keys,
            limit=limit,
            position=position or None,
            index=asked.index,
            index_key=index_key,
            descending=asked.descending,
        )

    async def _with_plain(self, asked: _Query, limit: int, page: Page, index_key: str) -> Page:
        """A page of what is encrypted, filled up with what is in the clear where it is the last."""
        if page.position is not None:
            return replace(page, position=_HASHED + page.position)
        left = limit - len(page.items)
        if not left:
            return replace(page, position=_PLAIN)
        plain = await self._page(asked, left, None, index_key)
        return Page(items=[*page.items, *plain.items], position=_behind(_PLAIN, plain.position))

    async def _opened_failure(self, error: ConditionFailed, write: Write) -> ConditionFailed:
        """The failure with the item as it is above this layer; a deletion needs nothing of it opened."""
        if error.existing is None or isinstance(write, Delete):
            return error
        return ConditionFailed(error.index, await self.opened(write.sort_key, error.existing))


def _plain_key(kind: Kind[Any], partition: Partition, item: Item) -> str:
    """The index key of an item by the kind's filter, of the value itself."""
    if kind.filter is None:
        raise ValueError(f"{kind.collection} are not listed by a field")
    return kind.filter_key(partition, str(item[kind.filter.attribute]))


def _indexed(kind: Kind[Any] | None, partition: Partition, item: Item) -> list[str]:
    """The attributes that place an item in an index by the kind's filter, of which it has a value."""
    if kind is None or kind.filter is None or kind.filter.attribute not in item:
        return []
    own = kind.filter_prefix(partition)
    return [name for name in _INDEX_PARTITION_KEYS if str(item.get(name, "")).startswith(own)]


def _refuse_own(write: Write) -> None:
    if write.sort_key.startswith(OWN):
        raise ValueError("data keys are not written from above the layer that encrypts")


def _behind(mark: bytes, position: bytes | None) -> bytes | None:
    return None if position is None else mark + position


def _cipher(tenant: TenantContext, data_key: bytes, sort_key: str, version: int) -> FieldCipher:
    return FieldCipher(data_key, tenant_id=tenant.tenant_id, sort_key=sort_key, version=version)
