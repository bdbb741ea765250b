"""What is asked of operations: to begin, to be shown, watched, rolled back and gone on with."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence

from boundary.errors import FailedPrecondition, NotFound, Unavailable
from boundary.ids import TenantId, parse_request_id
from services.resolver.directory import now_micros
from services.resolver.lifecycle.feed import Feed
from services.resolver.lifecycle.kinds import Kind, Registry
from services.resolver.lifecycle.records import (
    BLOCKED,
    FAILED,
    ROLLING_BACK,
    RUNNING,
    WAITING,
    Operation,
    StepRecord,
)
from services.resolver.lifecycle.runner import Runner
from services.resolver.lifecycle.store import MAX_TOGETHER, LeaseLost, Listing, OperationStore
from services.resolver.ports import Value

_ATTEMPTS = 20
_TAKE_BACK_SECONDS = 10.0
_POLL_SECONDS = 1.0
_RECENT = 20


class Operations:
    """The operations of every tenant."""

    def __init__(
        self, *, store: OperationStore, registry: Registry, feed: Feed, runner: Runner
    ) -> None:
        self._store = store
        self._registry = registry
        self._feed = feed
        self._runner = runner

    async def start(
        self,
        kind_name: str,
        tenant_id: TenantId,
        *,
        principal: str,
        parameters: Mapping[str, Value],
        request_id: str = "",
    ) -> Operation:
        """The operation, recorded; the one that a first call with the same request_id began.

        One that has the tenant to itself has others that failed, and do not, taken back before it.

        Raises:
            FailedPrecondition: another operation holds the tenant (`OPERATION_UNDER_WAY`).
            ResourceExhausted: the tenant has too many (`OPERATIONS_FULL`).
            InvalidArgument: the request id is out of grammar.
        """
        kind = self._kind(kind_name)
        now = now_micros()
        operation = await self._add(
            Operation(
                operation_id=operation_id_of(kind_name, tenant_id, request_id),
                kind=kind.name,
                tenant_id=tenant_id,
                principal=principal,
                steps=tuple(StepRecord(name=step.name) for step in kind.steps),
                parameters=parameters,
                created_at=now,
                updated_at=now,
                due_at=now,
                tenant_visible=kind.tenant_visible,
                exclusive=kind.exclusive,
            )
        )
        self._runner.wake()
        return operation

    async def _add(self, operation: Operation) -> Operation:
        """The operation, recorded, once what failed before it and can be taken back has been."""
        for _ in range(MAX_TOGETHER):
            try:
                return await self._store.add(operation)
            except FailedPrecondition as refused:
                holder = refused.metadata.get("operation", "").removeprefix("operations/")
                if not operation.exclusive or not await self._taken_back(holder):
                    raise
        return await self._store.add(operation)

    async def _taken_back(self, operation_id: str) -> bool:
        """Whether an operation that failed and shares its tenant is taken back now, as far as it went."""
        operation = await self.find(operation_id)
        if operation is None or operation.exclusive or operation.state != FAILED:
            return False
        await self.cancel(operation)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TAKE_BACK_SECONDS):
                async for now in self.watch(operation_id):
                    if now.over or now.state == FAILED:
                        return now.over
        return False

    async def repeated(
        self, kind_name: str, tenant_id: TenantId, request_id: str
    ) -> Operation | None:
        """The operation that a first call with the same request_id began, or None.

        Raises:
            InvalidArgument: the request id is out of grammar.
        """
        if not request_id:
            return None
        return await self.find(operation_id_of(kind_name, tenant_id, request_id))

    async def look_again(self, tenant_id: TenantId) -> None:
        """Lets what is blocked on a tenant look now whether it may go on."""
        listing = Listing(tenant_id=tenant_id)
        recent, _ = await self._store.page(listing, limit=_RECENT, position=None)
        for operation in recent:
            if operation.state == BLOCKED:
                await self._ask(operation)

    async def find(self, operation_id: str) -> Operation | None:
        """The operation as it is now, or None."""
        return self._feed.latest(operation_id) or await self._store.get(operation_id)

    async def get(self, operation_id: str, *, tenant_id: TenantId | None = None) -> Operation:
        """The operation as it is now.

        Args:
            tenant_id: the tenant whose people ask; theirs alone are there for them.

        Raises:
            NotFound: there is none.
        """
        operation = await self.find(operation_id)
        if operation is None or (tenant_id is not None and not _theirs(operation, tenant_id)):
            raise NotFound(f"operations/{operation_id}", field="name")
        return operation

    async def page(
        self, listing: Listing, *, limit: int, position: bytes | None
    ) -> tuple[Sequence[Operation], bytes | None]:
        """A page of operations, the newest first, and the position of the next one."""
        return await self._store.page(listing, limit=limit, position=position)

    async def watch(
        self, operation_id: str, *, tenant_id: TenantId | None = None
    ) -> AsyncIterator[Operation]:
        """The operation as it is now and after each change, until it is over.

        Of an operation that another resolver works on, changes are seen within a second or so.

        Raises:
            NotFound: there is none.
            Unavailable: this resolver stops; ask another.
        """
        seen: Operation | None = None
        with self._feed.watch(operation_id) as changed:
            while True:
                changed.clear()
                operation = await self.get(operation_id, tenant_id=tenant_id)
                if operation != seen:
                    yield operation
                seen = operation
                if operation.over:
                    return
                if self._feed.closed:
                    raise Unavailable("SERVER_STOPPING", "the resolver stops; watch again")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_POLL_SECONDS):
                        await changed.wait()

    async def cancel(self, operation: Operation) -> Operation:
        """The operation, which is rolled back from now on.

        Raises:
            FailedPrecondition: there is no way back (`OPERATION_NOT_CANCELLABLE`).
            Unavailable: it is being changed by others.
        """
        for _ in range(_ATTEMPTS):
            if operation.cancel_requested:
                return operation
            if not operation.cancellable or operation.over:
                raise FailedPrecondition(
                    "OPERATION_NOT_CANCELLABLE", f"{operation.name} is past the point of no return"
                )
            state = operation.state
            if state in (WAITING, BLOCKED, FAILED):
                state = ROLLING_BACK
            asked = await self._ask(operation, state=state, cancel_requested=True)
            if asked is not None:
                return asked
            operation = await self._stored(operation)
        raise _busy()

    async def resume(self, operation: Operation) -> Operation:
        """The operation, which goes on from now on; one that is not over and did not fail is looked at now.

        Raises:
            FailedPrecondition: it is over (`OPERATION_OVER`).
            Unavailable: it is being changed by others.
        """
        for _ in range(_ATTEMPTS):
            if operation.over:
                raise FailedPrecondition("OPERATION_OVER", f"{operation.name} is over")
            if operation.owner and operation.lease_until > now_micros():
                return operation  # a resolver works on it
            state = operation.state
            if state == FAILED:
                state = ROLLING_BACK if operation.cancel_requested else RUNNING
            asked = await self._ask(operation, state=state, error=None)
            if asked is not None:
                return asked
            operation = await self._stored(operation)
        raise _busy()

    async def _ask(self, operation: Operation, **changes: object) -> Operation | None:
        """The operation with changes, due at once; None where it has changed since it was looked at.

        What is asked was decided on what was seen: whether there still is a way back, above all.
        """
        stored = await self._stored(operation)
        if _decides(stored) != _decides(operation):
            return None
        held = bool(stored.owner) and stored.lease_until > now_micros()
        due = stored.due_at if held else now_micros()
        try:
            asked = await self._store.ask(stored, due_at=due, **changes)
        except LeaseLost:
            return None
        self._feed.poke(operation.operation_id)
        self._runner.wake(operation.operation_id)
        return asked

    async def _stored(self, operation: Operation) -> Operation:
        stored = await self._store.get(operation.operation_id)
        if stored is None:
            raise NotFound(operation.name, field="name")
        return stored

    def _kind(self, name: str) -> Kind:
        kind = self._registry.find(name)
        if kind is None:
            raise ValueError(f"there is no kind {name}")
        return kind


def operation_id_of(kind: str, tenant_id: str, request_id: str) -> str:
    """The id of an operation: of one that may be asked for twice, the same both times (AIP-155).

    Raises:
        InvalidArgument: the request id is out of grammar.
    """
    if not request_id:
        return uuid.uuid4().hex
    named = "\0".join((kind, tenant_id, parse_request_id(request_id)))
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def _decides(operation: Operation) -> tuple[str, bool, bool]:
    """What it depends on whether something may be asked of an operation; progress is not part of it."""
    return operation.state, operation.cancellable, operation.cancel_requested


def _theirs(operation: Operation, tenant_id: TenantId) -> bool:
    return operation.tenant_visible and operation.tenant_id == tenant_id


def _busy() -> Unavailable:
    return Unavailable("OPERATION_BUSY", "the operation is being changed; ask again")
