"""Finishes what a crash left of templates' writes, without waiting for somebody to meet it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from boundary.context import ContextVerifier, TenantContext, serving
from boundary.delegation import ContextSource
from boundary.errors import SiloError
from boundary.ids import EntityId, TenantId
from services.data.intents import PENDING_INDEX, Intents, intent_of, pending_key
from services.data.resources import TEMPLATES
from services.table.ports import Range, Stored, Table

_log = logging.getLogger(__name__)

AUDIENCE = "data"
SWEEP_SECONDS = 5.0
"""How often tenants that are new here or have something unfinished are looked at."""

FULL_SWEEP_SECONDS = 900.0
"""How often every tenant is, for what other processes left behind."""

_PAGE = 100


class Recovery:
    """Looks for expired intents, under contexts of the service's own, one tenant at a time."""

    def __init__(
        self,
        *,
        table: Table,
        intents: Intents,
        contexts: ContextSource,
        verifier: ContextVerifier,
        tenants: Callable[[], Iterable[TenantId]],
    ) -> None:
        """Takes the parts; tenants answers with the tenants that may work, as known at the moment."""
        self._table = table
        self._intents = intents
        self._contexts = contexts
        self._verifier = verifier
        self._tenants = tenants
        self._seen: set[TenantId] = set()
        self._seen_from = time.monotonic()

    async def run(self) -> None:
        """Looks now and then until it is cancelled."""
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Looks once at the tenants that are new here or have something unfinished."""
        if time.monotonic() - self._seen_from >= FULL_SWEEP_SECONDS:
            self._seen.clear()
            self._seen_from = time.monotonic()
        for tenant_id in tuple(self._tenants()):
            if tenant_id in self._seen and not self._intents.to_look_at(tenant_id):
                continue
            try:
                await self._sweep_tenant(tenant_id)
            except SiloError as error:
                self._intents.look_again(tenant_id)
                _log.warning("recovery in tenant %s is put off: %s", tenant_id, error.reason)
            self._seen.add(tenant_id)

    async def _sweep_tenant(self, tenant_id: TenantId) -> None:
        began = self._intents.now()
        token = await self._contexts.for_tenant(tenant_id, audience=AUDIENCE)
        context = await self._verifier.verify(token)
        with serving(context):
            for stored in await self._pending(context):
                await self._resolve(context, stored)
        self._intents.looked(tenant_id, began=began)

    async def _pending(self, tenant: TenantContext) -> list[Stored]:
        """The records with an intent, read before any is resolved and leaves the index."""
        found: list[Stored] = []
        position = None
        while True:
            page = await self._table.query(
                tenant.partition,
                keys=Range(),
                limit=_PAGE,
                position=position,
                index=PENDING_INDEX,
                index_key=pending_key(tenant.partition),
            )
            found += page.items
            if page.position is None:
                return found
            position = page.position

    async def _resolve(self, tenant: TenantContext, stored: Stored) -> None:
        intent = intent_of(stored.item)
        if intent is None:
            return
        if not self._intents.expired(intent):
            self._intents.look_again(tenant.tenant_id)
            return
        key = EntityId(stored.sort_key.removeprefix(TEMPLATES.prefix))
        await self._intents.resolve(tenant, key, stored.item)
        _log.info("an unfinished %s of a template of %s is resolved", intent.kind, tenant.tenant_id)
