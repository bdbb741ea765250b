"""A legal hold as removals meet it: before they begin, and all the time until they are done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from services.resolver.lifecycle.pauses import Blocked
from services.resolver.lifecycle.work import Work
from services.resolver.operations import held


async def require_free(work: Work, *, untouched: bool = False) -> None:
    """Returns where the tenant is not held.

    Args:
        untouched: whether the operation could still be taken back in full.

    Raises:
        Blocked: it is held.
    """
    tenant = await work.tenant()
    if tenant.legal_hold:
        raise Blocked(held(tenant), untouched=untouched)


async def unless_held(work: Work, removal: Coroutine[Any, Any, None]) -> None:
    """Does a removal, and ends it as soon as the tenant is held.

    What the engine was asked for at that moment may still go.

    Raises:
        Blocked: the tenant is held, and something of it may be left.
        SiloError: the removal failed, or the directory does not say whether the tenant is held.
    """
    removing = asyncio.ensure_future(removal)
    looking = asyncio.ensure_future(work.until_tenant(lambda tenant: bool(tenant.legal_hold)))
    try:
        await asyncio.wait((removing, looking), return_when=asyncio.FIRST_COMPLETED)
        if not removing.done():
            raise Blocked(held(await looking))
        await removing
    finally:
        for task in (removing, looking):
            task.cancel()
        await asyncio.gather(removing, looking, return_exceptions=True)
