"""Reads a tenant's items out and writes them in: portable for archives, exact for another place of the tenant.

Every call is resumable and repeatable: a position is the key behind which it goes on, and writing the same lines
again changes nothing. Memory is a page of items.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import Enum

from boundary.context import TenantContext
from boundary.errors import InvalidArgument
from boundary.json_lines import Line, Packed, Sum, bad_line, cut, packed
from boundary.scope import Partition
from services.data.exact import exact_lines, exact_write
from services.data.portable import portable_lines, portable_write
from services.table.ports import ConditionFailed, ItemTooLarge, Range, Stored, Table, Write

_PAGE = 100
_TOGETHER = 32
"""How many items are written side by side."""

_LAST_KEY = "\U0010ffff"
"""Behind every sort key: no id, date or metric holds it."""


class Form(Enum):
    """In which form items travel."""

    PORTABLE = "portable"
    EXACT = "exact"


@dataclass(slots=True, kw_only=True)
class Written:
    """How many lines were read, and how many items were written."""

    lines: int = 0
    items: int = 0


_LINES: dict[Form, Callable[[AsyncIterator[Stored]], AsyncIterator[Line]]] = {
    Form.PORTABLE: portable_lines,
    Form.EXACT: exact_lines,
}
_WRITES: dict[Form, Callable[[Partition, bytes], Write]] = {
    Form.PORTABLE: portable_write,
    Form.EXACT: exact_write,
}


class ItemTransport:
    """Carries the items of tenants."""

    def __init__(self, *, table: Table) -> None:
        self._table = table

    def read(
        self, tenant: TenantContext, form: Form, *, position: bytes, max_bytes: int
    ) -> AsyncIterator[Packed]:
        """The items behind a position, in the order of their keys.

        Raises:
            InvalidArgument: the position is none.
        """
        return packed(self._lines(tenant, form, position), max_bytes=max_bytes)

    async def write(
        self, tenant: TenantContext, form: Form, chunks: AsyncIterator[bytes]
    ) -> Written:
        """Writes the items of lines.

        In the portable form, what is there already stays as it is; in the exact form it is replaced.

        Raises:
            InvalidArgument: a line is not what it should be; the error names it. Those before it may be written.
        """
        written = Written()
        waiting: list[tuple[int, Write]] = []
        async for number, line in cut(chunks):
            waiting.append((number, _decoded(form, tenant.partition, number, line)))
            written.lines = number
            if len(waiting) == _TOGETHER:
                written.items += await self._write_all(tenant, waiting)
                waiting = []
        written.items += await self._write_all(tenant, waiting)
        return written

    async def summarize(self, tenant: TenantContext, form: Form) -> Sum:
        """The count and the digest of all items."""
        total = Sum()
        async for line in self._lines(tenant, form, b""):
            total.add(line.text)
        return total

    def _lines(self, tenant: TenantContext, form: Form, position: bytes) -> AsyncIterator[Line]:
        return _LINES[form](self._stored(tenant, _key_in(position)))

    async def _stored(self, tenant: TenantContext, after: str) -> AsyncIterator[Stored]:
        """The items behind a key, read consistently."""
        keys = Range(low=after, high=_LAST_KEY) if after else Range()
        position = None
        while True:
            page = await self._table.query(
                tenant.partition, keys=keys, limit=_PAGE, position=position
            )
            for stored in page.items:
                if stored.sort_key != after:
                    yield stored
            position = page.position
            if position is None:
                return
            await asyncio.sleep(0)  # a page was turned into text; others get their turn

    async def _write_all(self, tenant: TenantContext, writes: list[tuple[int, Write]]) -> int:
        done = await asyncio.gather(*(self._write(tenant, *each) for each in writes))
        return sum(done)

    async def _write(self, tenant: TenantContext, number: int, write: Write) -> bool:
        """Whether the item was not there before."""
        try:
            await self._table.write(tenant.partition, write)
        except ConditionFailed:
            return False
        except ItemTooLarge as error:
            raise bad_line(number, "is larger than 400 KB as an item") from error
        return True


def _decoded(form: Form, partition: Partition, number: int, line: bytes) -> Write:
    try:
        return _WRITES[form](partition, line)
    except InvalidArgument as error:
        raise bad_line(number, error.message) from error


def _key_in(position: bytes) -> str:
    try:
        return position.decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument("position", "is not one of an earlier call") from error
