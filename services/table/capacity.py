"""What the tenants' calls took of the table's capacity, until a flush of their use takes it away.

The metrics count capacity by action alone: a label for each tenant has no bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from boundary.ids import TenantId
from boundary.scope import Partition

MOST_TENANTS = 10_000
"""How many tenants are told apart between two drains."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Consumed:
    """What one tenant took by one action.

    Attributes:
        tenant_id: whose calls; empty for the directory's, and for tenants beyond MOST_TENANTS.
        action: the engine's name of the call, for example `GetItem`.
        units: the engine's capacity units.
    """

    tenant_id: TenantId
    action: str
    units: float


class CapacityMeter:
    """Adds up capacity by tenant and action, in bounded memory. Used from one event loop.

    Of more than MOST_TENANTS, what the one took that was seen longest ago counts as nobody's: no unit is lost.
    """

    def __init__(self, *, on_action: Callable[[str, float], None]) -> None:
        """Takes what is told of each action and its units, whoever's they are."""
        self._on_action = on_action
        self._by_tenant: OrderedDict[TenantId, dict[str, float]] = OrderedDict()
        self._nobodys: dict[str, float] = {}

    def consumed(self, partition: Partition, action: str, units: float) -> None:
        """Counts a call's units on the partition's tenant; see services.table.dynamodb.OnCapacity."""
        self._on_action(action, units)
        tenant_id = partition.tenant_id
        if not tenant_id:
            _add(self._nobodys, action, units)
            return
        own = self._by_tenant.get(tenant_id)
        if own is None:
            own = self._by_tenant[tenant_id] = {}
            if len(self._by_tenant) > MOST_TENANTS:
                _, others = self._by_tenant.popitem(last=False)
                for each, taken in others.items():
                    _add(self._nobodys, each, taken)
        self._by_tenant.move_to_end(tenant_id)
        _add(own, action, units)

    def drain(self) -> Sequence[Consumed]:
        """What was consumed since the last drain, by tenant and action."""
        taken = [(TenantId(""), self._nobodys), *self._by_tenant.items()]
        self._by_tenant = OrderedDict()
        self._nobodys = {}
        return sorted(
            Consumed(tenant_id=tenant_id, action=action, units=units)
            for tenant_id, actions in taken
            for action, units in actions.items()
        )


def _add(sums: dict[str, float], action: str, units: float) -> None:
    sums[action] = sums.get(action, 0.0) + units
