"""Ends the process at named moments of an operation, so that tests kill it exactly there (development only)."""

from __future__ import annotations

import os
from pathlib import Path

_EXIT_CODE = 137
"""As of a process that SIGKILL ended."""


class CrashPoint:
    """Moments of steps, `{kind}/{step}:{moment}`, at each of which the process ends once in a home's life.

    The moments are `begun` (the record says that the step has begun), `worked` (the work is done, the record does
    not say so) and `done` (it does), and `undoing`, `unworked` and `undone` for a step that is taken back.
    """

    def __init__(self, at: str, *, marker: Path) -> None:
        """Takes the moments, with commas between them, and the file that lists those at which it has ended."""
        self._left = {moment for moment in at.split(",") if moment}
        self._marker = marker
        if self._left and marker.exists():
            self._left -= set(marker.read_text().splitlines())

    def reach(self, kind: str, step: str, moment: str) -> None:
        """Ends the process where this is one of the moments; nothing is closed, flushed or told."""
        at = f"{kind}/{step}:{moment}"
        if at not in self._left:
            return
        self._marker.parent.mkdir(parents=True, exist_ok=True)
        with self._marker.open("a") as marker:
            marker.write(at + "\n")
        os._exit(_EXIT_CODE)
