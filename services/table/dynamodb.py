"""The table on DynamoDB: the engine for more than one machine.

Each tenant's items are a partition of a physical table by its own key; see `dynamodb_tables.py` for how
that table is laid out. The client and its connections are shared by all tenants: whose credentials sign
a call is the credentials object's to know.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aiodynamo.errors import AIODynamoError

from boundary.scope import Partition
from services.table.dynamodb_attributes import SORT_KEY, Attributes, decode_item, key_of, live_item
from services.table.dynamodb_calls import MAX_ATTEMPTS, Calls, Writing
from services.table.dynamodb_errors import (
    CONDITION_FAILED,
    Failure,
    body_of,
    cancellation_reasons,
    code_of,
    is_refusal,
    message_of,
    refusal,
    told,
)
from services.table.dynamodb_expressions import holds
from services.table.dynamodb_purge import Dropping
from services.table.dynamodb_query import Query
from services.table.dynamodb_writes import (
    is_repeatable,
    renewal,
    request_of,
    require_size,
    require_transaction,
    shows,
)
from services.table.ports import (
    MAX_TRANSACTION,
    Check,
    ConditionFailed,
    Item,
    KeyPage,
    Page,
    Put,
    Range,
    Write,
)

OnCapacity = Callable[[Partition, str, float], None]
"""Told of each call: whose it was, the engine's name of the action, the capacity units it consumed."""

_ROUNDS = 4
"""How often a write is made anew while others renew the expired item that it meets."""


def _ignore(_partition: Partition, _action: str, _units: float) -> None:
    return


class _NotHeld(Exception):
    """A write's condition did not hold of what is stored, which may have expired."""

    def __init__(self, stored: Attributes | None) -> None:
        super().__init__(CONDITION_FAILED)
        self.stored = stored


