"""Backs tenants up by the clock.

The time is cut into slots of each tenant's interval, the same for every resolver. The backup of a slot has an id
that follows from it, so that however many resolvers look, and however often, there is one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from boundary.context import ACTIVE
from boundary.errors import SiloError
from services.resolver.directory import Directory, Tenant
from services.resolver.lifecycle.archives.export import BACKUP
from services.resolver.lifecycle.control import Operations

_log = logging.getLogger(__name__)

PRINCIPAL = "service:resolver"
"""Who asks for the backups of a schedule."""

_PAGE = 200
_LOOK_SECONDS = 300.0
"""How often every tenant is looked at; intervals are hours."""

_HOUR = 3600


class BackupSchedule:
    """Begins the backups that are due."""

    def __init__(
        self,
        *,
        directory: Directory,
        operations: Operations,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Takes the parts; clock gives seconds since the epoch."""
        self._directory = directory
        self._operations = operations
        self._clock = clock
        self._begun: dict[str, int] = {}

    async def run(self) -> None:
        """Looks now and then until it is cancelled."""
        while True:
            try:
                await self.look()
            except SiloError as error:
                _log.warning("backups are not looked for: %s", error.reason)
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Begins the backup of every tenant whose present slot has none yet."""
        position: bytes | None = None
        while True:
            tenants, position = await self._directory.page(limit=_PAGE, position=position)
            for tenant in tenants:
                if tenant.backup_hours and tenant.status == ACTIVE:
                    await self._begin(tenant)
            if position is None:
                return

    async def _begin(self, tenant: Tenant) -> None:
        slot = int(self._clock()) // (tenant.backup_hours * _HOUR)
        request_id = f"backup-{tenant.backup_hours}-{slot}"
        if self._begun.get(tenant.tenant_id) == slot:
            return
        try:
            await self._operations.start(
                BACKUP,
                tenant.tenant_id,
                principal=PRINCIPAL,
                parameters={},
                request_id=request_id,
            )
        except SiloError as error:
            _log.warning("the backup of tenant %s is put off: %s", tenant.tenant_id, error.reason)
            return
        self._begun[tenant.tenant_id] = slot
