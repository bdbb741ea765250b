"""How a step says that its operation does not go on for now."""

from __future__ import annotations

from boundary.errors import SiloError


class WaitUntil(Exception):
    """A step has nothing to do before a moment; the operation waits, and begins the step again then.

    Attributes:
        moment: microseconds since the epoch.
        detail: what is waited for, for people.
    """

    def __init__(self, moment: int, detail: str) -> None:
        super().__init__(detail)
        self.moment = moment
        self.detail = detail


class Blocked(Exception):
    """A step may not go on until somebody clears something; the operation looks again from time to time.

    Attributes:
        error: what is in the way.
        untouched: whether nothing was done since the point of no return, so that the operation is before it again.
    """

    def __init__(self, error: SiloError, *, untouched: bool = False) -> None:
        super().__init__(error.reason)
        self.error = error
        self.untouched = untouched
