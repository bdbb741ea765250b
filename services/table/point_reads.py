"""Reads of one row on the event loop's own thread.

A read by key takes about 5 microseconds where SQLite has the page in memory, and the way to a reader
thread and back costs 60 to 110 more (two thread switches; see docs/adr/0008-point-reads.md). In WAL
mode a reader waits for no writer. What is left is a page that must come from a slow disk: a read that
took long sends those that follow to the threads for a while.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SLOW_SECONDS = 0.02
"""A read that takes longer comes from a slow disk.

It is well above what a busy machine makes a thread wait for its turn, which sending reads to other
threads would only make worse.
"""

REST_SECONDS = 0.25
"""For how long the threads read after that."""

_CACHE_KIB = 8192


class PointReader:
    """A read-only connection for the event loop's thread. It never waits for a lock."""

    def __init__(self, path: Path) -> None:
        """Opens the file, which must be there and in WAL mode. Blocks."""
        self._connection = sqlite3.connect(
            path, timeout=0, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA query_only=ON")
        self._connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._rests_until = float("-inf")

    @property
    def ready(self) -> bool:
        """Whether reads are fast enough at present to be made here."""
        return time.monotonic() >= self._rests_until

    def row(self, sql: str, parameters: Sequence[object]) -> tuple[Any, ...] | None:
        """The first row, or None.

        Raises:
            sqlite3.Error: it cannot be read here now; a reader thread may still do it, or say why not.
        """
        started = time.monotonic()
        row: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
        ended = time.monotonic()
        if ended - started > SLOW_SECONDS:
            self._rests_until = ended + REST_SECONDS
        return row

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
