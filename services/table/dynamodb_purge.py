"""Deleting many items of DynamoDB: batches side by side, fewer of them where the engine holds back.

Source: DynamoDB API reference, BatchWriteItem: up to 25 deletions, which it does not make as a whole; what it left
out for want of capacity stands in the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiodynamo.errors import AIODynamoError

from boundary.scope import Partition
from services.table.dynamodb_attributes import SORT_KEY, key_of
from services.table.dynamodb_calls import MAX_ATTEMPTS, Calls, Writing
from services.table.dynamodb_errors import Failure, body_of, message_of, refusal, told

BATCH = 25
_WIDEST = 8
"""How many batches are under way at once at the most; one partition takes about 1,000 writes a second."""

Count = Callable[[Mapping[str, Any]], None]


class Dropping:
    """Deletes items of one partition. Used once.

    The width, how many batches are under way at once, halves where the engine leaves something out and grows by
    one where it does not (additive increase, multiplicative decrease).
    """

    def __init__(self, calls: Calls, partition: Partition, *, count: Count) -> None:
        """Takes the calls, whose items, and what is told of every answer."""
        self._calls = calls
        self._partition = partition
        self._count = count
        self._width = _WIDEST

    async def drop(self, sort_keys: Sequence[str]) -> None:
        """Deletes the items of these keys.

        Raises:
            ResourceExhausted, Unavailable: the engine cannot; some are deleted.
        """
        left = list(dict.fromkeys(sort_keys))
        fruitless = 0
        while left:
            size = self._width * BATCH
            now, later = left[:size], left[size:]
            batches = [now[start : start + BATCH] for start in range(0, len(now), BATCH)]
            refused = [
                key for keys in await asyncio.gather(*map(self._batch, batches)) for key in keys
            ]
            fruitless = fruitless + 1 if len(refused) == len(now) else 0
            if fruitless >= MAX_ATTEMPTS:
                raise told(Failure.THROTTLED, unknown=False)
            if refused:
                self._width = max(1, self._width // 2)
                await self._calls.pause(fruitless + 1)
            else:
                self._width = min(_WIDEST, self._width + 1)
            left = refused + later

    async def _batch(self, sort_keys: Sequence[str]) -> list[str]:
        """Deletes up to BATCH items; the keys of those that were left out."""
        table = self._partition.table
        deletions = [{"DeleteRequest": {"Key": key_of(self._partition, key)}} for key in sort_keys]
        payload = {"RequestItems": {table: deletions}, "ReturnConsumedCapacity": "TOTAL"}
        try:
            answer = await self._calls.send("BatchWriteItem", payload, Writing())
        except AIODynamoError as error:
            raise refusal(message_of(body_of(error))) from error
        self._count(answer)
        left: Sequence[Any] = answer.get("UnprocessedItems", {}).get(table, ())
        return [each["DeleteRequest"]["Key"][SORT_KEY]["S"] for each in left]
