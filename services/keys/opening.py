"""Opens the keepers of a deployment: KMS in each region that has it, or else the embedded one."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.engines.settings import Engines
from services.keys.kms import KmsCredentials, KmsKeys, kms_client
from services.keys.local import LocalKeys
from services.keys.ports import TenantKeys

T = TypeVar("T")

_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenKeys:
    """The keepers by region, and what is called last; it blocks.

    A deployment of several regions without KMS has no keeper that all its machines could share, and none here.
    """

    by_region: Mapping[str, TenantKeys]
    close: tuple[Callable[[], object], ...]


class _Threads:
    """Runs blocking calls on a few threads, each in a copy of its caller's context (services.keys.kms.Calls)."""

    def __init__(self, ensure: Callable[[], Awaitable[object]] | None) -> None:
        self._ensure = ensure
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="tenant-keys")

    async def run(self, work: Callable[[], T]) -> T:
        """What work returns."""
        if self._ensure is not None:
            await self._ensure()
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._executor, context.run, work)

    def close(self) -> None:
        """Ends the threads. Blocks."""
        self._executor.shutdown()


async def open_keys(
    engines: Engines,
    *,
    folder: Path,
    credentials: KmsCredentials | None = None,
    ensure: Callable[[], Awaitable[object]] | None = None,
) -> OpenKeys:
    """The open keepers.

    Args:
        folder: where the embedded keeper has its keys.
        credentials: with which KMS is asked; the process's own where None.
        ensure: awaited before a thread is taken; sees to it that the tenant's credentials are there.
    """
    on_kms = {name: region.keys for name, region in engines.regions.items() if region.keys}
    if not on_kms:
        if len(engines.regions) > 1:
            return OpenKeys(by_region={}, close=())
        local = LocalKeys(folder)
        return OpenKeys(by_region=dict.fromkeys(engines.regions, local), close=(local.close,))
    threads = _Threads(ensure)
    clients = {
        name: await asyncio.to_thread(
            kms_client, engine.aws_region, endpoint=engine.endpoint, credentials=credentials
        )
        for name, engine in on_kms.items()
    }
    keeper = KmsKeys(clients, calls=threads)
    return OpenKeys(by_region=dict.fromkeys(clients, keeper), close=(threads.close,))
