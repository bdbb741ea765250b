"""The embedded bucket: content in files, metadata in SQLite.

An upload goes into a content file of its own; one metadata transaction then makes it the object and the file of
the object before it a leftover, which is removed. What a crash leaves between those steps, `sweep` removes.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from boundary.errors import NotFound, Unavailable, etag_mismatch
from boundary.scope import ObjectPrefix
from services.embedded.sqlite import Database
from services.storage.content import ContentDirectory, Draft, Reader, batches
from services.storage.files_rules import RULES_SCHEMA, FileRules
from services.storage.index import SCHEMA, Entry, ObjectIndex, check
from services.storage.ports import (
    MAX_LISTED,
    WHOLE,
    Contents,
    Described,
    Listing,
    Rewrite,
    Rewritten,
    Span,
    StoredObject,
    Upload,
)
from services.storage.transfer import Disk, FileContent, Intake

T = TypeVar("T")

_log = logging.getLogger(__name__)

_ATTEMPTS = 10
"""How often a read starts again because the object was replaced between its metadata and its content."""

_SWEEP_BATCH = 256
_UNDER_WAY_SECONDS = 10.0


class FileObjects:
    """Objects in a directory of this machine. Open it with `open`, end it with `close`."""

    def __init__(self, root: Path, *, threads: int = 8) -> None:
        self._database = Database(root / "objects.sqlite")
        self._index = ObjectIndex(self._database)
        self._content = ContentDirectory(root / "content")
        self._disk = Disk(threads)
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self) -> None:
        """Creates what is not there yet. Blocks."""
        self._content.create()
        self._database.open(SCHEMA + RULES_SCHEMA)

    def close(self) -> None:
        """Lets go of the directory. Blocks; call it when nothing is under way, see `settle`."""
        self._disk.close()
        self._database.close()

    async def settle(self) -> None:
        """Waits for what callers no longer wait for, such as the removal of a cancelled upload."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def maintain(self) -> None:
        """Sweeps, then waits to be cancelled and settles. A server runs it in the background."""
        try:
            removed = await self.sweep()
            _log.info("content files left behind and removed: %d", removed)
            await asyncio.Event().wait()
        finally:
            await self.settle()

    def rules(self) -> FileRules:
        """The rules of tenants for these objects."""
        return FileRules(self._database, self.expire)

    async def expire(self, prefix: ObjectPrefix, under: str, before: datetime) -> int:
        """Deletes the objects whose paths begin so and that were stored before; how many there were."""
        before_us, removed = round(before.timestamp() * 1e6), 0
        while True:
            entries = await self._through(self._expire(prefix, under, before_us))
            removed += entries
            if entries < _SWEEP_BATCH:
                return removed

    async def sweep(self) -> int:
        """Removes content files that crashes have left behind; says how many. Safe while others write."""
        removed = 0
        for folder in self._content.folders:
            names = await self._disk.run(self._content.names, folder)
            for batch in batches(names, _SWEEP_BATCH):
                known = await self._index.known(batch)
                for name in batch:
                    if name not in known:
                        removed += await self._remove_leftover(name)
        return removed

    async def put(
        self, prefix: ObjectPrefix, path: str, content: AsyncIterator[bytes], upload: Upload
    ) -> StoredObject:
        """See Objects.put."""
        if upload.create_only or upload.if_match:
            # Asked again when the content is there; asked now to spare the caller a vain upload.
            present = await self._index.find(prefix, path)
            check(path, present, create_only=upload.create_only, if_match=upload.if_match)
        draft = self._content.draft()
        await self._drafted(draft, Intake(draft, self._disk).take(content, upload.sha256))
        stored = StoredObject(
            path=path,
            size=draft.size,
            content_type=upload.content_type,
            sha256=draft.sha256,
            etag=secrets.token_hex(16),
            metadata=dict(upload.metadata),
            update_time=datetime.now(UTC),
        )
        return await self._through(self._keep(prefix, draft, stored, upload))

    async def get(
        self, prefix: ObjectPrefix, path: str, *, span: Span = WHOLE, if_match: str = ""
    ) -> FileContent:
        """See Objects.get."""
        for _ in range(_ATTEMPTS):
            entry = await self._found(prefix, path, if_match=if_match, field="if_match")
            start, length = span.within(entry.object.size)
            reader = Reader(self._content.path(entry.content))
            content = FileContent(entry.object, start, length, reader, self._disk)
            try:
                await self._disk.run(reader.open)
            except FileNotFoundError:
                continue
            except BaseException:
                content.close()
                raise
            return content
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def head(self, prefix: ObjectPrefix, path: str) -> StoredObject | None:
        """See Objects.head."""
        entry = await self._index.find(prefix, path)
        return None if entry is None else entry.object

    async def list(
        self,
        prefix: ObjectPrefix,
        *,
        under: str,
        folded: bool,
        limit: int,
        position: bytes | None = None,
    ) -> Listing:
        """See Objects.list."""
        return await self._index.page(
            prefix, under=under, folded=folded, limit=min(limit, MAX_LISTED), position=position
        )

    async def copy(
        self,
        prefix: ObjectPrefix,
        source: str,
        destination: str,
        *,
        source_if_match: str = "",
        create_only: bool = False,
    ) -> StoredObject:
        """See Objects.copy. The copy is a hard link where the file system has them."""
        for _ in range(_ATTEMPTS):
            entry = await self._found(
                prefix, source, if_match=source_if_match, field="source_if_match"
            )
            draft = self._content.draft()
            try:
                await self._drafted(draft, self._disk.run(draft.link, entry.content))
            except FileNotFoundError:
                continue
            original = entry.object
            stored = StoredObject(
                path=destination,
                size=original.size,
                content_type=original.content_type,
                sha256=original.sha256,
                etag=secrets.token_hex(16),
                metadata=original.metadata,
                update_time=datetime.now(UTC),
            )
            upload = Upload(content_type=original.content_type, create_only=create_only)
            return await self._through(self._keep(prefix, draft, stored, upload))
        raise Unavailable("ENGINE_BUSY", "the source is being replaced over and over")

    async def delete(self, prefix: ObjectPrefix, path: str, *, if_match: str = "") -> None:
        """See Objects.delete."""
        await self._through(self._delete(prefix, path, if_match))

    async def delete_many(self, prefix: ObjectPrefix, paths: Sequence[str]) -> int:
        """See Objects.delete_many."""
        return await self._through(self._delete_many(prefix, paths))

    async def purge(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """See PurgeableObjects.purge.

        Uploads that were cut off a moment ago may still come to their end, so they are waited for; what a crash
        left of others has no name that says whose it is, and is swept.
        """
        if self._tasks:
            await asyncio.wait(tuple(self._tasks), timeout=_UNDER_WAY_SECONDS)
        deleted = 0
        while names := await self._through(self._index.remove_first(prefix, MAX_LISTED)):
            await self._through(self._unlink(*names))
            deleted += len(names)
            yield Contents(objects=deleted)
        await self.sweep()
        await self._index.scrub()
        yield Contents(objects=deleted, complete=True)

    async def survey(self, prefix: ObjectPrefix) -> AsyncIterator[Contents]:
        """See PurgeableObjects.survey. There are no versions, and an upload has no place before it ends."""
        yield Contents(objects=await self._index.count(prefix), complete=True)

    async def described(self, prefix: ObjectPrefix) -> AsyncIterator[Sequence[Described]]:
        """See PurgeableObjects.described."""
        async for page in self._pages(prefix):
            yield [Described(path=each.path, metadata=each.metadata) for each in page]

    async def rewrite(self, prefix: ObjectPrefix, rewrite: Rewrite) -> AsyncIterator[Rewritten]:
        """See PurgeableObjects.rewrite."""
        done = Rewritten()
        async for page in self._pages(prefix):
            changed = [await self._describe(prefix, each, rewrite) for each in page]
            done = Rewritten(
                examined=done.examined + len(page), objects=done.objects + sum(changed)
            )
            yield done
        await self._index.scrub()
        yield replace(done, complete=True)

    async def _pages(self, prefix: ObjectPrefix) -> AsyncIterator[Sequence[StoredObject]]:
        position = None
        while True:
            page = await self.list(
                prefix, under="", folded=False, limit=MAX_LISTED, position=position
            )
            yield page.objects
            if page.position is None:
                return
            position = page.position

    async def _describe(self, prefix: ObjectPrefix, stored: StoredObject, rewrite: Rewrite) -> bool:
        """Gives an object the metadata that it is to have; whether it had other."""
        for _ in range(_ATTEMPTS):
            metadata = rewrite(stored.metadata)
            if metadata == stored.metadata:
                return False
            if await self._index.describe(
                prefix, stored, metadata=metadata, etag=secrets.token_hex(16)
            ):
                return True
            present = await self.head(prefix, stored.path)
            if present is None:
                return False
            stored = present
        raise Unavailable("ENGINE_BUSY", "the object is being replaced over and over")

    async def _found(self, prefix: ObjectPrefix, path: str, *, if_match: str, field: str) -> Entry:
        entry = await self._index.find(prefix, path)
        if entry is None:
            raise NotFound(path)
        if if_match and entry.object.etag != if_match:
            raise etag_mismatch(path, field=field)
        return entry

    async def _keep(
        self, prefix: ObjectPrefix, draft: Draft, stored: StoredObject, upload: Upload
    ) -> StoredObject:
        entry = Entry(object=stored, content=draft.name)
        try:
            replaced = await self._index.put(
                prefix, entry, create_only=upload.create_only, if_match=upload.if_match
            )
        except Exception:
            # The engine may have failed after the write: only a sweep's questions tell whether it has.
            await self._disk.run(draft.release)
            await self._remove_leftover(draft.name)
            raise
        await self._disk.run(draft.release)
        if replaced is not None:
            await self._unlink(replaced.content)
        return stored

    async def _delete(self, prefix: ObjectPrefix, path: str, if_match: str) -> None:
        removed = await self._index.remove(prefix, path, if_match=if_match)
        await self._unlink(removed.content)

    async def _delete_many(self, prefix: ObjectPrefix, paths: Sequence[str]) -> int:
        removed = await self._index.remove_many(prefix, paths)
        await self._unlink(*(entry.content for entry in removed))
        return len(removed)

    async def _expire(self, prefix: ObjectPrefix, under: str, before_us: int) -> int:
        removed = await self._index.remove_before(
            prefix, under=under, before_us=before_us, limit=_SWEEP_BATCH
        )
        await self._unlink(*(entry.content for entry in removed))
        return len(removed)

    async def _unlink(self, *names: str) -> None:
        try:
            await self._disk.run(self._content.unlink, names)
        except Unavailable:
            _log.warning("content files were not removed and are left to the next sweep")

    async def _remove_leftover(self, name: str) -> bool:
        claim = await self._disk.run(self._content.claim, name)
        if claim is None:
            return False
        try:
            leftover = not await self._index.known([name])
            if leftover:
                await self._disk.run(self._content.unlink, [name])
            return leftover
        finally:
            os.close(claim)

    async def _drafted(self, draft: Draft, work: Coroutine[Any, Any, None]) -> None:
        """Does work on a draft; where that fails or is cancelled, nothing is left of the draft."""
        try:
            await work
        except BaseException:
            await self._through(self._disk.run(draft.discard))
            raise

    async def _through(self, work: Coroutine[Any, Any, T]) -> T:
        """Does work to its end, whether or not the caller waits for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)
