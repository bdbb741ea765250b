"""Items as they are stored, a line of JSON each: how they move from one place of a tenant to another.

A line is `{"sort_key": ..., "item": {...}, "expires_at": ...}` with every attribute: what makes retries safe,
writes that are under way, index keys. It never leaves the platform. Of CONFIG, the settings alone travel: the rest
is the resolver's.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from boundary.errors import InvalidArgument
from boundary.json_lines import Line
from boundary.scope import Partition
from services.data import config
from services.table.guard import SETTINGS_ATTRIBUTES
from services.table.ports import PRESENT, Item, Put, Stored, Update, Write


async def exact_lines(stored: AsyncIterator[Stored]) -> AsyncIterator[Line]:
    """The lines of items, in their order."""
    async for each in stored:
        item = each.item
        if each.sort_key == config.SORT_KEY:
            item = {name: item[name] for name in SETTINGS_ATTRIBUTES & item.keys()}
            if not item:
                continue
        yield Line(text=_text(each, item), position=each.sort_key.encode())


def exact_write(_: Partition, line: bytes) -> Write:
    """The write that stores a line's item as it was.

    Raises:
        InvalidArgument: the line is none.
    """
    try:
        # Not orjson, which reads integers of more than 64 bits as floats.
        value = json.loads(line)
        sort_key, item, expires_at = value["sort_key"], value["item"], value["expires_at"]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidArgument("line", "is no item", reason="ARCHIVE_LINE_INVALID") from error
    if sort_key == config.SORT_KEY:
        return Update(sort_key=sort_key, set=item, condition=PRESENT)
    return Put(sort_key=sort_key, item=item, expires_at=expires_at)


def _text(stored: Stored, item: Item) -> bytes:
    value = {"sort_key": stored.sort_key, "item": item, "expires_at": stored.expires_at}
    # With sorted keys, so that two tables that give attributes in other orders give the same line.
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
