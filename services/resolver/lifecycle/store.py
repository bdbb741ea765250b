"""Operations in the directory's part of the table.

A record stands in a partition of its own, outside of every tenant's: it outlives the tenant. Three indexes list
it: every operation and a tenant's by when they were asked for, a state's by when they are due. An item for each
tenant names the operations that hold it; it changes in one transaction with the record that begins or ends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from boundary.directory_scope import (
    HOLDERS_SORT_KEY,
    OPERATION_SORT_KEY,
    holders_partition,
    operation_partition,
    operations_partition,
)
from boundary.errors import FailedPrecondition, ResourceExhausted, Unavailable
from boundary.ids import TenantId
from boundary.scope import Partition
from services.resolver.directory import now_micros
from services.resolver.lifecycle.records import CANCELLED, Operation, item_of, operation_of
from services.resolver.ports import (
    ABSENT,
    Check,
    Condition,
    ConditionFailed,
    Put,
    Range,
    Table,
    Update,
    Value,
    Write,
)

RETENTION_SECONDS = 180 * 24 * 3600
"""How long the record of an operation that is over is kept, unless its kind keeps it for good."""

MAX_TOGETHER = 4
"""How many operations of one tenant may be not over at the same time."""

_FULL_SECONDS = 10.0
_ATTEMPTS = 8


class LeaseLost(Exception):
    """Another resolver has taken the operation over; nothing was written."""


class CancelRequested(Exception):
    """Somebody has asked that the operation be rolled back; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which operations are listed: a tenant's, a state's, both or all."""

    tenant_id: str = ""
    state: str = ""
    tenant_visible: bool = False


class OperationStore:
    """Reads and writes operations' records."""

    def __init__(self, table: Table, *, table_name: str) -> None:
        """Takes the directory's guarded table, and its name."""
        self._table = table
        self._name = table_name

    async def get(self, operation_id: str) -> Operation | None:
        """The operation as last written, or None."""
        item = await self._table.get(self._partition(operation_id), OPERATION_SORT_KEY)
        return None if item is None else operation_of(item)

    async def add(self, operation: Operation) -> Operation:
        """The operation, written and holding its tenant; the one that has its id where there is one.

        Raises:
            FailedPrecondition: another operation holds the tenant.
            ResourceExhausted: the tenant has too many (`OPERATIONS_FULL`).
        """
        for _ in range(_ATTEMPTS):
            existing = await self.get(operation.operation_id)
            if existing is not None:
                return existing
            put = Put(
                sort_key=OPERATION_SORT_KEY,
                item={**item_of(operation, asked=True), **self._index(operation)},
                condition=ABSENT,
            )
            holding = await self._hold(operation)
            try:
                await self._table.transact(
                    [(self._partition(operation.operation_id), put), holding]
                )
            except ConditionFailed:
                continue
            return operation
        raise _busy()

    async def page(
        self, listing: Listing, *, limit: int, position: bytes | None
    ) -> tuple[Sequence[Operation], bytes | None]:
        """A page of operations, the newest first, and the position of the next one."""
        partition = operations_partition(table=self._name)
        index, index_key = "GSI1", partition.key
        if listing.tenant_id:
            index, index_key = "GSI2", partition.index_key("TENANT", listing.tenant_id)
        elif listing.state:
            index, index_key = "GSI3", partition.index_key("STATE", listing.state)
        page = await self._table.query(
            partition,
            keys=Range(),
            limit=limit,
            position=position,
            index=index,
            index_key=index_key,
            descending=True,
        )
        operations = (operation_of(stored.item) for stored in page.items)
        return [found for found in operations if _listed(found, listing)], page.position

    async def due(self, state: str, *, limit: int) -> Sequence[Operation]:
        """The operations in a state whose time has come, the longest due first."""
        partition = operations_partition(table=self._name)
        page = await self._table.query(
            partition,
            keys=Range(high=_moment(now_micros())),
            limit=limit,
            index="GSI3",
            index_key=partition.index_key("STATE", state),
        )
        return [operation_of(stored.item) for stored in page.items]

    async def claim(self, operation: Operation, *, owner: str, lease_micros: int) -> Operation:
        """The operation, held by owner until its lease ends.

        Raises:
            LeaseLost: it has changed since it was read, or somebody holds it.
        """
        now = now_micros()
        if operation.lease_until > now:
            raise LeaseLost
        claimed = replace(
            operation,
            owner=owner,
            fence=operation.fence + 1,
            lease_until=now + lease_micros,
            due_at=now + lease_micros,
            updated_at=now,
        )
        return await self._update(claimed, equals={"version": operation.version})

    async def save(self, operation: Operation, *, unless_cancelled: bool = False) -> Operation:
        """The operation as it is after its holder has written it.

        Raises:
            LeaseLost: another resolver holds it.
            CancelRequested: somebody wants it rolled back, and it was to be written unless that is so.
        """
        equals: dict[str, Value] = {"fence": operation.fence}
        if unless_cancelled:
            equals["cancel_requested"] = False
        try:
            return await self._update(operation, equals=equals)
        except LeaseLost:
            stored = await self.get(operation.operation_id)
            if stored is not None and stored.fence == operation.fence:
                raise CancelRequested from None
            raise

    async def finish(self, operation: Operation, *, kept: bool) -> Operation:
        """The operation, over, and its tenant no longer held.

        Raises:
            LeaseLost: another resolver holds it.
            CancelRequested: somebody wants it rolled back, and it was to succeed.
        """
        equals: dict[str, Value] = {"fence": operation.fence}
        if operation.state != CANCELLED:
            equals["cancel_requested"] = False
        expires_at = None if kept else int(time.time()) + RETENTION_SECONDS
        for _ in range(_ATTEMPTS):
            update = self._written(operation, equals=equals, expires_at=expires_at)
            release = await self._release(operation)
            try:
                await self._table.transact(
                    [(self._partition(operation.operation_id), update), release]
                )
            except ConditionFailed as error:
                if error.index == 0:
                    await self._tell_why(operation, error)
                continue
            finished = await self.get(operation.operation_id)
            return finished or operation
        raise _busy()

    async def ask(self, operation: Operation, **changes: object) -> Operation:
        """The operation with changes of somebody who does not hold it.

        Raises:
            LeaseLost: it has changed since it was read.
        """
        changed = replace(operation, **changes)  # type: ignore[arg-type]  # the callers' are fields
        return await self._update(changed, equals={"version": operation.version}, asked=True)

    def fence(self, operation: Operation) -> tuple[Partition, Write]:
        """What makes a transaction fail once another resolver holds the operation."""
        condition = Condition(exists=True, equals={"fence": operation.fence})
        return (
            self._partition(operation.operation_id),
            Check(sort_key=OPERATION_SORT_KEY, condition=condition),
        )

    async def _update(
        self, operation: Operation, *, equals: Mapping[str, Value], asked: bool = False
    ) -> Operation:
        update = self._written(operation, equals=equals, asked=asked)
        try:
            item = await self._table.write(self._partition(operation.operation_id), update)
        except ConditionFailed as error:
            raise LeaseLost from error
        if item is None:
            raise LeaseLost
        return operation_of(item)

    def _written(
        self,
        operation: Operation,
        *,
        equals: Mapping[str, Value],
        asked: bool = False,
        expires_at: int | None = None,
    ) -> Update:
        attributes = {**item_of(operation, asked=asked), **self._index(operation)}
        del attributes["version"]
        return Update(
            sort_key=OPERATION_SORT_KEY,
            set=attributes,
            add={"version": 1},
            condition=Condition(exists=True, equals=equals),
            expires_at=expires_at,
        )

    async def _tell_why(self, operation: Operation, error: ConditionFailed) -> None:
        stored = await self.get(operation.operation_id)
        if stored is None or stored.fence != operation.fence:
            raise LeaseLost from error
        raise CancelRequested from error

    async def _hold(self, operation: Operation) -> tuple[Partition, Write]:
        version, holders = await self._holders(operation.tenant_id)
        if len(holders) >= MAX_TOGETHER and not operation.exclusive:
            raise ResourceExhausted(
                "OPERATIONS_FULL",
                f"the tenant has {len(holders)} operations that are not over",
                retry_after=_FULL_SECONDS,
            )
        for holder, exclusive in holders.items():
            if exclusive or operation.exclusive:
                raise FailedPrecondition(
                    "OPERATION_UNDER_WAY",
                    f"operations/{holder} is not over yet; wait for it, or resume or cancel what failed",
                    metadata={"operation": f"operations/{holder}"},
                )
        holders = {**holders, operation.operation_id: operation.exclusive}
        return self._holding(operation.tenant_id, version=version, holders=holders)

    async def _release(self, operation: Operation) -> tuple[Partition, Write]:
        version, holders = await self._holders(operation.tenant_id)
        holders.pop(operation.operation_id, None)
        return self._holding(operation.tenant_id, version=version, holders=holders)

    async def _holders(self, tenant_id: TenantId) -> tuple[int, dict[str, Value]]:
        partition = holders_partition(tenant_id, table=self._name)
        item = await self._table.get(partition, HOLDERS_SORT_KEY)
        if item is None:
            return 0, {}
        version, holders = item["version"], item["holders"]
        if not isinstance(version, int) or not isinstance(holders, dict):
            raise TypeError("what holds a tenant is not in its form")
        return version, holders

    def _holding(
        self, tenant_id: TenantId, *, version: int, holders: dict[str, Value]
    ) -> tuple[Partition, Write]:
        unchanged = Condition(exists=True, equals={"version": version}) if version else ABSENT
        put = Put(
            sort_key=HOLDERS_SORT_KEY,
            item={"version": version + 1, "holders": holders},
            condition=unchanged,
        )
        return holders_partition(tenant_id, table=self._name), put

    def _partition(self, operation_id: str) -> Partition:
        return operation_partition(operation_id, table=self._name)

    def _index(self, operation: Operation) -> dict[str, Value]:
        partition = operations_partition(table=self._name)
        asked = f"{_moment(operation.created_at)}#{operation.operation_id}"
        return {
            "GSI1PK": partition.key,
            "GSI1SK": asked,
            "GSI2PK": partition.index_key("TENANT", operation.tenant_id),
            "GSI2SK": asked,
            "GSI3PK": partition.index_key("STATE", operation.state),
            "GSI3SK": f"{_moment(operation.due_at)}#{operation.operation_id}",
        }


def _moment(micros: int) -> str:
    """A moment, so that later ones sort behind."""
    return f"{micros:020d}"


def _listed(operation: Operation, listing: Listing) -> bool:
    if listing.tenant_visible and not operation.tenant_visible:
        return False
    return not listing.state or operation.state == listing.state


def _busy() -> Unavailable:
    return Unavailable("TENANT_BUSY", "the tenant is being changed by others")
