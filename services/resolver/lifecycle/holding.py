"""An operation that this process holds: its lease is renewed, and its record written, until it is let go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from boundary.errors import SiloError
from services.resolver.directory import now_micros
from services.resolver.lifecycle.feed import Feed
from services.resolver.lifecycle.records import Operation
from services.resolver.lifecycle.store import LeaseLost, OperationStore
from services.resolver.ports import Value

_log = logging.getLogger(__name__)

_PERSIST_SECONDS = 1.0
"""How often progress is written at the most."""


class Holding:
    """The one writer of an operation's record while its lease lasts.

    Attributes:
        interrupted: set once the lease is lost, or somebody has asked that the operation be rolled back.
    """

    def __init__(
        self, operation: Operation, *, store: OperationStore, feed: Feed, lease_seconds: float
    ) -> None:
        """Takes an operation that was just claimed."""
        self.interrupted = asyncio.Event()
        self._operation = operation
        self._store = store
        self._feed = feed
        self._lease_seconds = lease_seconds
        self._held_until = time.monotonic() + lease_seconds
        self._writing = asyncio.Lock()
        self._lost = False
        self._dirty = False
        self._step = ""
        self._progress: dict[str, Any] = {}
        self._rolling_back = False
        feed.publish(operation)

    @property
    def operation(self) -> Operation:
        """The operation as it is now, with progress that is not yet written."""
        return self._with_progress(self._operation)

    @property
    def lost(self) -> bool:
        """Whether somebody else may hold the operation by now."""
        return self._lost or time.monotonic() >= self._held_until

    def progress(self, **changes: int | str) -> None:
        """Notes how far the running step is; told at once, written within a second."""
        self._progress.update(changes)
        self._dirty = True
        self._feed.publish(self.operation)

    def look(self) -> None:
        """Writes the record soon, and so reads what others have asked for."""
        self._dirty = True

    async def remember(self, values: Mapping[str, Value]) -> None:
        """Writes values into the operation's memory, before this returns.

        Raises:
            LeaseLost: somebody else holds the operation.
        """
        await self.write(memory={**self._operation.memory, **values})

    async def write(self, *, unless_cancelled: bool = False, **changes: Any) -> None:
        """Writes changes, and renews the lease.

        Raises:
            LeaseLost: somebody else holds the operation.
            CancelRequested: somebody wants it rolled back, and this was to be written unless that is so.
        """
        async with self._writing:
            self._require_held()
            began = time.monotonic()
            now = now_micros()
            lease_until = now + round(self._lease_seconds * 1e6)
            self._dirty = False
            renewed = replace(
                self._with_progress(self._operation),
                **{"lease_until": lease_until, "due_at": lease_until, "updated_at": now, **changes},
            )
            self._keep(await self._store.save(renewed, unless_cancelled=unless_cancelled))
            self._held_until = began + self._lease_seconds

    def work_on(self, step: str) -> None:
        """What progress is noted from now on belongs to a step."""
        self._step, self._progress = step, {}

    def roll_back(self) -> None:
        """From now on the wish to roll back interrupts nothing: it is being followed."""
        self._rolling_back = True
        if not self._lost:
            self.interrupted.clear()

    async def let_go(self, **changes: Any) -> None:
        """Writes changes and gives the lease back; whoever comes first may take the operation over.

        Raises:
            LeaseLost: somebody else holds the operation.
        """
        await self.write(**{"owner": "", "lease_until": 0, **changes})

    async def finish(self, *, kept: bool, **changes: Any) -> None:
        """Writes that the operation is over, and lets its tenant go.

        Raises:
            LeaseLost: somebody else holds the operation.
            CancelRequested: somebody wants it rolled back, and it was to succeed.
        """
        async with self._writing:
            self._require_held()
            now = now_micros()
            over = replace(
                self._operation,
                **{
                    "owner": "",
                    "lease_until": 0,
                    "due_at": now,
                    "ended_at": now,
                    "updated_at": now,
                    "cancellable": False,
                    **changes,
                },
            )
            self._keep(await self._store.finish(over, kept=kept))

    async def renew(self) -> None:
        """Renews the lease, and writes progress, until it is cancelled or the lease is lost."""
        step = min(self._lease_seconds / 3, _PERSIST_SECONDS)
        renewed = time.monotonic()
        while not self.lost:
            await asyncio.sleep(step)
            if not self._dirty and time.monotonic() - renewed < self._lease_seconds / 3:
                continue
            try:
                await self.write()
                renewed = time.monotonic()
            except LeaseLost:
                break
            except SiloError as error:
                _log.warning(
                    "the lease of %s is not renewed: %s", self._operation.name, error.reason
                )
        self._lost = True
        self.interrupted.set()

    def _keep(self, stored: Operation) -> None:
        self._operation = stored
        if stored.cancel_requested and not self._rolling_back:
            self.interrupted.set()
        self._feed.publish(self.operation)

    def _with_progress(self, operation: Operation) -> Operation:
        if not self._progress:
            return operation
        steps = tuple(
            replace(step, **self._progress) if step.name == self._step else step
            for step in operation.steps
        )
        return replace(operation, steps=steps)

    def _require_held(self) -> None:
        if self.lost:
            raise LeaseLost
