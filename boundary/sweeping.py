"""What a service does by itself in every tenant now and then, such as removing what has expired.

It works under a context of its own for each tenant, so that every boundary of a caller's call holds for it too.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable

from boundary.context import ContextVerifier, TenantContext, serving
from boundary.delegation import ContextSource
from boundary.errors import SiloError
from boundary.ids import TenantId

_log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often it is looked whether a tenant is due, and so how soon a new one is."""


class TenantSweep:
    """Does a piece of work in one tenant after the other, each at most every `seconds`."""

    def __init__(
        self,
        work: Callable[[TenantContext], Awaitable[int]],
        *,
        audience: str,
        contexts: ContextSource,
        verifier: ContextVerifier,
        tenants: Callable[[], Iterable[TenantId]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Takes the parts.

        Args:
            work: what is done in a tenant, within its context; says how much was removed.
            audience: the service, whose own contexts the work is done under.
            contexts: where these come from.
            verifier: verifies them.
            tenants: answers with the tenants that may write, as known at the moment.
            seconds: how long a tenant is left alone afterwards.
            clock: monotonic seconds.
        """
        self._work = work
        self._audience = audience
        self._contexts = contexts
        self._verifier = verifier
        self._tenants = tenants
        self._seconds = seconds
        self._clock = clock
        self._due: dict[TenantId, float] = {}

    async def run(self) -> None:
        """Looks now and then until it is cancelled."""
        while True:
            await self.sweep()
            await asyncio.sleep(min(LOOK_SECONDS, self._seconds))

    async def sweep(self) -> None:
        """Does the work once in every tenant that is due. One that fails is due again after its time."""
        tenants = tuple(self._tenants())
        self._due = {tenant: self._due.get(tenant, 0.0) for tenant in tenants}
        for tenant_id in tenants:
            if self._clock() < self._due[tenant_id]:
                continue
            self._due[tenant_id] = self._clock() + self._seconds
            try:
                await self._sweep_tenant(tenant_id)
            except SiloError as error:
                _log.warning("the sweep of tenant %s is put off: %s", tenant_id, error.reason)

    async def _sweep_tenant(self, tenant_id: TenantId) -> None:
        token = await self._contexts.for_tenant(tenant_id, audience=self._audience)
        context = await self._verifier.verify(token)
        with serving(context):
            removed = await self._work(context)
        if removed:
            _log.info("the sweep of tenant %s removed %d", tenant_id, removed)
