"""Where each tenant's chain stands, in bounded memory.

The chains that were written to last are held; what the others came to is read from their last signed head.
"""

from __future__ import annotations

import logging
import mmap
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import orjson

from boundary.trail.records import FIRST, Link, parse
from boundary.trail.statements import statement_of

_log = logging.getLogger(__name__)

HELD = 20_000
"""How many chains are held, some 300 bytes each."""


class Chain:
    """A chain's end.

    Attributes:
        seq: the number of its last record; 0 before the first.
        hash: that record's hash.
        headed: the number of the record that the last signed head names.
    """

    __slots__ = ("hash", "headed", "seq")

    def __init__(self, seq: int = 0, digest: str = FIRST) -> None:
        self.seq = seq
        self.hash = digest
        self.headed = seq


class Chains:
    """The chains of one writer."""

    def __init__(self, heads: Path, *, writer: str, held: int = HELD) -> None:
        """Takes the file of signed heads, the writer's name, and how many chains are held at the most."""
        self._heads = heads
        self._writer = writer
        self._held = held
        self._chains: OrderedDict[str, Chain] = OrderedDict()

    def of(self, name: str) -> Chain:
        """The chain of a tenant; a new one where the tenant has none."""
        chain = self._chains.get(name)
        if chain is None:
            chain = self._chains[name] = self._last_head(name)
        else:
            self._chains.move_to_end(name)
        return chain

    def take(self, link: Link, digest: str) -> None:
        """Takes a record that was found in a segment when the writer starts."""
        chain = self.of(link.chain)
        if link.seq > chain.seq:
            chain.seq, chain.hash = link.seq, digest

    def unsigned(self) -> Iterator[tuple[str, Chain]]:
        """The chains that have records after their last head."""
        return ((name, chain) for name, chain in self._chains.items() if chain.seq > chain.headed)

    @property
    def full(self) -> bool:
        """Whether more chains are held than should be."""
        return len(self._chains) > self._held

    def shed(self) -> None:
        """Lets go of the chains that were written to longest ago. All must have been signed."""
        while self.full:
            self._chains.popitem(last=False)

    def _last_head(self, name: str) -> Chain:
        begins = orjson.dumps({"kind": "head", "writer": self._writer, "chain": name})[:-1] + b","
        try:
            with (
                self._heads.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ):
                found = content.rfind(begins)
                if found < 0:
                    return Chain()
                line = content[found : content.find(b"\n", found)]
        except (FileNotFoundError, ValueError):  # an empty file cannot be mapped
            return Chain()
        try:
            head = statement_of(parse(line))
        except (
            ValueError
        ):  # what is to be recorded goes on all the same, and verification finds both
            _log.critical("%s has a line that is no statement: a chain begins anew", self._heads)
            return Chain()
        return Chain(head.seq, head.hash)
