"""Writes of the DynamoDB table: what the engine is asked to do, and how its refusals read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from boundary.scope import Partition
from services.table.dynamodb_attributes import (
    EXPIRES_AT,
    Attributes,
    decode_item,
    encode_item,
    encode_value,
    is_live,
    key_of,
    require_attributes,
)
from services.table.dynamodb_expressions import Expressions, holds
from services.table.ports import (
    ABSENT,
    MAX_ITEM_BYTES,
    MAX_TRANSACTION,
    MAX_TRANSACTION_BYTES,
    Check,
    Delete,
    Item,
    ItemTooLarge,
    Put,
    TransactionTooLarge,
    Update,
    Write,
)
from services.table.sizes import item_size


class Request(NamedTuple):
    """A write as the engine takes it.

    Attributes:
        kind: its name in a transaction: Put, Update, Delete or ConditionCheck.
        parameters: the same for a single write and in a transaction.
    """

    kind: str
    parameters: dict[str, Any]


def request_of(partition: Partition, write: Write, *, now: float) -> Request:
    """The engine's request for a write.

    An update never touches an expired item: it would keep its old attributes. See `renewal`.

    Raises:
        ValueError: an attribute is none.
    """
    expressions = Expressions(now)
    parameters: dict[str, Any] = {
        "TableName": partition.table,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    is_update = isinstance(write, Update)
    condition = expressions.condition(write.condition, live=is_update)
    if isinstance(write, Put):
        parameters["Item"] = key_of(partition, write.sort_key) | _stored(write)
    else:
        parameters["Key"] = key_of(partition, write.sort_key)
    if isinstance(write, Update):
        change = expressions.update(write)
        if change:
            parameters["UpdateExpression"] = change
    elif isinstance(write, Check) and not condition:
        name = expressions.name("PK")  # a check needs a condition, be it one that always holds
        condition = f"attribute_exists({name}) OR attribute_not_exists({name})"
    if condition:
        parameters["ConditionExpression"] = condition
    kind = "ConditionCheck" if isinstance(write, Check) else type(write).__name__
    return Request(kind, parameters | expressions.placeholders())


def _stored(put: Put) -> Attributes:
    attributes = encode_item(put.item)
    if put.expires_at is not None:
        attributes[EXPIRES_AT] = encode_value(put.expires_at)
    return attributes


def renewal(write: Write, stored: Attributes | None, *, now: float) -> Put | None:
    """The put that an update amounts to where what is stored has expired, or None where it has not.

    It holds for as long as nobody else has put another item there.
    """
    if not isinstance(write, Update) or not stored or is_live(stored, now):
        return None
    if not holds(write.condition, None):
        return None
    return Put(
        sort_key=write.sort_key,
        item={**write.set, **write.add},
        condition=ABSENT,
        expires_at=write.expires_at,
    )


def shows(write: Write, existing: Item | None) -> bool:
    """Whether what is stored is just what a write would have made of it.

    Asked where an attempt may have been made and the next one finds its own condition broken by it.
    """
    if isinstance(write, Put):
        return existing == decode_item(encode_item(write.item))
    if isinstance(write, Delete):
        return existing is None
    if isinstance(write, Check) or existing is None or write.add:
        return False
    return all(existing.get(name) == value for name, value in write.set.items()) and not any(
        name in existing for name in write.remove
    )


def is_repeatable(write: Write) -> bool:
    """Whether a write may be made again where it may have been made already: counting twice may not."""
    return not (isinstance(write, Update) and write.add)


def require_size(partition: Partition, write: Write, *, index: int = 0) -> int:
    """The size of what a write is known to store, in bytes.

    Raises:
        ItemTooLarge: it is larger than an item may be.
    """
    if isinstance(write, Put):
        item = write.item
    elif isinstance(write, Update):
        item = dict(write.set)
    else:
        return 0
    require_attributes(item)
    size = item_size(partition.key, write.sort_key, item)
    if size > MAX_ITEM_BYTES:
        raise ItemTooLarge(index)
    return size


def require_transaction(writes: Sequence[tuple[Partition, Write]]) -> None:
    """Returns where the engine takes these writes in one transaction.

    Raises:
        ValueError: there are too many writes, or two of one key.
        ItemTooLarge, TransactionTooLarge: they are too large.
    """
    if len(writes) > MAX_TRANSACTION:
        raise ValueError(f"a transaction takes at most {MAX_TRANSACTION} writes")
    keys = {(partition.table, partition.key, write.sort_key) for partition, write in writes}
    if len(keys) != len(writes):
        raise ValueError("a transaction writes each item once")
    sizes = [require_size(*write, index=index) for index, write in enumerate(writes)]
    if sum(sizes) > MAX_TRANSACTION_BYTES:
        raise TransactionTooLarge
