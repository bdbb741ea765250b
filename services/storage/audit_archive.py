"""The archive of the audit trail: what may be added, read and removed.

    audit/trail/{tenant}/{day}/{hour}/...jsonl   parts of chains (boundary/trail/parts.py)
    audit/heads/{tenant}/{writer}.jsonl          the head of each chain's last part
    audit/expired/{tenant}/{writer}.jsonl        the signed statement of what was removed of it

`{tenant}` is the slug, or `_` for the records of no known tenant. A chain's head file is what makes it one
chain: it is replaced only by the head of a part that goes on from it, under a condition on its etag.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from boundary.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from boundary.ids import TenantId, is_tenant_id, slug_of
from boundary.trail.parts import BrokenPart, read_part
from boundary.trail.records import FIRST, now, parse
from boundary.trail.statements import Signer, Statement, service_of, statement_of
from services.storage.audit_guard import GuardedArchive
from services.storage.ports import MAX_LISTED

_NO_TENANT = "_"

_HEADS = 20_000
"""How many chains' heads are held, each with its etag: a part that does not go on from the archive's is still
refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedPart:
    """A part as its name tells it.

    Attributes:
        path: where it is in the archive.
        started: the earliest time of a record in it, RFC 3339.
        ended: the latest.
        writer: whose chain.
        last: the number of the last record.
    """

    path: str
    started: str
    ended: str
    writer: str
    last: int