class DynamoTable:
    """The table port on the DynamoDB of one region."""

    def __init__(
        self,
        calls: Calls,
        *,
        on_capacity: OnCapacity = _ignore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the parts.

        Args:
            calls: makes the calls; see `dynamodb_calls.connect`.
            on_capacity: told of the capacity that each call consumed.
            clock: what expiry goes by, in seconds since the epoch.
        """
        self._calls = calls
        self._on_capacity = on_capacity
        self._clock = clock

    async def get(self, partition: Partition, sort_key: str) -> Item | None:
        """As the port says."""
        payload = {
            "TableName": partition.table,
            "Key": key_of(partition, sort_key),
            "ConsistentRead": True,
            "ReturnConsumedCapacity": "TOTAL",
        }
        answer = await self._read(partition, "GetItem", payload)
        return live_item(answer.get("Item"), self._clock())

    async def batch_get(self, partition: Partition, sort_keys: Sequence[str]) -> Mapping[str, Item]:
        """As the port says. What the engine leaves out for want of capacity is asked for again."""
        if len(sort_keys) > MAX_TRANSACTION:
            raise ValueError(f"a batch read takes at most {MAX_TRANSACTION} keys")
        keys = [key_of(partition, sort_key) for sort_key in dict.fromkeys(sort_keys)]
        found: dict[str, Item] = {}
        fruitless = 0
        while keys:
            asked = {partition.table: {"Keys": keys, "ConsistentRead": True}}
            payload = {"RequestItems": asked, "ReturnConsumedCapacity": "TOTAL"}
            answer = await self._read(partition, "BatchGetItem", payload)
            stored = answer.get("Responses", {}).get(partition.table, [])
            found |= self._live(stored)
            keys = answer.get("UnprocessedKeys", {}).get(partition.table, {}).get("Keys", [])
            fruitless = 0 if stored else fruitless + 1
            if fruitless >= MAX_ATTEMPTS:
                raise told(Failure.THROTTLED, unknown=False)
            if keys:
                await self._calls.pause(fruitless + 1)
        return {sort_key: found[sort_key] for sort_key in sort_keys if sort_key in found}

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
        """As the port says."""
        if limit < 1:
            raise ValueError("a page holds at least one item")
        query = Query(
            partition=partition, keys=keys, index=index, index_key=index_key, descending=descending
        )
        now = self._clock()
        payload = query.payload(limit=limit, position=position, now=now)
        if payload is None:
            return Page(items=[], position=None)
        answer = await self._read(partition, "Query", payload)
        return query.page(answer, limit=limit, now=now)

    async def write(self, partition: Partition, write: Write) -> Item | None:
        """As the port says. A write that adds is made again only where it cannot have been made."""
        if isinstance(write, Check):
            return await self._check(partition, write)
        require_size(partition, write)
        for _ in range(_ROUNDS):
            now = self._clock()
            writing = Writing(repeatable=is_repeatable(write))
            try:
                return await self._make(partition, write, writing, now)
            except _NotHeld as refused:
                existing = live_item(refused.stored, now)
                if writing.unknown and shows(write, existing):
                    return existing
                put = renewal(write, refused.stored, now=now)
                if put is None:
                    raise ConditionFailed(0, existing) from refused
            with contextlib.suppress(_NotHeld):  # then somebody else has put an item there
                return await self._make(partition, put, Writing(repeatable=False), now)
        raise told(Failure.CONFLICT, unknown=False)

    async def transact(self, writes: Sequence[tuple[Partition, Write]]) -> None:
        """As the port says. A token makes attempts safe to repeat (the engine keeps it 10 minutes)."""
        asked = list(writes)
        require_transaction(asked)
        if not asked:
            return
        renewed: dict[int, Put] = {}
        for _ in range(_ROUNDS):
            now = self._clock()
            current = [(p, renewed.get(index, write)) for index, (p, write) in enumerate(asked)]
            requests = [request_of(*each, now=now) for each in current]
            payload = {
                "TransactItems": [{each.kind: each.parameters} for each in requests],
                "ClientRequestToken": secrets.token_hex(16),
                "ReturnConsumedCapacity": "TOTAL",
            }
            try:
                answer = await self._calls.send("TransactWriteItems", payload, Writing())
            except AIODynamoError as error:
                renewed = _renewed(asked, renewed, error, now=now)
            else:
                self._count([p for p, _ in asked], "TransactWriteItems", answer)
                return
        raise told(Failure.CONFLICT, unknown=False)

    async def keys(
        self, partition: Partition, *, limit: int, position: bytes | None = None
    ) -> KeyPage:
        """As the port says."""
        query = Query(partition=partition, keys=Range(), index=None, index_key="", descending=False)
        payload = query.payload(limit=limit, position=position, now=self._clock())
        assert payload is not None  # noqa: S101 - every key is in the range
        answer = await self._read(partition, "Query", payload | {"ProjectionExpression": SORT_KEY})
        return query.key_page(answer, limit=limit)

    async def drop(self, partition: Partition, sort_keys: Sequence[str]) -> None:
        """As the port says."""

        def count(answer: Mapping[str, Any]) -> None:
            self._count((partition,), "BatchWriteItem", answer)

        await Dropping(self._calls, partition, count=count).drop(sort_keys)

    async def scrub(self, partition: Partition) -> None:
        """As the port says. The engine keeps no file of ours; its backups have a time of their own."""

    async def close(self) -> None:
        """Closes the connections."""
        await self._calls.close()

    async def _read(
        self, partition: Partition, action: str, payload: Mapping[str, Any]
    ) -> dict[str, Any]:
        try:
            answer = await self._calls.send(action, payload)
        except AIODynamoError as error:
            raise refusal(message_of(body_of(error))) from error
        self._count((partition,), action, answer)
        return answer

    async def _make(
        self, partition: Partition, write: Write, writing: Writing, now: float
    ) -> Item | None:
        """Makes a single write; the item as it is afterwards."""
        kind, parameters = request_of(partition, write, now=now)
        parameters["ReturnConsumedCapacity"] = "TOTAL"
        if kind == "Update":
            parameters["ReturnValues"] = "ALL_NEW"
        action = f"{kind}Item"
        try:
            answer = await self._calls.send(action, parameters, writing)
        except AIODynamoError as error:
            if code_of(error) == CONDITION_FAILED:
                raise _NotHeld(body_of(error).get("Item")) from error
            raise refusal(message_of(body_of(error))) from error
        self._count((partition,), action, answer)
        if isinstance(write, Put):
            return dict(write.item)
        return decode_item(answer["Attributes"]) if kind == "Update" else None

    async def _check(self, partition: Partition, check: Check) -> Item | None:
        item = await self.get(partition, check.sort_key)
        if not holds(check.condition, item):
            raise ConditionFailed(0, item)
        return item

    def _live(self, stored: Iterable[Attributes]) -> dict[str, Item]:
        now = self._clock()
        return {
            each[SORT_KEY]["S"]: item
            for each in stored
            if (item := live_item(each, now)) is not None
        }

    def _count(
        self, partitions: Sequence[Partition], action: str, answer: Mapping[str, Any]
    ) -> None:
        """Tells what a call consumed; of one for several partitions, each write its equal part."""
        consumed = answer.get("ConsumedCapacity")
        if not consumed:
            return
        tables = consumed if isinstance(consumed, list) else [consumed]
        units = sum(each.get("CapacityUnits", 0.0) for each in tables)
        if len(partitions) == 1:
            self._on_capacity(partitions[0], action, units)
            return
        shares: dict[str, tuple[Partition, int]] = {}
        for each in partitions:
            shares[each.key] = (each, shares.get(each.key, (each, 0))[1] + 1)
        for each, writes in shares.values():
            self._on_capacity(each, action, units * writes / len(partitions))


def _renewed(
    asked: Sequence[tuple[Partition, Write]],
    renewed: Mapping[int, Put],
    error: AIODynamoError,
    *,
    now: float,
) -> dict[int, Put]:
    """The updates of a refused transaction that are to be puts, as they met expired items.

    Raises:
        ConditionFailed, ItemTooLarge, TransactionTooLarge, TypeError, ValueError: it stays refused.
    """
    reasons = cancellation_reasons(error)
    if not reasons:
        raise refusal(message_of(body_of(error))) from error
    puts = dict(renewed)
    for index, reason in enumerate(reasons):
        code, stored = reason.get("Code", "None"), reason.get("Item")
        if code == CONDITION_FAILED:
            if puts.pop(index, None) is not None:
                continue  # somebody has put an item there, which the update itself is for
            put = renewal(asked[index][1], stored, now=now)
            if put is None:
                raise ConditionFailed(index, live_item(stored, now)) from error
            puts[index] = put
        elif is_refusal(code):
            raise refusal(message_of(reason), index=index) from error
    return puts
