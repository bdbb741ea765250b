"""How much is tried again where an engine fails: a share of what succeeds (gRFC A6, retry throttling).

An engine that is in trouble is then asked less, and not several times as often as one that works. What one tenant
may take of it is bounded by itself, so that a tenant whose part of the engine is throttled for long does not leave
the others without a second attempt.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from boundary.context import current_context
from boundary.ids import TenantId

MOST_TENANTS = 10_000
"""For how many tenants it is remembered what they took; of further ones, who took longest ago begins anew."""


def _current_tenant() -> TenantId | None:
    context = current_context()
    return None if context is None else context.tenant_id


@dataclass(slots=True, kw_only=True)
class _Tokens:
    """Tokens that time and successes give back.

    Attributes:
        most: how many there are at the most.
        per_second: what time gives back.
        left: how many there were at the time `at`, in monotonic seconds.
    """

    most: float
    per_second: float
    left: float
    at: float

    def ready(self, now: float) -> bool:
        """Whether one can be taken."""
        self.left = min(self.most, self.left + (now - self.at) * self.per_second)
        self.at = now
        return self.left >= 1

    def give(self, gain: float) -> None:
        """Gives a part of one back."""
        self.left = min(self.most, self.left + gain)


class RetryBudget:
    """Tokens for repeats: each takes one, each success gives a part of one back.

    They are counted twice: over all calls of the engine, and over those of the tenant that is being served, who
    has its share of them at the most. A call that is made for no tenant counts on the engine alone.
    """

    def __init__(
        self,
        *,
        most: float,
        share: float = 0.2,
        gain: float = 0.1,
        per_second: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        tenant: Callable[[], TenantId | None] = _current_tenant,
    ) -> None:
        """Begins full.

        Args:
            most: how many tokens there are at the most.
            share: what part of them, and of what time gives back, one tenant can have.
            gain: what a success gives back.
            per_second: what time gives back.
            clock: monotonic seconds.
            tenant: whose call is being served.
        """
        self._share = share
        self._gain = gain
        self._clock = clock
        self._tenant = tenant
        self._all = _Tokens(most=most, per_second=per_second, left=most, at=clock())
        self._by_tenant: OrderedDict[TenantId, _Tokens] = OrderedDict()

    def take(self) -> bool:
        """Whether a repeat may be made, which then counts."""
        now = self._clock()
        tenant = self._tenant()
        own = None if tenant is None else self._own(tenant, now)
        if not self._all.ready(now) or (own is not None and not own.ready(now)):
            return False
        self._all.left -= 1
        if own is not None:
            own.left -= 1
        return True

    def give(self) -> None:
        """Counts a call that succeeded."""
        if self._all.left < self._all.most:
            self._all.give(self._gain)
        if not self._by_tenant:
            return
        tenant = self._tenant()
        own = None if tenant is None else self._by_tenant.get(tenant)
        if tenant is None or own is None:
            return
        own.give(self._gain)
        if own.left >= own.most:
            del self._by_tenant[tenant]  # as one that never took any

    def _own(self, tenant: TenantId, now: float) -> _Tokens:
        own = self._by_tenant.get(tenant)
        if own is None:
            most = max(1.0, self._all.most * self._share)
            own = _Tokens(
                most=most, per_second=self._all.per_second * self._share, left=most, at=now
            )
            self._by_tenant[tenant] = own
            if len(self._by_tenant) > MOST_TENANTS:
                self._by_tenant.popitem(last=False)
        self._by_tenant.move_to_end(tenant)
        return own
