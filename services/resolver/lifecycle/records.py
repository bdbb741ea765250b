"""What is recorded of an operation, and the item that it is in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from boundary.errors import SiloError, bounded
from boundary.ids import TenantId
from services.resolver.ports import Item, Value

RUNNING = "RUNNING"
WAITING = "WAITING"
BLOCKED = "BLOCKED"
ROLLING_BACK = "ROLLING_BACK"
FAILED = "FAILED"
SUCCEEDED = "SUCCEEDED"
CANCELLED = "CANCELLED"

OPEN = (RUNNING, WAITING, BLOCKED, ROLLING_BACK)
"""The states in which a resolver works on the operation, now or when it is due."""

OVER = (SUCCEEDED, CANCELLED)
"""The states that nothing leaves. A failed operation can be resumed or cancelled."""

PENDING = "PENDING"
DONE = "DONE"
STEP_FAILED = "FAILED"
UNDOING = "UNDOING"
UNDONE = "UNDONE"
"""The states of steps, besides RUNNING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """How far one step is. Times are in microseconds since the epoch, 0 where it is not so far."""

    name: str
    state: str = PENDING
    started_at: int = 0
    ended_at: int = 0
    done: int = 0
    total: int = 0
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an operation failed or is blocked: never a driver's text."""

    code: str
    reason: str
    message: str

    @classmethod
    def of(cls, error: SiloError) -> Failure:
        """What is kept of an error."""
        return cls(code=error.code, reason=error.reason, message=bounded(error.message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation as recorded. Times are in microseconds since the epoch, 0 where it is not so far.

    Attributes:
        operation_id: 32 hexadecimal digits.
        kind: the name of its kind.
        parameters: what was asked for, as its kind reads it.
        memory: what its steps keep for one another and for after a crash.
        result: what came of it: the field of the proto's `result` and its value.
        due_at: when it goes on; while a resolver holds it, when its lease ends.
        tenant_visible: whether the tenant's own people may see it.
        exclusive: whether the tenant has no other operation meanwhile.
        cancellable: whether it is not past the point of no return.
        cancel_requested: whether somebody has asked that it be rolled back.
        owner: the resolver process that holds it, or empty.
        fence: rises with every taking over; what an earlier holder still writes is refused.
        lease_until: when the holder's lease ends.
        version: rises with every write.
    """

    operation_id: str
    kind: str
    tenant_id: TenantId
    principal: str
    state: str = RUNNING
    steps: Sequence[StepRecord] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict)
    memory: Mapping[str, Value] = field(default_factory=dict)
    result: Mapping[str, Value] = field(default_factory=dict)
    error: Failure | None = None
    created_at: int = 0
    updated_at: int = 0
    ended_at: int = 0
    due_at: int = 0
    tenant_visible: bool = False
    exclusive: bool = True
    cancellable: bool = True
    cancel_requested: bool = False
    owner: str = ""
    fence: int = 0
    lease_until: int = 0
    version: int = 0

    @property
    def name(self) -> str:
        """`operations/{operation_id}`."""
        return f"operations/{self.operation_id}"

    @property
    def over(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.state in OVER


_ASKED = frozenset({"cancel_requested"})
"""What those who ask write, and the resolver that holds the operation does not."""


def item_of(operation: Operation, *, asked: bool = False) -> Item:
    """The attributes of an operation's record; those that callers write only where asked for."""
    item: Item = {}
    for attribute in fields(operation):
        name = attribute.name
        if name in _ASKED and not asked:
            continue
        value = getattr(operation, name)
        if name == "steps":
            value = [asdict(step) for step in operation.steps]
        elif name == "error":
            value = None if operation.error is None else asdict(operation.error)
        elif isinstance(value, Mapping):
            value = dict(value)
        item[name] = value
    return item


def operation_of(item: Item) -> Operation:
    """The operation of a record. Attributes that this version does not know are passed over.

    Raises:
        TypeError: the record is not one.
    """
    known: dict[str, object] = {
        attribute.name: item[attribute.name]
        for attribute in fields(Operation)
        if attribute.name in item
    }
    steps, error = item["steps"], item.get("error")
    if not isinstance(steps, list):
        raise TypeError("the steps of an operation are no list")
    known["steps"] = tuple(StepRecord(**_part(step, StepRecord)) for step in steps)
    known["error"] = None if error is None else Failure(**_part(error, Failure))
    return Operation(**known)  # type: ignore[arg-type]  # as item_of wrote them


def _part(value: Value, kind: type[StepRecord | Failure]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("a part of an operation is no map")
    names = {attribute.name for attribute in fields(kind)}
    return {name: part for name, part in value.items() if name in names}


def told_time(micros: Value) -> str:
    """A moment as people and certificates are told it: ISO 8601 in UTC, to the millisecond.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(micros, int):
        raise TypeError("a time is no number")
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")
