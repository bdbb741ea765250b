"""One person, by e-mail address, as an erasure looks for them.

Addresses are compared whatever the case, the local part too: the services compare them so wherever they look one
up, and an erasure that told `Anna@` from `anna@` would leave one of them behind.
"""

from __future__ import annotations

import re
from functools import cached_property

from boundary.errors import InvalidArgument

MAX_ADDRESS = 320
"""Characters; the longest recipient of an event."""

_ADDRESS = re.compile(
    r"[^\s@\x00-\x1f\x7f](?:[^@\x00-\x1f\x7f]*[^\s@\x00-\x1f\x7f])?@[^\s@\x00-\x1f\x7f]+"
)
_BEFORE = r"(?<![\w.%+-])"
_BEHIND = r"(?![\w-]|\.\w)"
"""What would make an address a part of a longer one: of `joanna@example.com`, of `anna@example.com.au`."""


class DataSubject:
    """A person, by address. Compares, and never shows the address in a text of its own.

    Attributes:
        key: the lower-cased address.
    """

    __slots__ = ("__dict__", "key")

    def __init__(self, address: str) -> None:
        self.key = address.lower()

    @classmethod
    def parse(cls, raw: str, *, field: str) -> DataSubject:
        """The person with the address in raw.

        Raises:
            InvalidArgument: raw is no address; the error does not repeat it.
        """
        if len(raw) > MAX_ADDRESS or _ADDRESS.fullmatch(raw) is None:
            raise InvalidArgument(field, "must be an e-mail address", reason="INVALID_EMAIL")
        return cls(raw)

    def has(self, address: object) -> bool:
        """Whether an address is the person's."""
        return isinstance(address, str) and address.lower() == self.key

    def mentioned_in(self, text: str) -> bool:
        """Whether a text holds the address, and not merely a longer one that it is a part of."""
        lowered = text.lower()
        return self.key in lowered and self._pattern.search(lowered) is not None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(_BEFORE + re.escape(self.key) + _BEHIND)
