"""Pages of a list, from S3's own pages and a HeadObject for each object.

S3 lists keys with sizes and dates, not with media types, metadata and digests; those are asked for side by
side. A position is the key, below the prefix, after which the next page reads: it stays good whatever is
deleted meanwhile, and unlike S3's continuation tokens it names nothing outside the prefix that it is used with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from boundary.scope import ObjectPrefix
from services.storage.ports import MAX_LISTED, Listing, StoredObject
from services.storage.s3_description import OWN
from services.storage.s3_entries import Entries, is_own

_LAST = "\U0010ffff"
"""After a folder's name it makes a key after every key in the folder: no path holds this character, which Unicode
keeps unassigned, and none orders behind it."""


class Pager:
    """Reads one page."""

    def __init__(self, entries: Entries, prefix: ObjectPrefix, *, under: str, folded: bool) -> None:
        self._entries = entries
        self._prefix = prefix
        self._under = under
        self._folded = folded
        self._describing = asyncio.Semaphore(max(1, entries.calls.threads // 2))

    async def page(self, limit: int, position: bytes | None) -> Listing:
        """At most limit entries after the position."""
        names, more = await self._names(limit, position)
        objects = await asyncio.gather(*(self._described(n) for n in names if not self._folder(n)))
        return Listing(
            # What has been deleted since it was listed is left out.
            objects=[stored for stored in objects if stored is not None],
            folders=[name for name in names if self._folder(name)],
            position=_position(self._after(names[-1])) if more else None,
        )

    async def _names(self, limit: int, position: bytes | None) -> tuple[list[str], bool]:
        """The paths and folders of a page in order, and whether there are more."""
        names: list[str] = []
        after, truncated = _place(position), True
        while truncated:
            answer = await self._answer(after, min(limit - len(names) + 1, MAX_LISTED))
            truncated = bool(answer.get("IsTruncated"))
            found = sorted(self._found(answer), key=str.encode)
            if not found:
                break
            after = self._after(found[-1])
            if after.startswith(OWN):
                after = OWN + _LAST
            names += [name for name in found if not name.startswith(OWN)]
            if len(names) > limit:
                return names[:limit], True
        return names, False

    async def _answer(self, after: str, count: int) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "Bucket": self._prefix.bucket,
            "Prefix": self._prefix.key(self._under),
            "MaxKeys": count,
        }
        if after:
            arguments["StartAfter"] = self._prefix.key(after)
        if self._folded:
            arguments["Delimiter"] = "/"
        answer = await self._entries.calls.call(
            partial(self._entries.client.list_objects_v2, **arguments)
        )
        return dict(answer)

    def _found(self, answer: dict[str, Any]) -> Iterator[str]:
        for listed in answer.get("Contents", ()):
            yield self._prefix.path(listed["Key"])
        for folder in answer.get("CommonPrefixes", ()):
            yield self._prefix.path(folder["Prefix"])

    def _folder(self, name: str) -> bool:
        return self._folded and name.endswith("/")

    def _after(self, name: str) -> str:
        """The place after an object, or after a folder with all that is in it."""
        return name + _LAST if self._folder(name) else name

    async def _described(self, path: str) -> StoredObject | None:
        async with self._describing:
            return await self._entries.describe(self._prefix, path)


_FEW = 8
"""Up to this many objects are asked for one by one, more are looked for in a page of the list first."""


async def present_among(
    entries: Entries, prefix: ObjectPrefix, paths: Sequence[str]
) -> dict[str, str]:
    """Those of the paths at which there are objects, with their S3 ETags.

    Read from the list where the paths lie close together, as those of a page do, else one by one.
    """
    wanted = sorted({path for path in paths if not is_own(path)}, key=str.encode)
    found: dict[str, str] = {}
    if len(wanted) > _FEW:
        listed, last = await _listed(entries, prefix, wanted[0])
        found = {path: listed[path] for path in wanted if path in listed}
        wanted = [path for path in wanted if last is not None and path.encode() > last.encode()]
    few_at_a_time = asyncio.Semaphore(max(1, entries.calls.threads // 2))

    async def find(path: str) -> None:
        async with few_at_a_time:
            present = await entries.find(prefix, path)
        if present is not None:
            found[path] = present.s3_etag

    await asyncio.gather(*(find(path) for path in wanted))
    return found


async def _listed(
    entries: Entries, prefix: ObjectPrefix, first: str
) -> tuple[dict[str, str], str | None]:
    """A page of the list from about a path on: paths with S3 ETags, and the last path if more follow."""
    answer = await entries.calls.call(
        partial(
            entries.client.list_objects_v2,
            Bucket=prefix.bucket,
            Prefix=prefix.prefix,
            # Begins after the key that is named; that of the path without its last character is a key before.
            StartAfter=prefix.key(first[:-1]),
            MaxKeys=MAX_LISTED,
        )
    )
    listed = {prefix.path(item["Key"]): item["ETag"] for item in answer.get("Contents", ())}
    truncated = bool(answer.get("IsTruncated"))
    return listed, max(listed, key=str.encode, default="") if truncated else None


def _place(position: bytes | None) -> str:
    return (position or b"").decode(errors="replace")


def _position(place: str) -> bytes:
    return place.encode()
