"""One refresh for all the searches that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class SharedRefresh:
    """Refreshes of one index, one after the other.

    A refresh makes visible what was written before it began. A search is therefore content with any that began
    after the search did, whoever asked for it.
    """

    def __init__(self) -> None:
        self._alone = asyncio.Lock()
        self._begun = 0
        self._succeeded = 0

    async def after_now(self, refresh: Callable[[], Awaitable[None]]) -> None:
        """Returns once a refresh has ended that began after this call did."""
        before = self._begun
        async with self._alone:
            if self._succeeded > before:
                return
            self._begun += 1
            number = self._begun
            await refresh()
            self._succeeded = number
