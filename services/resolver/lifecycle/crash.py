"""Ends the process at a named moment of an operation, so that tests kill it exactly there (development only)."""

from __future__ import annotations

import os
from pathlib import Path

_EXIT_CODE = 137
"""As of a process that SIGKILL ended."""


class CrashPoint:
    """One moment of one step, `{kind}/{step}:{moment}`, at which the process ends, once in a home's life.

    The moments are `begun` (the record says that the step has begun), `worked` (the work is done, the record does
    not say so) and `done` (it does), and `undoing`, `unworked` and `undone` for a step that is taken back.
    """

    def __init__(self, at: str, *, marker: Path) -> None:
        """Takes the moment, never where empty, and the file that tells that the process has ended there."""
        self._at = at
        self._marker = marker

    def reach(self, kind: str, step: str, moment: str) -> None:
        """Ends the process where this is the moment; nothing is closed, flushed or told."""
        if not self._at or self._at != f"{kind}/{step}:{moment}" or self._marker.exists():
            return
        self._marker.parent.mkdir(parents=True, exist_ok=True)
        self._marker.write_text(self._at)
        os._exit(_EXIT_CODE)
