"""What is on the engine of an encrypted object, and what becomes of one that was changed there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boundary.context import TenantContext
from boundary.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from services.keys.local import LocalKeys
from services.keys.ring import KeyRing
from services.storage.data_keys import OWN, ObjectKeyRecords
from services.storage.files import FileObjects
from services.storage.frames import (
    FRAME_BYTES,
    SEALED_FRAME_BYTES,
    TRAILER_BYTES,
    FrameCipher,
    Sealing,
    SealLabel,
    new_salt,
)
from services.storage.ports import CHUNK_BYTES, WHOLE, Span, Upload
from services.storage.sealed_content import sealed_span
from services.storage.sealed_objects import SealedObjects
from services.storage.sealed_upload import LABEL
from tests.contexts import make_context

A = make_context("A", audience="storage")
A1 = make_context("A", audience="storage", key_version=1)
A2 = make_context("A", audience="storage", key_version=2)
SHREDDED = make_context("A", audience="storage", key_version=1, key_destroyed=True)
PREFIX = A.objects
TEXT = Upload(content_type="text/plain")


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


class World:
    """The embedded bucket, a keeper, and the layer as one process or another has it."""

    def __init__(self, files: FileObjects, keys: LocalKeys) -> None:
        self.files = files
        self.keys = keys
        self.records = ObjectKeyRecords(files)
        self.ring = KeyRing(keys, self.records)

    def of(self, tenant: TenantContext, *, slow_seconds: float = 20.0) -> SealedObjects:
        return SealedObjects(
            self.files,
            self.ring,
            records=self.records,
            context=lambda: tenant,
            slow_seconds=slow_seconds,
        )

    async def read(self, tenant: TenantContext, path: str, span: Span = WHOLE) -> bytes:
        async with await self.of(tenant).get(PREFIX, path, span=span) as content:
            return b"".join([chunk async for chunk in content.chunks()])

    async def raw(self, path: str) -> bytes:
        async with await self.files.get(PREFIX, path) as content:
            return b"".join([chunk async for chunk in content.chunks()])

    async def forge(self, path: str, content: bytes, label: str = "") -> None:
        """Puts other bytes in an object's place, as somebody with the engine's credentials could."""
        stored = await self.files.head(PREFIX, path)
        assert stored is not None
        metadata = {**stored.metadata, **({LABEL: label} if label else {})}
        upload = Upload(content_type=stored.content_type, metadata=metadata)
        await self.files.put(PREFIX, path, stream(content), upload)


@pytest.fixture
async def world(files: FileObjects, tmp_path: Path) -> AsyncIterator[World]:
    keys = LocalKeys(tmp_path / "keys")
    await keys.create(A.key)
    yield World(files, keys)
    keys.close()


async def test_nothing_of_the_content_is_on_the_engine_and_its_digest_neither(world: World):
    content = b"a canary sings " * 10_000
    digest = hashlib.sha256(content).hexdigest()
    for announced in (digest, ""):
        upload = Upload(content_type="text/plain", metadata={"by": "alice"}, sha256=announced)
        stored = await world.of(A1).put(PREFIX, "song", stream(content), upload)
        assert (stored.size, stored.sha256, stored.key_version) == (len(content), digest, 1)
        assert stored.metadata == {"by": "alice"}
        raw, inner = await world.raw("song"), await world.files.head(PREFIX, "song")
        assert inner is not None
        assert b"canary" not in raw
        assert digest not in str(inner)
        assert digest.encode() not in raw
        assert await world.read(A1, "song") == content


async def test_the_same_content_twice_is_different_on_the_engine(world: World):
    for path in ("one", "two"):
        await world.of(A1).put(PREFIX, path, stream(b"the same"), TEXT)
    assert await world.raw("one") != await world.raw("two")


async def test_a_digest_that_is_not_the_contents_stores_nothing(world: World):
    wrong = Upload(content_type="text/plain", sha256="0" * 64)
    with pytest.raises(InvalidArgument) as caught:
        await world.of(A1).put(PREFIX, "sum", stream(b"content"), wrong)
    assert caught.value.reason == "CHECKSUM_MISMATCH"
    assert await world.of(A1).head(PREFIX, "sum") is None


@pytest.mark.parametrize(
    "size", [0, 1, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * CHUNK_BYTES + 5]
)
async def test_sizes_around_frames(world: World, size: int):
    content = os.urandom(size)
    stored = await world.of(A1).put(PREFIX, "sized", stream(content), TEXT)
    assert await world.of(A1).head(PREFIX, "sized") == stored
    assert (stored.size, stored.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert await world.read(A1, "sized") == content
    if size:
        assert await world.read(A1, "sized", Span(offset=-1)) == content[-1:]
        assert await world.read(A1, "sized", Span(offset=size // 2)) == content[size // 2 :]


async def framed(world: World, path: str) -> tuple[bytes, list[bytes], bytes]:
    """Content of 18 frames with its digest behind them: the frames on the engine, and the digest."""
    content = os.urandom(CHUNK_BYTES + FRAME_BYTES + 100)
    await world.of(A1).put(PREFIX, path, stream(content), TEXT)
    raw = await world.raw(path)
    body, trailer = raw[:-TRAILER_BYTES], raw[-TRAILER_BYTES:]
    frames = [body[at : at + SEALED_FRAME_BYTES] for at in range(0, len(body), SEALED_FRAME_BYTES)]
    return content, frames, trailer


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda f, _: [f[0], f[2], f[1], *f[3:]], "frame 1"),  # reordered
        (lambda f, _: f[:-1], "frame 16"),  # cut short at a frame
        (lambda f, _: [*f[:-1], f[-1][:-1]], "frame 17"),  # cut short within one
        (lambda f, _: [*f, f[-1]], "frame 17"),  # drawn out
        (lambda f, _: [*f[:16], f[3], f[17]], "frame 16"),  # one in two places
        (lambda f, o: [*f[:16], o[16], f[17]], "frame 16"),  # of another object
        (lambda f, _: [*f[:17], bytes([f[17][0] ^ 1]) + f[17][1:]], "frame 17"),  # changed
    ],
)
async def test_content_that_was_changed_is_refused_with_the_place(world: World, change, place):
    _, frames, trailer = await framed(world, "doc")
    _, others, _ = await framed(world, "other")
    await world.forge("doc", b"".join(change(frames, others)) + trailer)
    with pytest.raises(DataLoss) as caught:
        await world.read(A1, "doc")
    assert caught.value.reason == "CONTENT_DAMAGED"
    assert caught.value.metadata["place"] == f"doc, {place}"


async def test_a_range_opens_the_frames_that_it_touches_alone(world: World):
    content, frames, trailer = await framed(world, "doc")
    frames[0] = bytes(SEALED_FRAME_BYTES)
    await world.forge("doc", b"".join(frames) + trailer)
    span = Span(offset=FRAME_BYTES, length=2 * FRAME_BYTES)
    assert await world.read(A1, "doc", span) == content[FRAME_BYTES : 3 * FRAME_BYTES]
    with pytest.raises(DataLoss):
        await world.read(A1, "doc", Span(offset=FRAME_BYTES - 1, length=2))


async def test_a_digest_or_label_that_was_changed_is_refused(world: World):
    _, frames, trailer = await framed(world, "doc")
    await world.forge("doc", b"".join(frames) + bytes(TRAILER_BYTES))
    with pytest.raises(DataLoss) as caught:
        await world.of(A1).head(PREFIX, "doc")
    assert caught.value.metadata["place"] == "doc, digest"
    await world.forge("doc", b"".join(frames) + trailer, label="1.nonsense")
    with pytest.raises(DataLoss):
        await world.read(A1, "doc")
    # It is listed, so that it can be seen and deleted.
    page = await world.of(A1).list(PREFIX, under="", folded=False, limit=10)
    assert [stored.path for stored in page.objects] == ["doc"]


async def test_another_tenants_object_does_not_open(world: World):
    await world.of(A1).put(PREFIX, "doc", stream(b"mine"), TEXT)
    b = make_context("B", audience="storage", key_version=1)
    await world.keys.create(b.key)
    await world.of(b).put(b.objects, "doc", stream(b"theirs"), TEXT)
    stored = await world.files.head(PREFIX, "doc")
    assert stored is not None
    upload = Upload(content_type="text/plain", metadata=stored.metadata)
    await world.files.put(b.objects, "doc", stream(await world.raw("doc")), upload)
    with pytest.raises(DataLoss):
        await world.of(b).get(b.objects, "doc")


async def test_old_objects_and_older_versions_stay_readable_and_copies_are_encrypted(
    world: World,
):
    await world.of(A).put(PREFIX, "plain", stream(b"plain"), TEXT)
    await world.of(A1).put(PREFIX, "one", stream(b"one"), TEXT)
    await world.of(A2).put(PREFIX, "two", stream(b"two"), TEXT)
    for path in ("plain", "one", "two"):
        assert await world.read(A2, path) == path.encode()
    assert await world.read(A, "one") == b"one"  # with a context from before
    copied = await world.of(A2).copy(PREFIX, "plain", "copy")
    assert copied.key_version == 2
    assert await world.raw("copy") != b"plain"
    assert await world.read(A2, "copy") == b"plain"
    moved = await world.of(A2).copy(PREFIX, "one", "moved")
    assert (moved.key_version, moved.sha256) == (1, hashlib.sha256(b"one").hexdigest())
    assert await world.read(A2, "moved") == b"one"


async def test_data_keys_are_not_the_callers_to_see_or_touch(world: World):
    sealed = world.of(A1)
    await sealed.put(PREFIX, "a", stream(b"1"), TEXT)
    listed = await world.files.list(PREFIX, under=OWN, folded=False, limit=10)
    (own,) = [stored.path for stored in listed.objects]
    for folded in (True, False):
        page = await sealed.list(PREFIX, under="", folded=folded, limit=1)
        assert [stored.path for stored in page.objects] == ["a"]
        assert (page.folders, page.position) == ([], None)
    assert await sealed.head(PREFIX, own) is None
    for refused in (
        sealed.get(PREFIX, own),
        sealed.copy(PREFIX, own, "stolen"),
        sealed.delete(PREFIX, own),
    ):
        with pytest.raises(NotFound):
            await refused
    assert await sealed.delete_many(PREFIX, [own]) == 0
    for refused in (
        sealed.put(PREFIX, own, stream(b"2"), TEXT),
        sealed.copy(PREFIX, "a", own),
        sealed.put(PREFIX, "b", stream(b"2"), Upload(content_type="a/b", metadata={LABEL: "1.1"})),
    ):
        with pytest.raises(InvalidArgument):
            await refused


async def test_a_destroyed_key_reads_nothing_and_leaves_what_can_be_listed_and_deleted(
    world: World,
):
    await world.of(A).put(PREFIX, "plain", stream(b"plain"), TEXT)
    await world.of(A1).put(PREFIX, "one", stream(b"one"), TEXT)
    await world.keys.destroy(A.key)
    shredded = world.of(SHREDDED)
    for refused in (
        shredded.get(PREFIX, "one"),
        shredded.get(PREFIX, "one", span=Span(offset=1)),
        shredded.head(PREFIX, "one"),
        shredded.copy(PREFIX, "one", "copy"),
        shredded.put(PREFIX, "new", stream(b"new"), TEXT),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await refused
        assert caught.value.reason == "KEY_DESTROYED"
    assert await world.read(SHREDDED, "plain") == b"plain"
    page = await shredded.list(PREFIX, under="", folded=False, limit=10)
    assert [(stored.path, stored.size, stored.sha256) for stored in page.objects] == [
        ("one", 3, ""),
        ("plain", 5, hashlib.sha256(b"plain").hexdigest()),
    ]
    assert await shredded.delete_many(PREFIX, ["one", "plain"]) == 2


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data(), size=st.integers(0, 3 * FRAME_BYTES), cut=st.integers(1, 2 * FRAME_BYTES))
def test_any_range_of_any_content_lies_in_the_frames_that_are_asked_for(data, size, cut):
    cipher = FrameCipher(bytes(32), new_salt(), tenant_id=A.tenant_id, version=1, path="p")
    content = os.urandom(size)
    sealing = Sealing(cipher)
    pieces = [sealing.take(content[at : at + cut]) for at in range(0, size, cut)]
    sealed = b"".join([*pieces, sealing.finish()])
    label = SealLabel(version=1, salt=bytes(16), digest=bytes(48))
    assert label.sealed_size(size) == len(sealed)
    assert label.size(len(sealed), path="p") == size
    start = data.draw(st.integers(0, max(0, size - 1)))
    length = data.draw(st.integers(1, size - start)) if size else 0
    span = sealed_span(start, length, size)
    first = span.offset // SEALED_FRAME_BYTES
    part = sealed[span.offset :][: span.length]
    opened = cipher.open(part, first=first, ends=span.offset + span.length == len(sealed))
    skip = start - first * FRAME_BYTES
    assert opened[skip : skip + length] == content[start : start + length]
    assert len(opened) <= length + 2 * FRAME_BYTES
