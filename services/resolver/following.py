"""Tells the watchers of this resolver what other resolvers have made of tenants.

A change is told at once by the resolver that makes it. The others find it in the directory's index of changes,
which each looks through twice a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from boundary.errors import SiloError
from boundary.ids import TenantId
from services.resolver.changes import Changes
from services.resolver.directory import Directory, now_micros

_log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""How long a change by another resolver goes unseen, besides what the index lags behind."""

_OVERLAP_MICROS = 30_000_000
"""How far each look reaches back behind the one before: by that, clocks of resolvers may differ, a write be late
and the index lag behind, together."""


class Following:
    """Follows the directory."""

    def __init__(
        self, directory: Directory, changes: Changes, *, clock: Callable[[], int] = now_micros
    ) -> None:
        """Takes the parts; clock gives microseconds since the epoch."""
        self._directory = directory
        self._changes = changes
        self._clock = clock
        self._looked_at = clock()
        self._told: dict[TenantId, int] = {}

    async def run(self) -> None:
        """Looks again and again until it is cancelled."""
        while True:
            try:
                await self.look()
            except SiloError as error:
                _log.warning("changes by other resolvers are not seen: %s", error.reason)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Tells of what was changed since the last look, and of this resolver's own changes once more.

        Raises:
            Unavailable, ResourceExhausted: the directory does not answer; the next look begins where this one did.
        """
        now = self._clock()
        changed = await self._directory.changed_since(self._looked_at - _OVERLAP_MICROS)
        for tenant in changed:
            if self._told.get(tenant.tenant_id, 0) < tenant.generation:
                self._changes.publish(tenant)
        self._told = {tenant.tenant_id: tenant.generation for tenant in changed}
        self._looked_at = now
