"""How much is tried again where an engine fails: a share of what succeeds (gRFC A6, retry throttling).

An engine that is in trouble is then asked less, and not several times as often as one that works.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class RetryBudget:
    """Tokens for repeats, over all calls of one engine: each takes one, each success gives a part of one back."""

    def __init__(
        self,
        *,
        most: float,
        gain: float = 0.1,
        per_second: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins full.

        Args:
            most: how many tokens there are at the most.
            gain: what a success gives back.
            per_second: what time gives back.
            clock: monotonic seconds.
        """
        self._most = most
        self._gain = gain
        self._per_second = per_second
        self._clock = clock
        self._left = most
        self._at = clock()

    def take(self) -> bool:
        """Whether a repeat may be made, which then counts."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give(self) -> None:
        """Counts a call that succeeded."""
        if self._left < self._most:
            self._left = min(self._most, self._left + self._gain)
