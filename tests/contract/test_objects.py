"""The objects port: one suite over every adapter."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import resource
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

import pytest

from boundary.context import TenantContext, serving
from boundary.errors import (
    Aborted,
    AlreadyExists,
    InvalidArgument,
    NotFound,
    OutOfRange,
    ResourceExhausted,
)
from boundary.guard import GuardViolation
from boundary.scope import ObjectPrefix
from services.storage.content import ContentDirectory
from services.storage.files import FileObjects
from services.storage.guard import GuardedObjects
from services.storage.ports import (
    CHUNK_BYTES,
    WHOLE,
    Listing,
    Objects,
    PurgeableObjects,
    Span,
    StoredObject,
    Upload,
)
from services.storage.purge_guard import GuardedPurgeableObjects
from tests.contexts import make_context, make_lifecycle_context
from tests.sealing import layered

T = TypeVar("T")

TEXT = Upload(content_type="text/plain")


@pytest.fixture(scope="module")
def tenant() -> TenantContext:
    return make_context("a", audience="storage")


@pytest.fixture(scope="module")
def prefix(tenant: TenantContext) -> ObjectPrefix:
    return tenant.objects


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[FileObjects]:
    adapter = FileObjects(tmp_path)
    adapter.open()
    yield adapter
    await _close(adapter)


async def _close(adapter: FileObjects) -> None:
    await adapter.settle()
    await asyncio.to_thread(adapter.close)


@pytest.fixture(params=["plain", "sealed"])
async def objects(
    request: pytest.FixtureRequest, files: FileObjects, tmp_path: Path
) -> AsyncIterator[Objects]:
    """The embedded bucket, without and with the layer that encrypts."""
    async with layered(files, request.param, tmp_path / "keys") as over:
        yield over


@pytest.fixture
def purgeable(files: FileObjects) -> PurgeableObjects:
    """The embedded bucket, for what removes and surveys: below the layer that encrypts."""
    return files


async def _stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _put(
    objects: Objects, prefix: ObjectPrefix, path: str, content: bytes = b"x", upload: Upload = TEXT
) -> StoredObject:
    return await objects.put(prefix, path, _stream(content), upload)


async def _read(
    objects: Objects, prefix: ObjectPrefix, path: str, span: Span = WHOLE, if_match: str = ""
) -> bytes:
    async with await objects.get(prefix, path, span=span, if_match=if_match) as content:
        read = b"".join([chunk async for chunk in content.chunks()])
        assert len(read) == content.length
        return read


async def _pages(
    objects: Objects, prefix: ObjectPrefix, *, under: str = "", folded: bool, limit: int
) -> list[Listing]:
    pages = []
    position = None
    while True:
        page = await objects.list(
            prefix, under=under, folded=folded, limit=limit, position=position
        )
        pages.append(page)
        if (position := page.position) is None:
            return pages


async def _paths(objects: Objects, prefix: ObjectPrefix, under: str = "") -> list[str]:
    pages = await _pages(objects, prefix, under=under, folded=False, limit=3)
    return [stored.path for page in pages for stored in page.objects]


def _content_files(root: Path) -> list[Path]:
    return [path for path in (root / "content").rglob("*") if path.is_file()]


class TestPutAndGet:
    async def test_content_and_description_come_back(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        upload = Upload(content_type="text/html; charset=utf-8", metadata={"author": "alice"})
        stored = await objects.put(prefix, "t/1.html", _stream(b"<p>", b"hi", b"</p>"), upload)
        assert stored == await objects.head(prefix, "t/1.html")
        assert (stored.size, stored.content_type) == (9, "text/html; charset=utf-8")
        assert stored.sha256 == hashlib.sha256(b"<p>hi</p>").hexdigest()
        assert stored.metadata == {"author": "alice"}
        assert await _read(objects, prefix, "t/1.html") == b"<p>hi</p>"

    async def test_an_empty_object(self, objects: Objects, prefix: ObjectPrefix) -> None:
        stored = await objects.put(prefix, "empty", _stream(), TEXT)
        assert (stored.size, stored.sha256) == (0, hashlib.sha256(b"").hexdigest())
        assert await _read(objects, prefix, "empty") == b""

    @pytest.mark.parametrize("piece", [1000, 300_000, CHUNK_BYTES, 3 * CHUNK_BYTES + 1])
    async def test_content_of_many_chunks(
        self, objects: Objects, prefix: ObjectPrefix, piece: int
    ) -> None:
        whole = os.urandom(5 * CHUNK_BYTES + 17)
        chunks = (whole[start : start + piece] for start in range(0, len(whole), piece))
        stored = await objects.put(prefix, "big", _stream(*chunks), TEXT)
        assert stored.sha256 == hashlib.sha256(whole).hexdigest()
        async with await objects.get(prefix, "big") as content:
            read = [chunk async for chunk in content.chunks()]
        assert b"".join(read) == whole
        assert max(map(len, read)) <= CHUNK_BYTES

    async def test_what_is_missing(self, objects: Objects, prefix: ObjectPrefix) -> None:
        assert await objects.head(prefix, "missing") is None
        with pytest.raises(NotFound):
            await objects.get(prefix, "missing")

    @pytest.mark.parametrize(
        ("span", "expected"),
        [
            (Span(offset=0, length=0), b"0123456789"),
            (Span(offset=3, length=4), b"3456"),
            (Span(offset=9, length=1), b"9"),
            (Span(offset=7, length=100), b"789"),
            (Span(offset=-3), b"789"),
            (Span(offset=-3, length=2), b"78"),
            (Span(offset=-100), b"0123456789"),
        ],
    )
    async def test_ranges(
        self, objects: Objects, prefix: ObjectPrefix, span: Span, expected: bytes
    ) -> None:
        await _put(objects, prefix, "digits", b"0123456789")
        assert await _read(objects, prefix, "digits", span) == expected

    async def test_ranges_beyond_the_end(self, objects: Objects, prefix: ObjectPrefix) -> None:
        await _put(objects, prefix, "digits", b"0123456789")
        with pytest.raises(OutOfRange):
            await objects.get(prefix, "digits", span=Span(offset=10))

    async def test_a_range_over_chunks(self, objects: Objects, prefix: ObjectPrefix) -> None:
        whole = os.urandom(3 * CHUNK_BYTES)
        await _put(objects, prefix, "big", whole)
        span = Span(offset=CHUNK_BYTES - 5, length=CHUNK_BYTES + 10)
        assert await _read(objects, prefix, "big", span) == whole[span.offset :][: span.length]

    async def test_a_download_is_consistent_while_the_object_changes(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        before = b"1" * (4 * CHUNK_BYTES)
        await _put(objects, prefix, "moving", before)
        async with await objects.get(prefix, "moving") as content:
            chunks = content.chunks()
            read = await anext(chunks)
            await _put(objects, prefix, "moving", b"2" * (4 * CHUNK_BYTES))
            await objects.delete(prefix, "moving")
            read += b"".join([chunk async for chunk in chunks])
        assert read == before


class TestConditions:
    async def test_create_only(self, objects: Objects, prefix: ObjectPrefix) -> None:
        once = Upload(content_type="text/plain", create_only=True)
        await _put(objects, prefix, "once", b"1", once)
        with pytest.raises(AlreadyExists):
            await _put(objects, prefix, "once", b"2", once)
        assert await _read(objects, prefix, "once") == b"1"

    async def test_if_match(self, objects: Objects, prefix: ObjectPrefix) -> None:
        first = await _put(objects, prefix, "doc", b"1")
        second = await _put(
            objects, prefix, "doc", b"2", Upload(content_type="a/b", if_match=first.etag)
        )
        assert second.etag != first.etag
        with pytest.raises(Aborted):
            await _put(
                objects, prefix, "doc", b"3", Upload(content_type="a/b", if_match=first.etag)
            )
        with pytest.raises(Aborted):
            await objects.get(prefix, "doc", if_match=first.etag)
        assert await _read(objects, prefix, "doc", if_match=second.etag) == b"2"

    async def test_if_match_where_nothing_is(self, objects: Objects, prefix: ObjectPrefix) -> None:
        with pytest.raises(Aborted):
            await _put(objects, prefix, "none", b"1", Upload(content_type="a/b", if_match="e"))

    async def test_the_same_content_again_has_another_etag(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        first = await _put(objects, prefix, "same", b"1")
        assert (await _put(objects, prefix, "same", b"1")).etag != first.etag

    async def test_expected_sha256(self, objects: Objects, prefix: ObjectPrefix) -> None:
        digest = hashlib.sha256(b"right").hexdigest()
        upload = Upload(content_type="text/plain", sha256=digest)
        await _put(objects, prefix, "sum", b"right", upload)
        with pytest.raises(InvalidArgument) as caught:
            await _put(objects, prefix, "sum", b"wrong", upload)
        assert caught.value.reason == "CHECKSUM_MISMATCH"
        assert await _read(objects, prefix, "sum") == b"right"

    async def test_of_concurrent_creators_one_wins(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        once = Upload(content_type="text/plain", create_only=True)
        outcomes = await asyncio.gather(
            *(_put(objects, prefix, "race", b"%d" % n, once) for n in range(12)),
            return_exceptions=True,
        )
        winners = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, StoredObject)]
        losers = [outcome for outcome in outcomes if isinstance(outcome, AlreadyExists)]
        assert (len(winners), len(losers)) == (1, 11)
        assert await _read(objects, prefix, "race") == b"%d" % winners[0]

    async def test_concurrent_writers_and_readers_never_mix(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        size = CHUNK_BYTES + 1000
        await _put(objects, prefix, "mix", b"z" * size)

        async def write(letter: int) -> None:
            for _ in range(5):
                await _put(objects, prefix, "mix", bytes((letter,)) * size)

        async def read() -> None:
            for _ in range(15):
                content = await _read(objects, prefix, "mix")
                assert len(content) == size
                assert len(set(content)) == 1

        await asyncio.gather(*(write(letter) for letter in b"abc"), read(), read())


class TestList:
    async def test_order_is_by_utf8_bytes(self, objects: Objects, prefix: ObjectPrefix) -> None:
        paths = ["a", "a b", "a/b", "a!", "a0", "B", "é", "z", "\uffdc", "😀", "a~", "ab"]
        for path in paths:
            await _put(objects, prefix, path)
        # Pages of five: SeaweedFS leaves out `a`, beside which there is `a/b`, where a page would end at it.
        pages = await _pages(objects, prefix, under="", folded=False, limit=5)
        listed = [stored.path for page in pages for stored in page.objects]
        assert listed == sorted(paths, key=str.encode)

    async def test_a_prefix_may_end_inside_a_segment(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        for path in ("t/a1", "t/a2/x", "t/b", "ta", "t_/a1", "t%/a", "T/a3"):
            await _put(objects, prefix, path)
        assert await _paths(objects, prefix, "t/a") == ["t/a1", "t/a2/x"]
        assert await _paths(objects, prefix, "t/") == ["t/a1", "t/a2/x", "t/b"]
        assert await _paths(objects, prefix, "t_") == ["t_/a1"]

    async def test_folders(self, objects: Objects, prefix: ObjectPrefix) -> None:
        for path in ("a", "d/1", "d/2", "d/e/3", "d-", "d0", "f/1", "g"):
            await _put(objects, prefix, path)
        (page,) = await _pages(objects, prefix, folded=True, limit=100)
        assert [stored.path for stored in page.objects] == ["a", "d-", "d0", "g"]
        assert page.folders == ["d/", "f/"]
        (page,) = await _pages(objects, prefix, under="d/", folded=True, limit=100)
        assert [stored.path for stored in page.objects] == ["d/1", "d/2"]
        assert page.folders == ["d/e/"]
        (page,) = await _pages(objects, prefix, under="d", folded=True, limit=100)
        assert [stored.path for stored in page.objects] == ["d-", "d0"]
        assert page.folders == ["d/"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 9])
    async def test_pages_count_objects_and_folders(
        self, objects: Objects, prefix: ObjectPrefix, limit: int
    ) -> None:
        for path in ("a", "d/1", "d/2", "d/e/3", "e", "f/1", "f/2", "g", "h/9", "i"):
            await _put(objects, prefix, path)
        pages = await _pages(objects, prefix, folded=True, limit=limit)
        counts = [len(page.objects) + len(page.folders) for page in pages]
        assert sum(counts) == 7
        assert all(count == limit for count in counts[:-1])
        assert counts[-1] > 0
        assert [stored.path for page in pages for stored in page.objects] == ["a", "e", "g", "i"]
        assert [folder for page in pages for folder in page.folders] == ["d/", "f/", "h/"]

    async def test_a_page_goes_on_after_a_deletion(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        for path in ("a", "b", "c", "d"):
            await _put(objects, prefix, path)
        page = await objects.list(prefix, under="", folded=False, limit=2)
        await objects.delete(prefix, "b")
        await objects.delete(prefix, "c")
        page = await objects.list(prefix, under="", folded=False, limit=2, position=page.position)
        assert [stored.path for stored in page.objects] == ["d"]

    async def test_neighbours_are_not_seen(self, objects: Objects) -> None:
        own = make_context("a", audience="storage").objects
        near = [make_context(name, audience="storage").objects for name in ("ab", "a-b", "b", "a0")]
        for neighbour in near:
            await _put(objects, neighbour, "secret", b"theirs")
            await _put(objects, neighbour, "b/secret", b"theirs")
        await _put(objects, own, "mine")
        assert await _paths(objects, own) == ["mine"]
        assert await objects.head(own, "secret") is None
        for position in (b"", b"\xff", b"../tenant-b/", b"zzzz"):
            page = await objects.list(own, under="", folded=True, limit=10, position=position)
            assert not page.folders
            assert {stored.path for stored in page.objects} <= {"mine"}
        assert await objects.delete_many(own, ["secret", "b/secret", "mine"]) == 1
        for neighbour in near:
            assert await _paths(objects, neighbour) == ["b/secret", "secret"]


class TestCopyAndDelete:
    async def test_a_copy_is_independent(self, objects: Objects, prefix: ObjectPrefix) -> None:
        upload = Upload(content_type="text/css", metadata={"k": "v"})
        source = await _put(objects, prefix, "from", b"body", upload)
        copy = await objects.copy(prefix, "from", "to/here")
        assert copy.etag != source.etag
        assert (copy.path, copy.size, copy.sha256) == ("to/here", 4, source.sha256)
        assert (copy.content_type, copy.metadata) == ("text/css", {"k": "v"})
        await _put(objects, prefix, "from", b"other")
        assert await _read(objects, prefix, "to/here") == b"body"
        await objects.delete(prefix, "from")
        assert await _read(objects, prefix, "to/here") == b"body"

    async def test_a_copy_onto_itself(self, objects: Objects, prefix: ObjectPrefix) -> None:
        before = await _put(objects, prefix, "self", b"body")
        assert (await objects.copy(prefix, "self", "self")).etag != before.etag
        assert await _read(objects, prefix, "self") == b"body"

    async def test_conditions_of_a_copy(self, objects: Objects, prefix: ObjectPrefix) -> None:
        source = await _put(objects, prefix, "from", b"1")
        await _put(objects, prefix, "taken", b"2")
        with pytest.raises(NotFound):
            await objects.copy(prefix, "missing", "to")
        with pytest.raises(AlreadyExists):
            await objects.copy(prefix, "from", "taken", create_only=True)
        with pytest.raises(Aborted) as caught:
            await objects.copy(prefix, "from", "to", source_if_match="stale")
        assert caught.value.field == "source_if_match"
        await objects.copy(prefix, "from", "to", source_if_match=source.etag, create_only=True)
        assert await _read(objects, prefix, "taken") == b"2"

    async def test_delete(self, objects: Objects, prefix: ObjectPrefix) -> None:
        stored = await _put(objects, prefix, "gone")
        with pytest.raises(Aborted):
            await objects.delete(prefix, "gone", if_match="stale")
        await objects.delete(prefix, "gone", if_match=stored.etag)
        assert await objects.head(prefix, "gone") is None
        with pytest.raises(NotFound):
            await objects.delete(prefix, "gone")

    async def test_delete_many(self, objects: Objects, prefix: ObjectPrefix) -> None:
        for path in ("a", "b", "c"):
            await _put(objects, prefix, path)
        assert await objects.delete_many(prefix, ["a", "c", "c", "missing"]) == 2
        assert await _paths(objects, prefix) == ["b"]


class TestCutOff:
    async def test_a_failing_stream_leaves_the_object_before_it(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        async def cut() -> AsyncIterator[bytes]:
            yield b"2" * (3 * CHUNK_BYTES)
            raise ConnectionResetError

        await _put(objects, prefix, "kept", b"1")
        with pytest.raises(ConnectionResetError):
            await objects.put(prefix, "kept", cut(), TEXT)
        assert await _read(objects, prefix, "kept") == b"1"

    async def test_a_cancelled_upload_leaves_nothing(
        self, objects: Objects, prefix: ObjectPrefix
    ) -> None:
        await _cancelled(objects, prefix)
        assert await objects.head(prefix, "cut") is None


async def _cancelled(objects: Objects, prefix: ObjectPrefix) -> None:
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"1" * (3 * CHUNK_BYTES)
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(objects.put(prefix, "cut", stalled(), TEXT))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class TestFiles:
    """What holds of the embedded adapter alone."""

    async def test_no_file_is_left(
        self, files: FileObjects, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        await _cancelled(files, prefix)
        wrong = Upload(content_type="a/b", sha256="0" * 64)
        with pytest.raises(InvalidArgument):
            await _put(files, prefix, "sum", b"1", wrong)
        assert _content_files(tmp_path) == []

    async def test_cancelled_at_any_moment_it_is_whole_or_nothing(
        self, files: FileObjects, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        content = b"1" * (2 * CHUNK_BYTES)
        for moment in range(40):
            task = asyncio.create_task(_put(files, prefix, f"m{moment}", content))
            await asyncio.sleep(moment / 4000)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await files.settle()
        stored = await _paths(files, prefix)
        assert len(_content_files(tmp_path)) == len(stored)
        for path in stored:
            assert await _read(files, prefix, path) == content

    async def test_replaced_and_deleted_content_is_removed(
        self, files: FileObjects, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        for number in range(5):
            await _put(files, prefix, "same", b"%d" % number)
        await files.copy(prefix, "same", "copy")
        assert len(_content_files(tmp_path)) == 2
        await files.delete(prefix, "same")
        await files.delete_many(prefix, ["copy"])
        assert _content_files(tmp_path) == []

    async def test_names_on_disk_are_not_the_callers(
        self, files: FileObjects, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        await _put(files, prefix, "customers/list.csv")
        (file,) = _content_files(tmp_path)
        assert len(file.name) == 32
        assert "list" not in str(file.relative_to(tmp_path))

    async def test_sweep_removes_leftovers_and_nothing_else(
        self, files: FileObjects, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        await _put(files, prefix, "kept", b"1")
        leftover = ContentDirectory(tmp_path / "content").draft()
        leftover.write(b"of a crash")
        assert await files.sweep() == 0  # somebody holds it
        leftover.release()
        assert await files.sweep() == 1
        assert await _read(files, prefix, "kept") == b"1"
        assert len(_content_files(tmp_path)) == 1

    async def test_sweeps_and_writers_do_not_meet(
        self, files: FileObjects, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        other = FileObjects(tmp_path)
        other.open()
        stop = asyncio.Event()

        async def sweep() -> None:
            while not stop.is_set():
                assert await other.sweep() == 0

        async def write(number: int) -> None:
            for turn in range(10):
                await _put(files, prefix, f"{number}/{turn}", b"1")
                await files.copy(prefix, f"{number}/{turn}", f"{number}/{turn}/copy")

        sweeping = asyncio.gather(sweep(), sweep())
        await asyncio.gather(*(write(number) for number in range(4)))
        stop.set()
        await sweeping
        for path in await _paths(files, prefix):
            assert await _read(files, prefix, path) == b"1"
        await _close(other)

    async def test_a_copy_without_hard_links(
        self, files: FileObjects, prefix: ObjectPrefix, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EMLINK, "too many links")

        whole = os.urandom(CHUNK_BYTES + 5)
        await _put(files, prefix, "from", whole)
        monkeypatch.setattr(os, "link", refuse)
        await files.copy(prefix, "from", "to")
        await files.delete(prefix, "from")
        assert await _read(files, prefix, "to") == whole

    async def test_a_file_system_that_takes_no_more(
        self, files: FileObjects, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        await _put(files, prefix, "kept", b"1")
        with _largest_file(4 * CHUNK_BYTES), pytest.raises(ResourceExhausted) as caught:
            await files.put(prefix, "kept", _stream(*[b"2" * CHUNK_BYTES] * 8), TEXT)
        assert caught.value.reason == "STORAGE_FULL"
        assert await _read(files, prefix, "kept") == b"1"
        assert len(_content_files(tmp_path)) == 1

    @pytest.mark.parametrize(
        "refusal", [("write", errno.ENOSPC), ("write", errno.EDQUOT), ("fsync", errno.ENOSPC)]
    )
    async def test_a_full_disk(
        self,
        files: FileObjects,
        prefix: ObjectPrefix,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        refusal: tuple[str, int],
    ) -> None:
        call, number = refusal

        def full(*_: object) -> int:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(ResourceExhausted) as caught:
                await _put(files, prefix, "new", b"2" * 3 * CHUNK_BYTES)
        assert caught.value.reason == "STORAGE_FULL"
        assert await files.head(prefix, "new") is None
        assert _content_files(tmp_path) == []

    async def test_what_was_acknowledged_survives_kill_9(
        self, prefix: ObjectPrefix, tmp_path: Path
    ) -> None:
        program = textwrap.dedent(
            """
            import asyncio, os, signal, sys
            from pathlib import Path
            from services.storage.files import FileObjects
            from services.storage.ports import Upload
            from tests.contexts import make_context

            async def once(content):
                yield content

            async def stalled():
                for _ in range(3):
                    yield b"2" * 2_000_000
                os.kill(os.getpid(), signal.SIGKILL)

            async def main():
                objects = FileObjects(Path(sys.argv[1]))
                objects.open()
                prefix = make_context("a", audience="storage").objects
                for n in range(5):
                    await objects.put(prefix, f"k{n}", once(b"1" * 2_000_000), Upload(content_type="a/b"))
                await objects.put(prefix, "cut", stalled(), Upload(content_type="a/b"))

            asyncio.run(main())
            """
        )
        root = Path(__file__).parents[2]
        killed = subprocess.run(  # noqa: ASYNC221 - nothing else runs in this test
            [sys.executable, "-c", program, str(tmp_path)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": f"{root}:{root / 'gen'}"},
            check=False,
        )
        assert killed.returncode == -9
        files = FileObjects(tmp_path)
        files.open()
        assert await files.sweep() == 1
        assert await _paths(files, prefix) == [f"k{n}" for n in range(5)]
        assert await _read(files, prefix, "k4") == b"1" * 2_000_000
        assert len(_content_files(tmp_path)) == 5
        await _close(files)


class TestPurge:
    """Taking a prefix away, and changing metadata without a trace."""

    @pytest.fixture
    def objects(self, purgeable: PurgeableObjects) -> PurgeableObjects:
        return purgeable

    async def test_everything_under_the_prefix_goes_and_nothing_beside_it(
        self, objects: PurgeableObjects, prefix: ObjectPrefix
    ) -> None:
        neighbours = [make_context(name, audience="storage").objects for name in ("ab", "a-b", "b")]
        for number in range(5):
            await _put(objects, prefix, f"f/{number}", b"1")
            await _put(objects, prefix, f"f/{number}", b"2")
        await objects.delete(prefix, "f/0")
        await _put(objects, prefix, "aside", b"3", Upload(content_type="a/b", metadata={"ü": "ä"}))
        for neighbour in neighbours:
            await _put(objects, neighbour, "f/1", b"n")
        before = await _last(objects.survey(prefix))
        assert before.objects == 5
        deleted = await _last(objects.purge(prefix))
        assert (deleted.objects, deleted.complete) == (5, True)
        assert deleted.count == before.count
        assert (await _last(objects.survey(prefix))).count == 0
        assert await _paths(objects, prefix) == []
        for neighbour in neighbours:
            assert await _read(objects, neighbour, "f/1") == b"n"
        again = await _last(objects.purge(prefix))
        assert (again.count, again.complete) == (0, True)

    async def test_an_upload_that_is_under_way_leaves_nothing(
        self, objects: PurgeableObjects, prefix: ObjectPrefix
    ) -> None:
        begun = asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * 6_000_000
            begun.set()
            await asyncio.Event().wait()

        uploading = asyncio.create_task(objects.put(prefix, "never", endless(), TEXT))
        await begun.wait()
        uploading.cancel()
        await asyncio.wait([uploading])
        assert (await _last(objects.purge(prefix))).complete
        assert (await _last(objects.survey(prefix))).count == 0

    async def test_metadata_is_rewritten_and_content_stays(
        self, objects: PurgeableObjects, prefix: ObjectPrefix
    ) -> None:
        def upload(**metadata: str) -> Upload:
            return Upload(content_type="text/csv", metadata=metadata)

        old = await _put(objects, prefix, "one", b"1", upload(to="anna", kept="yes"))
        await _put(objects, prefix, "many", b"2", upload(to="anna"))
        await _put(objects, prefix, "many", b"3", upload(kept="yes"))
        await _put(objects, prefix, "aside", b"4", upload(to="ännä anna", kept="yes"))
        other = await _put(objects, prefix, "other", b"5", upload(to="bert"))

        def without(metadata: Mapping[str, str]) -> Mapping[str, str]:
            return {name: value for name, value in metadata.items() if "anna" not in value}

        done = await _last(objects.rewrite(prefix, without))
        assert (done.objects, done.complete) == (2, True)
        one = await objects.head(prefix, "one")
        assert one is not None
        assert (one.metadata, one.content_type, one.sha256) == (
            {"kept": "yes"},
            "text/csv",
            old.sha256,
        )
        assert one.etag != old.etag
        assert await _read(objects, prefix, "one") == b"1"
        aside = await objects.head(prefix, "aside")
        assert aside is not None
        assert aside.metadata == {"kept": "yes"}
        assert await objects.head(prefix, "other") == other
        described = [each async for page in objects.described(prefix) for each in page]
        assert {each.path for each in described} == {"one", "many", "aside", "other"}
        assert not [each for each in described if "anna" in str(each.metadata)]
        assert (await _last(objects.rewrite(prefix, without))).objects == 0

    async def test_the_guard_lets_the_platforms_own_work_alone_through(
        self, objects: PurgeableObjects, tenant: TenantContext
    ) -> None:
        guarded = GuardedPurgeableObjects(objects)
        await _put(objects, tenant.objects, "mine")
        own_work = make_lifecycle_context("a", audience="storage")
        for context in (tenant, make_lifecycle_context("ab", audience="storage")):
            with serving(context):
                for call in (
                    lambda: guarded.purge(tenant.objects),
                    lambda: guarded.survey(tenant.objects),
                    lambda: guarded.described(tenant.objects),
                    lambda: guarded.rewrite(tenant.objects, dict),
                ):
                    with pytest.raises(GuardViolation):
                        await _last(call())
        assert await _paths(objects, tenant.objects) == ["mine"]
        with serving(own_work):
            assert (await _last(guarded.purge(own_work.objects))).objects == 1


async def _last(steps: AsyncIterator[T]) -> T:
    """The last step, after all before it."""
    return [step async for step in steps][-1]


def _everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


class TestFilesLeft:
    """What a purge leaves on this machine's disk."""

    async def test_nothing_of_a_purged_tenant_is_left_in_any_file(
        self, tmp_path: Path, files: FileObjects, prefix: ObjectPrefix
    ) -> None:
        neighbour = make_context("ab", audience="storage").objects
        canary = b"Zq7xCANARY"
        for number in range(60):
            upload = Upload(content_type="a/b", metadata={"who": canary.decode() * 20})
            await _put(files, prefix, f"{canary.decode()}/{number}", canary * 100, upload)
            await _put(files, neighbour, f"kept/{number}", b"NEIGHBOUR")
        await files.copy(prefix, f"{canary.decode()}/1", "copy")
        leftover = tmp_path / "content" / "00" / ("0" * 32)
        leftover.write_bytes(canary)  # as of an upload whose process was killed
        await _last(files.purge(prefix))
        assert canary not in _everything_in(tmp_path)
        assert len(_content_files(tmp_path)) == 60
        assert len(await _paths(files, neighbour)) == 60


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestGuard:
    """The guarded port serves the current context's prefix alone."""

    async def test_inside_the_tenants_own_call(
        self, objects: Objects, tenant: TenantContext
    ) -> None:
        guarded = GuardedObjects(objects)
        with serving(tenant):
            await _put(guarded, tenant.objects, "mine", b"1")
            await guarded.copy(tenant.objects, "mine", "too")
            assert await _read(guarded, tenant.objects, "too") == b"1"
            assert (await guarded.head(tenant.objects, "mine")) is not None
            assert await _paths(guarded, tenant.objects) == ["mine", "too"]
            await guarded.delete(tenant.objects, "mine")
            assert await guarded.delete_many(tenant.objects, ["too"]) == 1

    @pytest.mark.parametrize("current", ["none", "ab", "b"])
    async def test_elsewhere(self, objects: Objects, tenant: TenantContext, current: str) -> None:
        guarded, prefix = GuardedObjects(objects), tenant.objects
        await _put(objects, prefix, "mine", b"1")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: _put(guarded, prefix, "new"),
            lambda: guarded.get(prefix, "mine"),
            lambda: guarded.head(prefix, "mine"),
            lambda: guarded.list(prefix, under="", folded=False, limit=1),
            lambda: guarded.copy(prefix, "mine", "new"),
            lambda: guarded.delete(prefix, "mine"),
            lambda: guarded.delete_many(prefix, ["mine"]),
        ]
        context = nullcontext() if current == "none" else serving(make_context(current))
        with context:
            for call in calls:
                with pytest.raises(GuardViolation):
                    await call()
        assert await _paths(objects, prefix) == ["mine"]
