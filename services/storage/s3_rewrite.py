"""Changing the metadata of objects on S3, and leaving nothing of what it was.

S3 changes metadata by a copy of the object onto itself. In a bucket with versions what was before stays as an
older version, so that version is deleted; and so is every older version that has such metadata already, for it
cannot be changed. Metadata that S3 would not take stands in records (`s3_description`), whose versions go, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

from boundary.errors import Unavailable
from boundary.scope import ObjectPrefix
from services.storage.ports import Described, Rewrite, Rewritten
from services.storage.s3_copy import Copy
from services.storage.s3_description import RECORDS, Present
from services.storage.s3_entries import Entries
from services.storage.s3_versions import Version, Versions

_ATTEMPTS = 10
"""How often an object is copied anew because it changed meanwhile."""

_LABEL = "silo"


class Rewriting:
    """Looks at the metadata of every version of one tenant, and changes it. Used once."""

    def __init__(self, entries: Entries, prefix: ObjectPrefix) -> None:
        self._entries = entries
        self._prefix = prefix
        self._versions = Versions(entries, prefix)
        self._few = asyncio.Semaphore(max(1, entries.calls.threads // 2))

    async def described(self) -> AsyncIterator[Sequence[Described]]:
        """See PurgeableObjects.described. Of records there may be more than one for an object."""
        async for page in self._versions.pages():
            found = await asyncio.gather(*(self._described(each) for each in page))
            yield [each for each in found if each is not None]

    async def run(self, rewrite: Rewrite) -> AsyncIterator[Rewritten]:
        """See PurgeableObjects.rewrite."""
        done = Rewritten()
        stale = await self._stale_records(rewrite)
        ids = {each.path.removeprefix(RECORDS) for each in stale}
        async for page in self._versions.pages():
            objects = [each for each in page if not each.own and not each.marker]
            for version, present in zip(objects, await self._presents(objects), strict=True):
                if present is None or not _is_stale(present, ids, rewrite):
                    continue
                if version.latest:
                    changed = await self._replace(version, rewrite)
                    done = replace(done, objects=done.objects + changed)
                else:
                    await self._versions.delete([version])
                    done = replace(done, versions=done.versions + 1)
            done = replace(done, examined=done.examined + len(objects))
            yield done
        for start in range(0, len(stale), 1000):
            await self._versions.delete(stale[start : start + 1000])
        yield replace(done, complete=True)

    async def _described(self, version: Version) -> Described | None:
        if version.marker:
            return None
        async with self._few:
            if version.own:
                record = await self._versions.record(version)
                if record is None:
                    return None
                return Described(path=record.path, metadata=record.metadata)
            present = await self._versions.present(version)
        if present is None:
            return None
        return Described(path=version.path, metadata=_own(present))

    async def _presents(self, versions: Sequence[Version]) -> Sequence[Present | None]:
        async def present(version: Version) -> Present | None:
            async with self._few:
                return await self._versions.present(version)

        return await asyncio.gather(*map(present, versions))

    async def _stale_records(self, rewrite: Rewrite) -> list[Version]:
        """The versions of records whose metadata is to be other."""
        stale: list[Version] = []
        async for page in self._versions.pages(under=RECORDS):
            for version in page:
                record = None if version.marker else await self._versions.record(version)
                if record is not None and rewrite(record.metadata) != record.metadata:
                    stale.append(version)
        return stale

    async def _replace(self, version: Version, rewrite: Rewrite) -> bool:
        """Copies an object onto itself with the metadata that it is to have; whether it had other."""
        for _ in range(_ATTEMPTS):
            present = await self._entries.find(self._prefix, version.path)
            if present is None:
                return False
            stored = await self._entries.described(self._prefix, version.path, present)
            if stored is None:
                continue
            metadata = rewrite(stored.metadata)
            if metadata == stored.metadata:
                return False
            copy = Copy(
                self._entries,
                self._prefix,
                replace(stored, metadata=metadata),
                # Not of a certain version: one that somebody has replaced meanwhile must not come back.
                replace(present, version=""),
                version.path,
                create_only=False,
            )
            if await copy.make() is not None:
                await self._forget(version.path, present)
                return True
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def _forget(self, path: str, before: Present) -> None:
        """Deletes the version that was copied. Without versions the copy has taken its place already."""
        if before.version:
            old = Version(path=path, id=before.version, latest=False, marker=False)
            await self._versions.delete([old])


def _own(present: Present) -> dict[str, str]:
    """The uploader's metadata that stands at the object itself."""
    return {name: value for name, value in present.metadata.items() if name != _LABEL}


def _is_stale(present: Present, stale_records: set[str], rewrite: Rewrite) -> bool:
    if present.label is not None and present.label.metadata_aside:
        return present.label.id in stale_records
    own = _own(present)
    return rewrite(own) != own
