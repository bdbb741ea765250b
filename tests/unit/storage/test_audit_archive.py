"""The archive of the audit trail: what it takes, finds and removes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from boundary.audit_scope import audit_area
from boundary.errors import Aborted, FailedPrecondition
from boundary.guard import GuardViolation
from boundary.trail.records import digest_of
from boundary.trail.statements import Signer
from boundary.trail.verification import verify
from services.storage import audit_query
from services.storage.audit_archive import AuditArchive
from services.storage.audit_guard import GuardedArchive
from services.storage.audit_query import Wanted, find
from services.storage.files import FileObjects
from tests.contexts import make_context

ALL = Wanted(start="2024-01-01T00:00:00.000Z", end="2025-01-01T00:00:00.000Z")


class Writer:
    """A writer that makes parts of records at the times that a test says."""

    def __init__(self, service: str = "data") -> None:
        self.signer = Signer(service, secrets.token_bytes(32))
        self.name = self.signer.name
        self._ends: dict[str, tuple[int, str]] = {}

    def part(self, chain: str, times: Iterable[str], **facts: Any) -> bytes:
        seq, prev = self._ends.get(chain, (0, ""))
        lines, time = [], ""
        for time in times:
            seq += 1
            record = {
                "writer": self.name,
                "chain": chain,
                "seq": seq,
                "prev": prev,
                "time": time,
                "tenant": chain,
                "principal": "alice",
                "method": "s/Get",
                "resource": "r",
                "decision": "ALLOWED",
                **facts,
            }
            lines.append(orjson.dumps(record))
            prev = digest_of(lines[-1])
        self._ends[chain] = (seq, prev)
        head = self.signer.sign("head", chain=chain, seq=seq, digest=prev, time=time)
        return b"\n".join((*lines, head.line()))


def at(*moments: str, day: str = "2024-01-15") -> list[str]:
    return [f"{day}T{moment}Z" for moment in moments]


@pytest.fixture
def objects(files: FileObjects) -> GuardedArchive:
    return GuardedArchive(files, audit_area(region="local", bucket="b"))


@pytest.fixture
def archive(objects: GuardedArchive) -> AuditArchive:
    return AuditArchive(objects, signer=Signer("storage", secrets.token_bytes(32)))


async def pages(archive: AuditArchive, chain: str, wanted: Wanted, limit: int) -> list[Any]:
    found: list[Any] = []
    position = b""
    for _ in range(1000):
        page = await find(archive, chain, wanted, limit=limit, position=position)
        assert len(page.records) <= limit
        found += page.records
        if page.position is None:
            return found
        position = page.position
    raise AssertionError("the pages do not end")


async def export(archive: AuditArchive, chain: str, folder: Path) -> Path:
    async for path, content in archive.files(chain):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


async def several_writers(archive: AuditArchive) -> list[str]:
    """Parts of four writers whose times overlap, over two days; all times."""
    writers = [Writer("data"), Writer("data"), Writer("storage"), Writer("gateway")]
    every: list[str] = []
    for day in ("2024-01-15", "2024-01-16"):
        for hour in ("09", "10", "23"):
            for number, writer in enumerate(writers):
                for start in (0, 20, 40):
                    moments = [f"{hour}:00:{start + s:02d}.{number}00" for s in range(0, 20, 4)]
                    times = at(*moments, day=day)
                    every += times
                    service = writer.name.rpartition("-")[0]
                    await archive.append(writer.part("A", times), peer=service)
    return every


@pytest.mark.parametrize("budget", [1, 4000, 10**9])
@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_records_of_several_writers_come_newest_first_however_they_are_paged(
    archive: AuditArchive, monkeypatch: pytest.MonkeyPatch, budget: int, limit: int
) -> None:
    monkeypatch.setattr(audit_query, "MAX_READ_BYTES", budget)
    every = await several_writers(archive)
    found = await pages(archive, "A", ALL, limit)
    assert [record["time"] for record in found] == sorted(every, reverse=True)


async def test_a_page_looks_at_a_bounded_number_of_hours(
    archive: AuditArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = await several_writers(archive)
    monkeypatch.setattr(audit_query, "MAX_LISTS", 3)
    first = await find(archive, "A", ALL, limit=500, position=b"")
    assert first.position is not None
    assert len(first.records) < len(every)
    found = await pages(archive, "A", ALL, 500)
    assert [record["time"] for record in found] == sorted(every, reverse=True)


async def test_times_bound_what_is_found(archive: AuditArchive) -> None:
    every = await several_writers(archive)
    wanted = Wanted(start="2024-01-15T10:00:20.000Z", end="2024-01-16T09:00:08.100Z")
    found = [record["time"] for record in await pages(archive, "A", wanted, 11)]
    assert found == sorted((t for t in every if wanted.start <= t < wanted.end), reverse=True)
    assert found


async def test_what_is_chosen_is_found(archive: AuditArchive) -> None:
    writer = Writer()
    made = [
        {"principal": "bob"},
        {"method": "silo.X/List"},
        {"resource": "campaigns/1"},
        {"resource": "", "resources": ["create campaigns/2", "campaigns/3"]},
        {"decision": "REFUSED"},
    ]
    for number, facts in enumerate(made):
        part = writer.part("A", at(f"09:00:0{number}.000"), **facts)
        await archive.append(part, peer="data")

    async def chosen(**choice: str) -> list[int]:
        wanted = Wanted(start=ALL.start, end=ALL.end, **choice)
        return sorted(int(r["seq"]) - 1 for r in await pages(archive, "A", wanted, 2))

    assert await chosen(principal="bob") == [0]
    assert await chosen(method="List") == await chosen(method="silo.X/List") == [1]
    assert await chosen(method="Lis") == []
    assert await chosen(resource="campaigns/1") == [2]
    assert await chosen(resource="campaigns/*") == [2, 3]
    assert await chosen(resource="create campaigns/2") == [3]
    assert await chosen(decision="REFUSED") == [4]
    assert await chosen(decision="ALLOWED", resource="r") == [0, 1]
    assert await pages(archive, "a", ALL, 5) != []  # the slug is the folder, and ids share none
    assert await pages(archive, "B", ALL, 5) == []
    assert await pages(archive, "", ALL, 5) == []


async def test_what_a_crash_left_between_part_and_head_is_taken_up(
    archive: AuditArchive, objects: GuardedArchive, tmp_path: Path
) -> None:
    writer = Writer()
    one, two = (writer.part("A", at(f"09:00:0{number}.000")) for number in range(2))
    await archive.append(one, peer="data")
    path = f"trail/a/2024-01-15/09/0001000-0001000-{writer.name}-{2:016d}-{2:016d}.jsonl"
    await objects.put(path, two)
    await archive.append(two, peer="data")
    assert verify(await export(archive, "A", tmp_path)).findings == []


async def test_a_fork_is_refused(archive: AuditArchive) -> None:
    writer = Writer()
    one = writer.part("A", at("09:00:00.000"))
    two = writer.part("A", at("09:00:01.000"))
    writer._ends["A"] = (1, digest_of(one.partition(b"\n")[0]))
    other = writer.part("A", at("10:00:01.000"), principal="mallory")
    for content in (one, two):
        await archive.append(content, peer="data")
    with pytest.raises(FailedPrecondition):
        await archive.append(other, peer="data")


async def test_the_end_of_an_archived_trail_is_known(archive: AuditArchive, tmp_path: Path) -> None:
    writer = Writer()
    for number in range(3):
        await archive.append(writer.part("A", at(f"09:00:0{number}.000")), peer="data")
    folder = await export(archive, "A", tmp_path)
    assert verify(folder).findings == []
    next(folder.rglob(f"*-{3:016d}.jsonl")).unlink()
    (finding,) = verify(folder).findings
    assert "records 3 are missing at the end" in str(finding)


async def test_days_that_are_over_are_removed_and_no_loss(
    archive: AuditArchive, tmp_path: Path
) -> None:
    await several_writers(archive)
    assert await archive.expire("A", before=datetime(2024, 1, 15, 23, tzinfo=UTC)) == 0
    assert await archive.expire("A", before=datetime(2024, 1, 16, 23, tzinfo=UTC)) == 36
    assert await archive.expire("A", before=datetime(2024, 1, 16, 23, tzinfo=UTC)) == 0
    folder = await export(archive, "A", tmp_path / "after")
    result = verify(folder)
    assert (result.findings, result.expired, result.records) == ([], 4, 180)
    earliest = min(folder.glob("2024-01-16/09/*"))
    earliest.unlink()
    assert len(verify(folder).findings) == 1
    assert await archive.expire("A", before=datetime(2024, 1, 17, tzinfo=UTC)) == 36
    assert verify(await export(archive, "A", tmp_path / "nothing")).findings == []


async def test_a_removal_that_a_crash_interrupts_is_no_loss(
    archive: AuditArchive, objects: GuardedArchive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await several_writers(archive)

    async def some(paths: list[str]) -> int:
        await GuardedArchive.delete_many(objects, paths[::2])
        raise RuntimeError("killed")

    monkeypatch.setattr(objects, "delete_many", some)
    with pytest.raises(RuntimeError):
        await archive.expire("A", before=datetime(2024, 1, 16, 1, tzinfo=UTC))
    monkeypatch.undo()
    assert verify(await export(archive, "A", tmp_path / "between")).findings == []
    await archive.expire("A", before=datetime(2024, 1, 16, 1, tzinfo=UTC))
    assert verify(await export(archive, "A", tmp_path / "after")).findings == []


async def test_two_that_add_to_one_chain_do_not_both_succeed(
    archive: AuditArchive, objects: GuardedArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer()
    await archive.append(writer.part("A", at("09:00:00.000")), peer="data")
    two = writer.part("A", at("09:00:01.000"))

    async def meanwhile(path: str, content: bytes, *, if_match: str = "") -> Any:
        if path.startswith("heads/"):
            await objects.replace(path, content)
        return await GuardedArchive.put(objects, path, content, if_match=if_match)

    monkeypatch.setattr(objects, "put", meanwhile)
    with pytest.raises(Aborted):
        await archive.append(two, peer="data")


async def test_the_archive_touches_no_tenants_objects(
    files: FileObjects, objects: GuardedArchive
) -> None:
    with pytest.raises(GuardViolation):
        GuardedArchive(files, make_context("A", audience="storage").objects)
    for path in ("../tenant-a/x", "trail/../../tenant-a/x", "."):
        with pytest.raises(GuardViolation):
            await objects.put(path, b"x")
        with pytest.raises(GuardViolation):
            await objects.delete_many([path])
        with pytest.raises(GuardViolation):
            await objects.list(under=path, folded=True, limit=1)
