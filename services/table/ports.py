"""The table port, shaped by what DynamoDB does at scale: no scans, pages with positions, conditions, no locks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from boundary.scope import Partition

Value = str | int | bool | None | list["Value"] | dict[str, "Value"]
"""What an attribute holds. Integers are exact up to 38 digits, as in DynamoDB; there are no floats."""

Item = dict[str, Value]
"""Attributes by name. `PK` and `SK` are the port's own and never among them; `GSI1PK`, `GSI1SK`, `GSI2PK` and
`GSI2SK` place the item in the indexes and must be the partition's own."""

MAX_ITEM_BYTES = 400 * 1024
"""The largest item (DynamoDB developer guide, quotas: 400 KB with attribute names)."""

MAX_TRANSACTION = 100
"""The most writes in a transaction, and the most keys in a batch read."""

INDEXES = {"GSI1": ("GSI1PK", "GSI1SK"), "GSI2": ("GSI2PK", "GSI2SK")}
"""The secondary indexes and their key attributes. They project every attribute."""


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
    """Seconds since the epoch after which the item may be dropped and is no longer read, or None for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """Changes attributes of an item, which is created where there is none and the condition allows it.

    Attributes:
        set: attributes to replace.
        remove: attributes to drop.
        add: integers to add to attributes; a missing attribute counts as 0.
    """

    sort_key: str
    set: Mapping[str, Value] = field(default_factory=dict)
    remove: Sequence[str] = ()
    add: Mapping[str, int] = field(default_factory=dict)
    condition: Condition = ANY
    expires_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Drops an item; dropping one that is not there succeeds unless the condition says otherwise."""

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
    """Which sort keys a query reads, as UTF-8 bytes: a prefix, or from low to high, both included."""

    prefix: str = ""
    low: str | None = None
    high: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An item with its sort key."""

    sort_key: str
    item: Item


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page of a query. `position` asks for the next page; None on the last."""

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


class Table(Protocol):
    """The table. Every call is bounded by the asyncio deadline of the caller and may raise
    boundary.errors.Unavailable or ResourceExhausted where the engine cannot serve it."""

    async def get(self, partition: Partition, sort_key: str) -> Item | None:
        """The item as last written (a consistent read), or None."""

    async def batch_get(
        self, partition: Partition, sort_keys: Sequence[str]
    ) -> Mapping[str, Item]:
        """The items that are there, of at most MAX_TRANSACTION distinct keys, by sort key."""

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
            index: `GSI1` or `GSI2`, or None for the table itself.
            index_key: the index's partition key, which must be the partition's own.
            position: the position of the page before, of the same query.
        """

    async def write(self, partition: Partition, write: Write) -> Item | None:
        """Makes one write; the item as it is afterwards, or None where there is none.

        Raises:
            ConditionFailed, ItemTooLarge: nothing was written.
        """

    async def transact(self, writes: Sequence[tuple[Partition, Write]]) -> None:
        """Makes at most MAX_TRANSACTION writes of distinct keys, all or none.

        Raises:
            ConditionFailed, ItemTooLarge: nothing was written.
        """
