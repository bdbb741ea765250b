"""How the table is laid out on DynamoDB: creating it, and finding what differs from it.

Source: DynamoDB API reference, CreateTable, UpdateTimeToLive and UpdateContinuousBackups.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from aiodynamo.errors import AIODynamoError

from boundary.errors import Unavailable
from services.table.dynamodb_attributes import EXPIRES_AT, PARTITION_KEY, SORT_KEY
from services.table.dynamodb_calls import Calls
from services.table.dynamodb_errors import code_of
from services.table.ports import INDEXES

_ACTIVE_SECONDS = 60.0
_POLL_SECONDS = 0.25
_NO_SUCH_FEATURE = "UnknownOperation"
"""What an engine answers that has no such thing."""


def layout(table: str) -> dict[str, Any]:
    """The parameters of CreateTable: keys, indexes, payment by request."""
    names = [PARTITION_KEY, SORT_KEY, *(name for names in INDEXES.values() for name in names)]
    return {
        "TableName": table,
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in names],
        "KeySchema": _key_schema(PARTITION_KEY, SORT_KEY),
        "GlobalSecondaryIndexes": [
            {
                "IndexName": index,
                "KeySchema": _key_schema(*names),
                "Projection": {"ProjectionType": "ALL"},
            }
            for index, names in INDEXES.items()
        ],
        "BillingMode": "PAY_PER_REQUEST",
    }


def _key_schema(partition_key: str, sort_key: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition_key, "KeyType": "HASH"},
        {"AttributeName": sort_key, "KeyType": "RANGE"},
    ]


async def create_table(calls: Calls, table: str, *, time_to_live: bool = True) -> bool:
    """Creates the table where there is none and waits until it serves; whether it was created.

    Time to live and point-in-time recovery are switched on where they are not, whether it was or not.
    Nothing else of a table that is there is changed: see `drift`.

    Raises:
        Unavailable: the engine cannot be reached, or the table is not active within a minute.
    """
    created = True
    try:
        await calls.send("CreateTable", layout(table))
    except AIODynamoError as error:
        if code_of(error) not in {"ResourceInUse", "TableAlreadyExists"}:
            raise
        created = False
    await _await_active(calls, table)
    if time_to_live and not await _expires(calls, table):
        await calls.send(
            "UpdateTimeToLive",
            {
                "TableName": table,
                "TimeToLiveSpecification": {"AttributeName": EXPIRES_AT, "Enabled": True},
            },
        )
    if await _recoverable(calls, table) is False:
        await _make_recoverable(calls, table)
    return created


async def _make_recoverable(calls: Calls, table: str) -> None:
    """Switches point-in-time recovery on, which a table that is new takes a while to be ready for."""
    wanted = {
        "TableName": table,
        "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
    }
    async with _within(_ACTIVE_SECONDS):
        while True:
            try:
                await calls.send("UpdateContinuousBackups", wanted)
            except AIODynamoError as error:
                if code_of(error) != "ContinuousBackupsUnavailable":
                    raise
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return


async def drift(calls: Calls, table: str) -> Sequence[str]:
    """How the table differs from what it should be, in words; nothing where it does not.

    Raises:
        Unavailable: the engine cannot be reached.
    """
    description = await _description(calls, table)
    if description is None:
        return [f"there is no table {table}"]
    found = list(_differences(description))
    if not await _expires(calls, table):
        found.append(f"time to live is not on for {EXPIRES_AT}")
    if await _recoverable(calls, table) is False:
        found.append("point-in-time recovery is off")
    return found


def _differences(description: Mapping[str, Any]) -> Iterator[str]:
    wanted = layout("")
    if description.get("TableStatus") != "ACTIVE":
        yield f"the table is {description.get('TableStatus')}, not ACTIVE"
    if _keys(description) != _keys(wanted):
        yield f"the table's keys are {_keys(description)}, not {_keys(wanted)}"
    types = {
        each["AttributeName"]: each["AttributeType"] for each in wanted["AttributeDefinitions"]
    }
    for each in description.get("AttributeDefinitions", []):
        name, kind = each["AttributeName"], each["AttributeType"]
        if types.get(name, kind) != kind:
            yield f"the attribute {name} is of type {kind}, not {types[name]}"
    mode = description.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    if mode != wanted["BillingMode"]:
        yield f"the table is paid {mode}, not {wanted['BillingMode']}"
    yield from _index_differences(
        _by_name(description.get("GlobalSecondaryIndexes", [])),
        _by_name(wanted["GlobalSecondaryIndexes"]),
    )


def _index_differences(
    found: Mapping[str, Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    for name, index in wanted.items():
        if name not in found:
            yield f"the index {name} is missing"
            continue
        there = found[name]
        if _keys(there) != _keys(index):
            yield f"the keys of the index {name} are {_keys(there)}, not {_keys(index)}"
        projected = there.get("Projection", {}).get("ProjectionType")
        if projected != "ALL":
            yield f"the index {name} projects {projected}, not ALL"
        if there.get("IndexStatus", "ACTIVE") != "ACTIVE":
            yield f"the index {name} is {there['IndexStatus']}, not ACTIVE"
    for name in sorted(found.keys() - wanted.keys()):
        yield f"the index {name} is none of this table's"


def _by_name(indexes: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {index["IndexName"]: index for index in indexes}


def _keys(described: Mapping[str, Any]) -> str:
    """The key attributes, the partition key first."""
    schema = sorted(described.get("KeySchema", []), key=lambda each: str(each["KeyType"]))
    return ", ".join(each["AttributeName"] for each in schema)


async def _description(calls: Calls, table: str) -> Mapping[str, Any] | None:
    """What the engine says of the table, or None where there is none.

    Listing comes first: that a table is missing is no failure here, as it is for a tenant's call.
    """
    start: dict[str, str] = {}
    while True:
        answer = await calls.send("ListTables", start)
        if table in answer["TableNames"]:
            break
        if "LastEvaluatedTableName" not in answer:
            return None
        start = {"ExclusiveStartTableName": answer["LastEvaluatedTableName"]}
    described: Mapping[str, Any] = (await calls.send("DescribeTable", {"TableName": table}))[
        "Table"
    ]
    return described


async def _await_active(calls: Calls, table: str) -> None:
    async with _within(_ACTIVE_SECONDS):
        while True:
            description = await _description(calls, table) or {}
            indexes = description.get("GlobalSecondaryIndexes", [])
            states = {description.get("TableStatus")}
            states |= {index.get("IndexStatus", "ACTIVE") for index in indexes}
            if states == {"ACTIVE"}:
                return
            await asyncio.sleep(_POLL_SECONDS)


@contextlib.asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise Unavailable("TABLE_NOT_READY", "the table is still being made") from error


async def _expires(calls: Calls, table: str) -> bool:
    answer = await calls.send("DescribeTimeToLive", {"TableName": table})
    described = answer["TimeToLiveDescription"]
    return (
        described.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
        and described.get("AttributeName") == EXPIRES_AT
    )


async def _recoverable(calls: Calls, table: str) -> bool | None:
    """Whether the table can be recovered to a point in time; None where the engine has no such thing."""
    try:
        answer = await calls.send("DescribeContinuousBackups", {"TableName": table})
    except AIODynamoError as error:
        if code_of(error) == _NO_SUCH_FEATURE:
            return None
        raise
    backups = answer["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {})
    return bool(recovery.get("PointInTimeRecoveryStatus") == "ENABLED")
