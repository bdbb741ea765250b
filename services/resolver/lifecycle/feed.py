"""Tells those who watch an operation here of every change that is made here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from services.resolver.lifecycle.records import Operation


class Feed:
    """The newest state of the operations that this process works on, and who waits for the next.

    A watcher hears of the newest state alone; what came between is passed over.
    """

    def __init__(self) -> None:
        self._latest: dict[str, Operation] = {}
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self.closed = False

    def publish(self, operation: Operation) -> None:
        """Takes the newest state of an operation that is worked on here."""
        self._latest[operation.operation_id] = operation
        self.poke(operation.operation_id)

    def forget(self, operation_id: str) -> None:
        """The operation is no longer worked on here: the table knows it best."""
        self._latest.pop(operation_id, None)
        self.poke(operation_id)

    def latest(self, operation_id: str) -> Operation | None:
        """The newest state of an operation that is worked on here; None of any other."""
        return self._latest.get(operation_id)

    def poke(self, operation_id: str) -> None:
        """Lets the watchers of an operation look again."""
        for event in self._watchers.get(operation_id, ()):
            event.set()

    @contextmanager
    def watch(self, operation_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the operation may have changed, for as long as the block runs."""
        event = asyncio.Event()
        self._watchers.setdefault(operation_id, set()).add(event)
        try:
            yield event
        finally:
            watchers = self._watchers[operation_id]
            watchers.discard(event)
            if not watchers:
                del self._watchers[operation_id]

    def close(self) -> None:
        """Ends every watch; the process is stopping."""
        self.closed = True
        for operation_id in tuple(self._watchers):
            self.poke(operation_id)
