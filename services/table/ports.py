"""The table port, shaped by what DynamoDB does at scale.

No scans, pages with positions, conditions instead of locks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from boundary.scope import Partition

Value = str | int | bool | None | list["Value"] | dict[str, "Value"]
"""What an attribute holds. Integers are exact up to 38 digits, as in DynamoDB; no floats."""

Item = dict[str, Value]
"""Attributes by name. `PK` and `SK` are the port's own and never among them; `GSI1PK`, `GSI1SK` and
so on place the item in the indexes and must be the partition's own."""

MAX_ITEM_BYTES = 400 * 1024
"""The largest item (DynamoDB developer guide, quotas: 400 KB with attribute names)."""

MAX_TRANSACTION = 100
"""The most writes in a transaction, and the most keys in a batch read."""

MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
"""The most that the items of a transaction hold together (DynamoDB developer guide, quotas)."""

MAX_PAGE_BYTES = 1024 * 1024
"""About where a page ends, however many items were asked for (DynamoDB developer guide, Query)."""

INDEXES = {
    "GSI1": ("GSI1PK", "GSI1SK"),
    "GSI2": ("GSI2PK", "GSI2SK"),
    "GSI3": ("GSI3PK", "GSI3SK"),
}
"""The secondary indexes and their key attributes. They project every attribute and are sparse: an
item without both key attributes is not in the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What must hold of the stored item for a write to happen; all set parts together.

    Attributes:
        exists: True where there must be an item, False where there must be none, None for either.
        equals: attributes that must have these values; a missing attribute equals None.
    """

    exists: bool | None = None
    equals: Mapping[str, Value] = field(default_factory=dict)


ANY = Condition()
ABSENT = Condition(exists=False)
PRESENT = Condition(exists=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Writes a whole item."""

    sort_key: str
    item: Item
    condition: Condition = ANY
    expires_at: int | None = None
    """Seconds since the epoch from which on the item is no longer read and may be dropped, or None
    for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Changes attributes of an item, and creates it where the condition allows that.

    Attributes:
        set: attributes to replace.
        remove: attributes to drop.
        add: integers to add to attributes; a missing attribute counts as 0.
        expires_at: as for Put; None leaves the item's expiry as it is.
    """

    sort_key: str
    set: Mapping[str, Value] = field(default_factory=dict)
    remove: Sequence[str] = ()
    add: Mapping[str, int] = field(default_factory=dict)
    condition: Condition = ANY
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Drops an item. One that is not there is no failure, but where the condition says so."""

    sort_key: str
    condition: Condition = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Writes nothing and fails the transaction where the condition does not hold."""

    sort_key: str
    condition: Condition


Write = Put | Update | Delete | Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Which sort keys a query reads, as UTF-8 bytes: a prefix, or from low to high, both included.

    With an index, the keys are the index's own.
    """

    prefix: str = ""
    low: str | None = None
    high: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An item with its sort key, and when it expires, in seconds since the epoch, or None for never."""

    sort_key: str
    item: Item
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a query. `position` asks for the next page; None on the last.

    A page may be shorter than asked for, and even empty, and still not be the last.
    """

    items: Sequence[Stored]
    position: bytes | None


class ConditionFailed(Exception):
    """A write's condition did not hold; nothing was written.

    Attributes:
        index: the write's place in its transaction; 0 for a single write.
        existing: the stored item, or None where there is none.
    """

    def __init__(self, index: int, existing: Item | None) -> None:
        super().__init__(f"the condition of write {index} does not hold")
        self.index = index
        self.existing = existing


class ItemTooLarge(Exception):
    """An item is larger than MAX_ITEM_BYTES; nothing was written.

    Attributes:
        index: the write's place in its transaction; 0 for a single write.
    """

    def __init__(self, index: int = 0) -> None:
        super().__init__("the item is larger than 400 KB")
        self.index = index


class TransactionTooLarge(Exception):
    """The items of a transaction are larger than MAX_TRANSACTION_BYTES; nothing was written."""

    def __init__(self) -> None:
        super().__init__("the items of the transaction are larger than 4 MB")


class Table(Protocol):
    """The table.

    Every call is bounded by the asyncio deadline of the caller and may raise
    boundary.errors.Unavailable or ResourceExhausted where the engine cannot serve it. An expired
    item counts as absent everywhere, in conditions too.
    """

    async def get(self, partition: Partition, sort_key: str) -> Item | None:
        """The item as last written (a consistent read), or None."""

    async def batch_get(self, partition: Partition, sort_keys: Sequence[str]) -> Mapping[str, Item]:
        """The items that are there, of at most MAX_TRANSACTION distinct keys, by sort key.

        Raises:
            ValueError: too many keys.
        """

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
        """A page of at most limit items in the order of their sort key, or of the index's sort key.

        Args:
            partition: whose items.
            keys: which sort keys.
            limit: the most items, at least 1.
            index: a name in INDEXES, or None for the table itself. An index may lag behind.
            index_key: the index's partition key, which must be the partition's own.
            position: the position of the page before, of the same query.
            descending: whether to read from the last key to the first.

        Raises:
            ValueError: the limit, the index or the position is none.
        """

    async def write(self, partition: Partition, write: Write) -> Item | None:
        """Makes one write; the item as it is afterwards, or None where there is none.

        Raises:
            ConditionFailed, ItemTooLarge: nothing was written.
        """

    async def transact(self, writes: Sequence[tuple[Partition, Write]]) -> None:
        """Makes at most MAX_TRANSACTION writes of distinct keys, all or none.

        Raises:
            ConditionFailed, ItemTooLarge, TransactionTooLarge: nothing was written.
            ValueError: there are too many writes, or two of one key.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """A page of sort keys, in order. `position` asks for the next page; None on the last."""

    sort_keys: Sequence[str]
    position: bytes | None


class PurgeableTable(Table, Protocol):
    """A table from which a partition can be taken away, with what its reads no longer show."""

    async def keys(
        self, partition: Partition, *, limit: int, position: bytes | None = None
    ) -> KeyPage:
        """A page of at most limit sort keys that are stored, those of expired items too (a consistent read)."""

    async def drop(self, partition: Partition, sort_keys: Sequence[str]) -> None:
        """Deletes the items of these keys with their index entries, whatever they hold; of any number of keys.

        Repeatable; a key that has no item is no failure. Some may be deleted where it fails.
        """

    async def scrub(self, partition: Partition) -> None:
        """Returns when nothing that was deleted from the partition stands in a file of an engine of our own.

        An engine that is a service keeps what it keeps, for as long as its contract says.
        """
