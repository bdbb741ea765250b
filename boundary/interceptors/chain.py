"""The chain: its stages in their order, and the reason for each place.

It is composed once, when a server is built, and is the same for all four call shapes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from boundary.interceptors.call import Call
from boundary.interceptors.stages import Stage

ORDER = (
    "identify",  # first, so that every record, log line and error names the call
    "measure",  # around everything else, so that refusals are counted too
    "audit",  # around all that can refuse, so that there is one record whatever the outcome
    "authenticate",  # before anything looks at what the caller says
    "reside",  # needs the verified context; refuses before any work is done for the tenant
    "track",  # refuses old generations; from here on, a change of the tenant's state ends the call
    "authorise",  # last, because it needs the principal; and before the request is parsed or validated
)
"""A server leaves stages out where it has no use for them, and never changes their order."""


class Chain:
    """Stages in the order of ORDER."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        """Takes the stages.

        Raises:
            ValueError: they are not in the order of ORDER, or one stands there twice.
        """
        places = [ORDER.index(stage.name) for stage in stages]
        if places != sorted(set(places)):
            raise ValueError(f"the chain's stages are out of order: {[s.name for s in stages]}")
        self._stages = tuple(stages)
        # What a stage leaves to its base class is left out of every call.
        self._begin = tuple(s.begin for s in stages if type(s).begin is not Stage.begin)
        self._enter = tuple(s.enter for s in stages if type(s).enter is not Stage.enter)
        self._leave = tuple(s.leave for s in reversed(stages) if type(s).leave is not Stage.leave)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the stages, in order."""
        return tuple(stage.name for stage in self._stages)

    async def enter(self, call: Call) -> None:
        """Takes the call through every stage.

        Raises:
            SiloError: a stage refused it.
        """
        for enter in self._enter:
            pending = enter(call)
            if pending is not None:
                await pending
        call.admitted = True

    async def begin(self, call: Call) -> None:
        """Says to every stage that a stream which passed the chain begins: the next message may be its first.

        Raises:
            SiloError: a stage lets no message through.
        """
        if call.opened:
            return
        call.opened = True
        for begin in self._begin:
            pending = begin(call)
            if pending is not None:
                await pending

    def leave(self, call: Call) -> None:
        """Takes the call back through every stage in reverse, however far it came.

        What was refused on the way in is measured and recorded on the way out.
        """
        call.seconds = time.monotonic() - call.started
        for leave in self._leave:
            leave(call)
