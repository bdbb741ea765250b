"""Objects into archives and out of them, and from bucket to bucket, on every adapter of the objects port."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator

import pytest

from boundary.context import TenantContext, serving
from boundary.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound
from services.storage.archive_paths import content_path, parse_archive, parse_part_path
from services.storage.guard import GuardedObjects
from services.storage.ports import CHUNK_BYTES, Objects, StoredObject, Upload
from services.storage.transport import Archived, ObjectTransport, Place
from tests.contexts import make_context
from tests.contract.test_objects import files, objects  # noqa: F401 - the adapters

FROM, TO, NEIGHBOUR = (
    make_context(name, audience="storage") for name in ("mover", "arrival", "mover-2")
)
ARCHIVE = "exports/spring"
PART = f"{ARCHIVE}/objects-00001.jsonl"
LARGE = bytes(range(256)) * (9 * 1024) + b"end"
CONTENT = {
    "a": b"first",
    "a/b": b"below a file's name",
    "empty": b"",
    "large/file.bin": LARGE,
    "same": b"first",
    "templates/html/ä b.html": b"<p>",
}


async def _once(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


async def _put(objects: Objects, tenant: TenantContext, path: str, content: bytes) -> None:  # noqa: F811
    upload = Upload(content_type="text/x-test", metadata={"key": "value of " + path[:1]})
    with serving(tenant):
        await objects.put(tenant.objects, path, _once(content), upload)


async def _content(objects: Objects, tenant: TenantContext, path: str) -> bytes:  # noqa: F811
    with serving(tenant):
        async with await objects.get(tenant.objects, path) as content:
            return b"".join([chunk async for chunk in content.chunks()])


async def _paths(objects: Objects, tenant: TenantContext, under: str = "") -> list[str]:  # noqa: F811
    with serving(tenant):
        page = await objects.list(tenant.objects, under=under, folded=False, limit=1000)
    return [stored.path for stored in page.objects]


@pytest.fixture
async def filled(objects: Objects) -> Objects:  # noqa: F811
    guarded = GuardedObjects(objects)
    for path, content in CONTENT.items():
        await _put(guarded, FROM, path, content)
    await _put(guarded, FROM, "exports/old/items-00001.jsonl", b"an older export")
    await _put(guarded, FROM, "backups/old/manifest.json", b"a backup")
    await _put(guarded, NEIGHBOUR, "secret", b"NEIGHBOUR")
    return guarded


async def _archived(filled: Objects, **options: int) -> list[Archived]:
    transport = ObjectTransport(filled)
    messages: list[Archived] = []
    position = b""
    with serving(FROM):
        while True:
            async for each in transport.archive(
                FROM, ARCHIVE, position=position, max_count=options.get("max_count", 0)
            ):
                position = each.position
                messages.append(each)
            if not position:
                return messages


async def _arrived(filled: Objects) -> str:
    """Has the archive stand in the other tenant's bucket, with its part; the part's etag."""
    lines = b"".join(each.lines for each in await _archived(filled))
    with serving(FROM):
        await ObjectTransport(filled).write_part(FROM, PART, _once(lines))
    for path in await _paths(filled, FROM, ARCHIVE):
        await _put(filled, TO, path, await _content(filled, FROM, path))
    with serving(TO):
        return (await ObjectTransport(filled).digest_part(TO, PART))[2]


async def _restore(filled: Objects, etag: str, *, skip: int = 0) -> int:
    with serving(TO):
        done = 0
        async for each in ObjectTransport(filled).restore(
            TO, ARCHIVE, PART.rpartition("/")[2], if_match=etag, skip=skip
        ):
            done = each.lines
    return done


class TestArchive:
    async def test_every_object_is_described_and_its_content_is_there_once(self, filled):
        messages = await _archived(filled)
        lines = [json.loads(line) for each in messages for line in each.lines.splitlines()]
        assert {line["path"] for line in lines} == set(CONTENT)
        for line in lines:
            content = CONTENT[line["path"]]
            assert line["size"] == len(content)
            assert line["sha256"] == hashlib.sha256(content).hexdigest()
            assert line["content_type"] == "text/x-test"
            assert line["metadata"] == {"key": "value of " + line["path"][:1]}
            assert await _content(filled, FROM, content_path(ARCHIVE, line["sha256"])) == content
        assert len(await _paths(filled, FROM, f"{ARCHIVE}/objects/")) == len(set(CONTENT.values()))
        assert sum(each.content_bytes for each in messages) == sum(map(len, CONTENT.values()))

    async def test_again_copies_nothing_twice(self, filled):
        first = await _archived(filled)
        before = await _paths(filled, FROM)
        assert await _archived(filled, max_count=1) == first
        assert await _paths(filled, FROM) == before

    async def test_a_content_that_somebody_put_there_before_is_looked_at(self, filled):
        place = content_path(ARCHIVE, hashlib.sha256(CONTENT["a"]).hexdigest())
        await _put(filled, FROM, place, b"another content")
        await _archived(filled)
        assert await _content(filled, FROM, place) == CONTENT["a"]

    async def test_a_part_reads_as_it_was_written_and_a_digest_says_what_it_is(self, filled):
        transport = ObjectTransport(filled)
        with serving(FROM):
            stored = await transport.write_part(FROM, PART, _once(LARGE))
            size, sha256, etag = await transport.digest_part(FROM, PART)
            assert (size, sha256) == (len(LARGE), hashlib.sha256(LARGE).hexdigest())
            assert (stored.size, stored.sha256) == (size, sha256)
            async with await transport.read_part(FROM, PART, if_match=etag) as content:
                assert b"".join([chunk async for chunk in content.chunks()]) == LARGE
            await transport.write_part(FROM, PART, _once(b"another"))
            with pytest.raises(Aborted):
                await transport.read_part(FROM, PART, if_match=etag)

    @pytest.mark.parametrize("digits", ["", "0123456789abcdef"])
    async def test_what_a_try_that_was_cut_off_has_left_is_removed(self, filled, digits):
        await _archived(filled)  # whose lines never became a part
        await _put(filled, FROM, "large/file.bin", b"replaced before the next try")
        lines = b"".join(each.lines for each in await _archived(filled))
        stale = f"{ARCHIVE}/events-00007.jsonl"
        transport = ObjectTransport(filled)
        with serving(FROM):
            await transport.write_part(FROM, PART, _once(lines))
        for path in (stale, f"{ARCHIVE}/manifest.json", f"{ARCHIVE}/objects/no/digest"):
            await _put(filled, FROM, path, b"{}")
        await _put(filled, FROM, "exports/spring-2/objects/00/other", b"of another archive")
        others = [path for path in await _paths(filled, FROM) if f"{ARCHIVE}/" not in path]
        removed = 0
        with serving(FROM):
            for digit in digits or [""]:
                removed += await transport.prune(
                    FROM, ARCHIVE, {PART.rpartition("/")[2]}, digits=digit
                )
        contents = {
            content_path(ARCHIVE, json.loads(line)["sha256"]) for line in lines.splitlines()
        }
        foreign = {f"{ARCHIVE}/objects/no/digest"} if digits else set()
        assert {*await _paths(filled, FROM, f"{ARCHIVE}/")} == {
            *contents,
            *foreign,  # begins with no digit
            PART,
            f"{ARCHIVE}/manifest.json",
        }
        assert removed == 2 + (not digits)  # the content, the part, and what is no content
        assert [path for path in await _paths(filled, FROM) if f"{ARCHIVE}/" not in path] == others

    async def test_removing_an_archive_leaves_all_else_and_the_other_way_round(self, filled):
        await _archived(filled)
        transport = ObjectTransport(filled)
        with serving(FROM):
            removed = [count async for count in transport.remove(FROM, ARCHIVE)]
        assert sum(removed) == len(set(CONTENT.values()))
        assert await _paths(filled, FROM, "exports/") == ["exports/old/items-00001.jsonl"]
        with serving(FROM):
            removed = [count async for count in transport.remove(FROM, "")]
        assert sum(removed) == len(CONTENT)
        assert await _paths(filled, FROM) == [
            "backups/old/manifest.json",
            "exports/old/items-00001.jsonl",
        ]
        assert await _content(filled, NEIGHBOUR, "secret") == b"NEIGHBOUR"


class TestRestore:
    async def test_content_type_metadata_and_content_are_the_same_in_another_tenant(self, filled):
        etag = await _arrived(filled)
        assert await _restore(filled, etag) == len(CONTENT)
        for path, content in CONTENT.items():
            assert await _content(filled, TO, path) == content
        with serving(FROM):
            there = await ObjectTransport(filled).summarize(FROM, without_archives=True)
        with serving(TO):
            here = await ObjectTransport(filled).summarize(TO, without_archives=True)
        assert (here.sum.count, here.sum.digest) == (there.sum.count, there.sum.digest)
        assert here.content_bytes == there.content_bytes

    async def test_lines_that_were_done_before_are_passed_over(self, filled):
        etag = await _arrived(filled)
        assert await _restore(filled, etag, skip=len(CONTENT) - 1) == len(CONTENT)
        assert len(await _paths(filled, TO, "t")) == 1
        assert await _paths(filled, TO, "a") == []

    async def test_content_that_is_not_what_its_line_says_is_refused_with_its_place(self, filled):
        etag = await _arrived(filled)
        tampered = content_path(ARCHIVE, hashlib.sha256(LARGE).hexdigest())
        await _put(filled, TO, tampered, LARGE[:-1] + b"!")
        with pytest.raises(FailedPrecondition) as refused:
            await _restore(filled, etag)
        assert refused.value.reason == "ARCHIVE_TAMPERED"
        assert refused.value.metadata["place"] == f"{PART}, line 4"
        assert await _paths(filled, TO, "large") == []
        await _put(filled, TO, tampered, LARGE[:-1])
        with pytest.raises(FailedPrecondition, match="not of the size"):
            await _restore(filled, etag)
        with serving(TO):
            await filled.delete(TO.objects, tampered)
        with pytest.raises(FailedPrecondition, match="is missing"):
            await _restore(filled, etag)

    @pytest.mark.parametrize(
        "change",
        [
            {"path": "../mover/secret"},
            {"path": "exports/spring/manifest.json"},
            {"path": 7},
            {"size": "many"},
            {"sha256": ""},
            {"sha256": "../../secret"},
            {"metadata": {"Key": "\r\n"}},
            {"metadata": ["key"]},
            {"content_type": "a\r\nb"},
        ],
    )
    async def test_a_line_that_describes_no_object_is_refused_by_number(self, filled, change):
        line = {"path": "x", "size": 1, "sha256": "ab" * 32, "content_type": "", "metadata": {}}
        raw = json.dumps(line | change).encode() + b"\n"
        transport = ObjectTransport(filled)
        with serving(TO):
            await transport.write_part(TO, PART, _once(raw))
            etag = (await transport.digest_part(TO, PART))[2]
        with pytest.raises(InvalidArgument) as refused:
            await _restore(filled, etag)
        assert refused.value.field == "lines[1]"


class TestMove:
    async def test_objects_arrive_byte_for_byte_archives_included(self, filled):
        transport = ObjectTransport(filled)
        pieces: list[StoredObject | bytes] = []
        with serving(FROM):
            async for piece in transport.read(FROM, "", position=b"", max_bytes=0):
                if not isinstance(piece, Place):
                    pieces.append(piece)
                last = piece
        assert last == Place(position=b"")

        async def stream() -> AsyncIterator[StoredObject | bytes]:
            for piece in pieces:
                yield piece

        with serving(TO):
            count, size = await transport.write(TO, stream())
            here = await transport.summarize(TO, without_archives=False)
        with serving(FROM):
            there = await transport.summarize(FROM, without_archives=False)
        assert (count, size) == (len(CONTENT) + 2, there.content_bytes)
        assert here.sum.digest == there.sum.digest
        assert await _content(filled, TO, "large/file.bin") == LARGE

    async def test_content_that_was_changed_on_the_way_is_refused(self, filled):
        with serving(FROM):
            described = await filled.head(FROM.objects, "a")

        async def stream() -> AsyncIterator[StoredObject | bytes]:
            yield described
            yield b"other"

        with serving(TO), pytest.raises(InvalidArgument):
            await ObjectTransport(filled).write(TO, stream())
        assert await _paths(filled, TO) == []

    async def test_content_before_any_object_is_refused(self, filled):
        with serving(TO), pytest.raises(InvalidArgument):
            await ObjectTransport(filled).write(TO, _once(b"x"))


async def test_a_missing_part_reads_as_missing(filled):
    with serving(TO), pytest.raises(NotFound):
        await ObjectTransport(filled).digest_part(TO, PART)


@pytest.mark.parametrize(
    "raw", ["", "exports", "exports/", "exports/a/b", "exports/..", "templates/a", "exports/a/"]
)
def test_what_is_no_archive_is_refused(raw):
    with pytest.raises(InvalidArgument):
        parse_archive(raw, field="archive")
    with pytest.raises(InvalidArgument):
        parse_part_path(f"{raw}/items-00001.txt", field="path")