class AuditArchive:
    """The archive's operations."""

    def __init__(self, objects: GuardedArchive, *, signer: Signer) -> None:
        """Takes the archive's area, and what signs the statements of what was removed."""
        self._objects = objects
        self._signer = signer
        self._heads: OrderedDict[str, tuple[Statement, str]] = OrderedDict()

    async def append(self, content: bytes, *, peer: str) -> None:
        """Adds a part that goes on from what there is; one that is there already changes nothing.

        Raises:
            InvalidArgument: the part is not in the form or does not chain (`AUDIT_PART_BROKEN`).
            PermissionDenied: it is not a part of one of peer's own writers.
            FailedPrecondition: it does not go on from what there is (`AUDIT_CHAIN_BROKEN`).
            Aborted: another process adds to the same chain.
        """
        try:
            part = await asyncio.to_thread(read_part, content)
        except BrokenPart as error:
            raise InvalidArgument("content", str(error), reason="AUDIT_PART_BROKEN") from error
        if service_of(part.writer) != peer:
            raise PermissionDenied("AUDIT_WRITER_FOREIGN", "the part is another service's")
        folder = _folder_of(part.chain)
        head_path = f"heads/{folder}/{part.writer}.jsonl"
        head, etag = self._heads.get(head_path) or await self._statement(head_path)
        if head is not None and head.seq >= part.last:
            if head.seq == part.last and head.hash != part.head.hash:
                raise _broken("another part with these records is archived")
            return
        if (part.first, part.prev) != ((head.seq + 1, head.hash) if head else (1, FIRST)):
            self._heads.pop(head_path, None)  # another process may have gone on
            raise _broken("the part does not go on from the last one archived")
        await self._store(f"trail/{folder}/{part.name}", content)
        self._heads.pop(head_path, None)  # known again once it is replaced
        try:
            stored = await self._objects.put(head_path, part.head.line(), if_match=etag)
        except (AlreadyExists, Aborted) as error:
            raise Aborted("AUDIT_CHAIN_BUSY", "the chain is being added to") from error
        self._heads[head_path] = (part.head, stored.etag)
        if len(self._heads) > _HEADS:
            self._heads.popitem(last=False)

    async def days(self, chain: str) -> list[str]:
        """The days of which there are parts, `2024-01-15`, in order."""
        return await self._folders(f"trail/{_folder_of(chain)}/")

    async def hours(self, chain: str, day: str) -> list[str]:
        """The hours of a day of which there are parts, `00` to `23`, in order."""
        return await self._folders(f"trail/{_folder_of(chain)}/{day}/")

    async def parts(self, chain: str, day: str, hour: str) -> list[ArchivedPart]:
        """The parts of an hour, by the time of their first record."""
        paths = await self._paths(f"trail/{_folder_of(chain)}/{day}/{hour}/")
        return [_part_of(path, f"{day}T{hour}") for path in paths]

    async def content(self, part: ArchivedPart) -> bytes:
        """A part's lines.

        Raises:
            NotFound: it was removed meanwhile.
        """
        _, content = await self._objects.read(part.path)
        return content

    async def files(self, chain: str) -> AsyncIterator[tuple[str, bytes]]:
        """Every file of a tenant's trail, with its path below the tenant's: statements, then parts by time."""
        folder = _folder_of(chain)
        for kind in ("heads", "expired"):
            for path in await self._paths(f"{kind}/{folder}/"):
                _, content = await self._objects.read(path)
                yield f"{kind}/{path.rpartition('/')[2]}", content
        for day in await self.days(chain):
            for hour in await self.hours(chain, day):
                for part in await self.parts(chain, day, hour):
                    yield part.path.removeprefix(f"trail/{folder}/"), await self.content(part)

    async def expire(self, chain: str, *, before: datetime) -> int:
        """Removes the days that ended before a time; says how many parts.

        The statement of what is removed is there before anything is gone, and covers what a crash leaves.
        """
        removed = 0
        for day in await self.days(chain):
            if day >= before.strftime("%Y-%m-%d"):
                break
            removed += await self._expire_day(chain, day)
        return removed

    async def _expire_day(self, chain: str, day: str) -> int:
        parts = [
            part
            for hour in await self.hours(chain, day)
            for part in await self.parts(chain, day, hour)
        ]
        newest: dict[str, ArchivedPart] = {}
        for part in parts:
            known = newest.get(part.writer)
            if known is None or part.last > known.last:
                newest[part.writer] = part
        for writer, part in newest.items():
            head = read_part(await self.content(part)).head
            path = f"expired/{_folder_of(chain)}/{writer}.jsonl"
            known_expiry, _ = await self._statement(path)
            if known_expiry is None or known_expiry.seq < head.seq:
                expiry = self._signer.sign(
                    "expiry",
                    chain=chain,
                    seq=head.seq,
                    digest=head.hash,
                    time=now(),
                    writer=writer,
                )
                await self._objects.replace(path, expiry.line())
        paths = [part.path for part in parts]
        for start in range(0, len(paths), MAX_LISTED):
            await self._objects.delete_many(paths[start : start + MAX_LISTED])
        return len(paths)

    async def _store(self, path: str, content: bytes) -> None:
        try:
            await self._objects.put(path, content)
        except AlreadyExists as error:  # a crash came between this and the head
            _, present = await self._objects.read(path)
            if present != content:
                raise _broken("another part with this name is archived") from error

    async def _statement(self, path: str) -> tuple[Statement | None, str]:
        try:
            stored, content = await self._objects.read(path)
        except NotFound:
            return None, ""
        return statement_of(parse(content)), stored.etag

    async def _folders(self, under: str) -> list[str]:
        found: list[str] = []
        position: bytes | None = None
        while True:
            page = await self._objects.list(
                under=under, folded=True, limit=MAX_LISTED, position=position
            )
            found += [folder.removeprefix(under).rstrip("/") for folder in page.folders]
            position = page.position
            if position is None:
                return found

    async def _paths(self, under: str) -> list[str]:
        found: list[str] = []
        position: bytes | None = None
        while True:
            page = await self._objects.list(
                under=under, folded=False, limit=MAX_LISTED, position=position
            )
            found += [each.path for each in page.objects]
            position = page.position
            if position is None:
                return found


def _folder_of(chain: str) -> str:
    """The folder of a tenant.

    Raises:
        InvalidArgument: it is not a tenant's id.
    """
    if not chain:
        return _NO_TENANT
    if not is_tenant_id(chain):
        raise InvalidArgument("tenant_id", "is not a tenant's id", reason="INVALID_TENANT_ID")
    return slug_of(TenantId(chain))


def _part_of(path: str, hour: str) -> ArchivedPart:
    name = path.rpartition("/")[2].removesuffix(".jsonl")
    started, ended, rest = name.split("-", 2)
    writer, _, last = rest.rsplit("-", 2)
    return ArchivedPart(
        path=path,
        started=_time(hour, started),
        ended=_time(hour, ended),
        writer=writer,
        last=int(last),
    )


def _time(hour: str, within: str) -> str:
    return f"{hour}:{within[:2]}:{within[2:4]}.{within[4:]}Z"


def _broken(what: str) -> FailedPrecondition:
    return FailedPrecondition("AUDIT_CHAIN_BROKEN", what)
