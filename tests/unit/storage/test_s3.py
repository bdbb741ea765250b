"""What holds of the S3 adapter alone, against moto in this process."""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ReadTimeoutError,
)

from boundary.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from boundary.scope import ObjectPrefix
from services.storage import s3_client, s3_download, s3_listing
from services.storage.ports import CHUNK_BYTES, Span, StoredObject, Upload
from services.storage.s3 import S3Objects
from services.storage.s3_copy import Copy
from services.storage.s3_upload import PART_BYTES, part_sizes
from tests.contexts import PLACEMENT, make_context
from tests.unit.storage.s3_moto import PART, client, objects, shared_client

__all__ = ["client", "objects", "shared_client"]

BIG = os.urandom(2 * PART + 100)
LONG = os.urandom(4 * PART + 100)
BUCKET = PLACEMENT.bucket


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries do not wait."""
    monkeypatch.setattr(s3_client, "_delay", lambda _: 0.0)


@pytest.fixture(scope="module")
def prefix() -> ObjectPrefix:
    return make_context("a", audience="storage").objects


async def _stream(content: bytes, piece: int = 1024 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(content), piece):
        yield content[start : start + piece]


async def _put(
    objects: S3Objects, prefix: ObjectPrefix, path: str, content: bytes = b"x", **upload: Any
) -> StoredObject:
    described = Upload(**{"content_type": "text/plain", **upload})
    return await objects.put(prefix, path, _stream(content), described)


async def _read(objects: S3Objects, prefix: ObjectPrefix, path: str, span: Span) -> bytes:
    async with await objects.get(prefix, path, span=span) as content:
        return b"".join([chunk async for chunk in content.chunks()])


def _keys(client: Any) -> list[str]:
    return [item["Key"] for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", ())]


def _uploads(client: Any) -> list[Any]:
    return client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])


def _fail(client: Any, operation: str, *errors: Exception, done: bool = False) -> list[int]:
    """Makes the next calls of an operation fail, before or after they were done; counts the calls."""
    real: Callable[..., Any] = getattr(client, operation)
    left, calls = list(errors), []

    def failing(**arguments: Any) -> Any:
        calls.append(1)
        if not left:
            return real(**arguments)
        if done:
            real(**arguments)
        raise left.pop(0)

    setattr(client, operation, failing)
    return calls


def _answer(code: str, status: int, operation: str = "PutObject") -> ClientError:
    error = {"Code": code, "Message": "tenant-secret at 10.0.0.1"}
    return ClientError(
        {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


CUT = ConnectionClosedError(endpoint_url="http://s3")
LATE = ReadTimeoutError(endpoint_url="http://s3")
REFUSED = EndpointConnectionError(endpoint_url="http://s3")


class TestParts:
    async def test_large_content_has_its_digest_from_the_record(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        stored = await _put(objects, prefix, "big", BIG, metadata={"k": "v"})
        assert stored.sha256 == hashlib.sha256(BIG).hexdigest()
        assert await objects.head(prefix, "big") == stored
        assert await _read(objects, prefix, "big", Span()) == BIG
        assert (
            await _read(objects, prefix, "big", Span(offset=PART - 3, length=6))
            == (BIG[PART - 3 :][:6])
        )
        assert _keys(client) == [f"tenant-a/.silo/records/{stored.etag}", "tenant-a/big"]
        await objects.delete(prefix, "big")
        assert _keys(client) == []

    async def test_an_announced_digest_needs_no_record(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        digest = hashlib.sha256(BIG).hexdigest()
        assert (await _put(objects, prefix, "big", BIG, sha256=digest)).sha256 == digest
        assert (await objects.head(prefix, "big")).sha256 == digest
        with pytest.raises(InvalidArgument):
            await _put(objects, prefix, "other", BIG, sha256="0" * 64)
        assert _keys(client) == ["tenant-a/big"]
        assert _uploads(client) == []

    async def test_the_record_is_there_before_the_object(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        _fail(client, "complete_multipart_upload", *[REFUSED] * 9)
        with pytest.raises(Unavailable):
            await _put(objects, prefix, "big", BIG)
        assert [key.startswith("tenant-a/.silo/records/") for key in _keys(client)] == [True]
        assert await objects.head(prefix, "big") is None
        assert _uploads(client) == []
        assert await objects.sweep(prefix) == 0  # not old enough
        assert await objects.sweep(prefix, older_than=timedelta(0)) == 1
        assert _keys(client) == []

    async def test_a_copy_carries_the_digest_itself(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        stored = await _put(objects, prefix, "big", BIG)
        copy = await objects.copy(prefix, "big", "copy")
        await objects.delete(prefix, "big")
        assert (await objects.head(prefix, "copy")).sha256 == stored.sha256 == copy.sha256
        assert _keys(client) == ["tenant-a/copy"]

    async def test_a_large_copy_is_made_in_parts(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        stored = await _put(objects, prefix, "big", BIG, metadata={"k": "v"})
        entries = objects._entries
        present = await entries.find(prefix, "big")
        copy = Copy(entries, prefix, stored, present, "to", create_only=False, part_bytes=PART)
        made = await copy.make()
        assert await objects.head(prefix, "to") == made
        assert (made.sha256, made.metadata) == (stored.sha256, {"k": "v"})
        assert await _read(objects, prefix, "to", Span()) == BIG
        _fail(client, "upload_part_copy", *[LATE] * 99)
        with pytest.raises(Unavailable):
            await copy.make()
        _fail(client, "upload_part_copy", *[_answer("PreconditionFailed", 412)] * 99)
        assert await copy.make() is None
        assert _uploads(client) == []

    async def test_a_failing_part_leaves_nothing(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        _fail(client, "upload_part", *[LATE] * 99)
        with pytest.raises(Unavailable):
            await _put(objects, prefix, "big", BIG)
        assert (_uploads(client), _keys(client)) == ([], [])

    async def test_a_part_is_sent_again(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        _fail(client, "upload_part", LATE, _answer("InternalError", 500))
        await _put(objects, prefix, "big", BIG)
        assert await _read(objects, prefix, "big", Span()) == BIG

    async def test_a_cut_stream_leaves_no_parts(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        async def cut() -> AsyncIterator[bytes]:
            yield BIG
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await objects.put(prefix, "big", cut(), Upload(content_type="a/b"))
        await objects.settle()
        assert (_uploads(client), _keys(client)) == ([], [])

    async def test_what_a_killed_process_left_is_swept(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        other = make_context("ab", audience="storage").objects
        for key in (prefix.key("cut"), other.key("cut")):
            client.create_multipart_upload(Bucket=BUCKET, Key=key)
        await _put(objects, prefix, "big", BIG)
        assert await objects.sweep(prefix, older_than=timedelta(0)) == 1
        assert [upload["Key"] for upload in _uploads(client)] == ["tenant-ab/cut"]
        assert await objects.head(prefix, "big") is not None

    def test_parts_reach_the_largest_object(self) -> None:
        sizes = part_sizes()
        total = [next(sizes) for _ in range(10_000)]
        assert sum(total) >= 5 * 1024**4
        assert total[:1000] == [PART_BYTES] * 1000
        assert max(total) <= 5 * 1024**3

    async def test_one_record_per_replacement_at_the_most(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        first = await _put(objects, prefix, "big", BIG)
        await _put(objects, prefix, "big", b"small", if_match=first.etag)
        assert _keys(client) == ["tenant-a/big"]


class TestDescriptions:
    @pytest.mark.parametrize(
        "metadata",
        [
            {"author": "Zoë, 東京"},
            {"a": "x" * 2000, "b": "y" * 40},
            {"silo": "mine"},
            {"empty": ""},
            {"spaces": " at both ends "},
        ],
    )
    async def test_metadata_that_s3_would_not_take(
        self, objects: S3Objects, prefix: ObjectPrefix, metadata: dict[str, str]
    ) -> None:
        stored = await _put(objects, prefix, "own", metadata=metadata)
        assert await objects.head(prefix, "own") == stored
        copy = await objects.copy(prefix, "own", "copy")
        await objects.delete(prefix, "own")
        assert copy.metadata == (await objects.head(prefix, "copy")).metadata == metadata

    async def test_records_are_nobodys_objects(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        for path in (".a", ".silo.txt", "big"):
            await _put(objects, prefix, path, BIG)
        (record, *_) = (key[9:] for key in _keys(client) if key[9:].startswith(".silo/records/"))
        for limit in (1, 2, 10):
            paths, position = [], None
            while True:
                page = await objects.list(
                    prefix, under="", folded=True, limit=limit, position=position
                )
                paths += [stored.path for stored in page.objects]
                assert page.folders == []
                if (position := page.position) is None:
                    break
            assert paths == [".a", ".silo.txt", "big"]
        assert (await objects.list(prefix, under=".silo/", folded=False, limit=9)).objects == []
        assert await objects.head(prefix, record) is None
        for work in (
            objects.get(prefix, record),
            objects.copy(prefix, record, "to"),
            objects.delete(prefix, record),
        ):
            with pytest.raises(NotFound):
                await work
        with pytest.raises(InvalidArgument):
            await _put(objects, prefix, ".silo/records/forged")
        with pytest.raises(InvalidArgument):
            await objects.copy(prefix, "big", ".silo/records/forged")
        assert await objects.delete_many(prefix, [record, *(f"x{n}" for n in range(20))]) == 0
        assert prefix.key(record) in _keys(client)

    async def test_an_object_that_something_else_wrote(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        client.put_object(
            Bucket=BUCKET, Key="tenant-a/theirs", Body=b"12", Metadata={"k": "v"}, ContentType="a/b"
        )
        stored = await objects.head(prefix, "theirs")
        assert (stored.size, stored.content_type, stored.sha256) == (2, "a/b", "")
        assert (stored.metadata, '"' in stored.etag) == ({"k": "v"}, False)
        await objects.delete(prefix, "theirs", if_match=stored.etag)

    async def test_the_tenants_key_encrypts(self, client: Any, prefix: ObjectPrefix) -> None:
        adapter = S3Objects(
            client, threads=1, part_bytes=PART, key_of=lambda prefix: f"key-of-{prefix.tenant_id}"
        )
        await _put(adapter, prefix, "small")
        await _put(adapter, prefix, "big", BIG)
        await adapter.copy(prefix, "small", "copy")
        for key in _keys(client):
            assert client.head_object(Bucket=BUCKET, Key=key)["SSEKMSKeyId"] == "key-of-a"


class TestLostAnswers:
    """A write whose answer is lost is looked up, not made twice and not denied."""

    @pytest.mark.parametrize("content", [b"small", BIG])
    async def test_of_a_creation(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any, content: bytes
    ) -> None:
        operation = "put_object" if content == b"small" else "complete_multipart_upload"
        _fail(client, operation, CUT, done=True)
        stored = await _put(objects, prefix, "once", content, create_only=True)
        assert await objects.head(prefix, "once") == stored
        assert await _read(objects, prefix, "once", Span()) == content

    async def test_of_a_replacement(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        first = await _put(objects, prefix, "doc", b"1")
        _fail(client, "put_object", CUT, done=True)
        second = await _put(objects, prefix, "doc", b"2", if_match=first.etag)
        assert (await objects.head(prefix, "doc")).etag == second.etag

    async def test_of_every_attempt(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        _fail(client, "put_object", *[LATE] * 9, done=True)
        stored = await _put(objects, prefix, "doc", b"1")
        assert await objects.head(prefix, "doc") == stored

    async def test_somebody_elses_creation_is_not_ours(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        real, client.put_object = client.put_object, None

        def meanwhile(**arguments: Any) -> Any:
            if client.put_object is real:
                return real(**arguments)
            client.put_object = real
            real(Bucket=BUCKET, Key="tenant-a/once", Body=b"theirs")
            raise CUT

        client.put_object = meanwhile
        with pytest.raises(AlreadyExists):
            await _put(objects, prefix, "once", b"mine", create_only=True)

    async def test_a_deletion_is_not_made_twice(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        await _put(objects, prefix, "gone")
        calls = _fail(client, "delete_object", LATE, done=True)
        with pytest.raises(Unavailable):
            await objects.delete(prefix, "gone")
        assert len(calls) == 1

    async def test_a_deletion_that_did_not_begin_is(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        await _put(objects, prefix, "gone")
        _fail(client, "delete_object", REFUSED, _answer("SlowDown", 503))
        await objects.delete(prefix, "gone")


class TestFailures:
    @pytest.mark.parametrize(
        "case",
        [
            (REFUSED, Unavailable, 4),
            (LATE, Unavailable, 4),
            (_answer("InternalError", 500), Unavailable, 4),
            (_answer("SlowDown", 503), ResourceExhausted, 4),
            (_answer("429", 429), ResourceExhausted, 4),
            (_answer("QuotaExceeded", 403), ResourceExhausted, 1),
            (_answer("ExpiredToken", 400), Unavailable, 1),
            (_answer("RequestTimeTooSkewed", 403), Unavailable, 1),
            (_answer("AccessDenied", 403), Internal, 1),
            (_answer("MalformedXML", 400), Internal, 1),
        ],
    )
    async def test_what_the_caller_is_told(
        self,
        objects: S3Objects,
        prefix: ObjectPrefix,
        client: Any,
        case: tuple[Exception, type[Exception], int],
    ) -> None:
        error, expected, calls = case
        made = _fail(client, "head_object", *[error] * 9)
        with pytest.raises(expected) as caught:
            await objects.head(prefix, "x")
        assert len(made) == calls
        assert "secret" not in str(caught.value)
        assert "10.0.0.1" not in str(caught.value)
        if isinstance(caught.value, ResourceExhausted) and calls > 1:
            assert caught.value.retry_after

    async def test_a_cancelled_call_ends_while_the_engine_hangs(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        goes_on = threading.Event()
        client.head_object = lambda **_: goes_on.wait(10)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await objects.head(prefix, "x")
        finally:
            goes_on.set()

    async def test_damaged_content_is_not_passed_off(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        await _put(objects, prefix, "doc", b"right")
        metadata = client.head_object(Bucket=BUCKET, Key="tenant-a/doc")["Metadata"]
        client.put_object(Bucket=BUCKET, Key="tenant-a/doc", Body=b"wrong", Metadata=metadata)
        with pytest.raises(Unavailable) as caught:
            await _read(objects, prefix, "doc", Span())
        assert caught.value.reason == "CONTENT_DAMAGED"

    async def test_credentials_are_asked_in_the_callers_context(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        current: ContextVar[str] = ContextVar("current")
        seen: list[str] = []
        real = client.head_object

        def looking(**arguments: Any) -> Any:
            seen.append(current.get("nobody"))
            return real(**arguments)

        client.head_object = looking

        async def call(name: str) -> None:
            current.set(name)
            for _ in range(3):
                await objects.head(prefix, "x")

        await asyncio.gather(call("a"), call("b"), call("c"))
        assert sorted(seen) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3


class TestDownloads:
    """Over one fast stream, and side by side where it is slow."""

    @pytest.fixture(params=["one stream", "side by side"], autouse=True)
    def side_by_side(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
        side_by_side: bool = request.param == "side by side"
        monkeypatch.setattr(s3_download, "FAST", math.inf if side_by_side else 0.0)
        return side_by_side

    @pytest.mark.parametrize("breaks", [1, 3])
    @pytest.mark.parametrize("after", [0, 2])
    async def test_a_stream_that_breaks_is_resumed_where_it_broke(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any, breaks: int, after: int
    ) -> None:
        await _put(objects, prefix, "long", LONG)
        _break_bodies(client, breaks, after=after)
        assert await _read(objects, prefix, "long", Span()) == LONG

    async def test_a_stream_that_breaks_on_and_on_but_gives_something_is_read_to_its_end(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        await _put(objects, prefix, "long", LONG)
        _break_bodies(client, 9, after=2)
        assert await _read(objects, prefix, "long", Span()) == LONG

    async def test_a_stream_that_breaks_on_and_on(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        await _put(objects, prefix, "long", LONG)
        _break_bodies(client, 99, after=0)
        with pytest.raises(Unavailable):
            await _read(objects, prefix, "long", Span())

    async def test_only_what_comes_next_is_asked_for(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any, side_by_side: bool
    ) -> None:
        await _put(objects, prefix, "long", LONG)
        asked = _watch_bodies(client)
        async with await objects.get(prefix, "long") as content:
            chunks = content.chunks()
            read = bytearray()
            while side_by_side and len(asked) < 2:
                read += await anext(chunks)
            read += await anext(chunks)
            await asyncio.sleep(0.2)  # time enough for all of it, if it were taken
            spread = asked[1].first if side_by_side else 0
            ahead = [spread, spread + PART, spread + 2 * PART] if side_by_side else []
            assert [each.first for each in asked] == [0, *ahead]
            held = 3 * PART if side_by_side else 0
            assert sum(each.read for each in asked) - len(read) <= held + 4 * CHUNK_BYTES
            async for chunk in chunks:
                read += chunk
        assert read == LONG
        assert len(asked) == (5 if side_by_side else 1)
        assert spread <= PART

    async def test_one_that_is_left_lets_go_of_every_connection(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any, side_by_side: bool
    ) -> None:
        await _put(objects, prefix, "long", LONG)
        asked = _watch_bodies(client)
        async with await objects.get(prefix, "long") as content:
            await anext(content.chunks())
        async with await objects.get(prefix, "long"):
            pass
        async with await objects.get(prefix, "long") as content:
            beginning = asyncio.ensure_future(anext(content.chunks()))
            asyncio.get_running_loop().call_soon(beginning.cancel)  # before any fetch has begun
            await asyncio.wait([beginning])
        async with await objects.get(prefix, "long") as content:
            chunks = content.chunks()
            for _ in range(3 * PART // CHUNK_BYTES):
                await anext(chunks)
        for each in asked:
            assert await asyncio.to_thread(each.closed.wait, 5)
        assert len(asked) >= (5 if side_by_side else 4)

    @pytest.mark.parametrize("versions", ["Enabled", "Suspended"])
    async def test_one_never_mixes_two_contents(
        self,
        objects: S3Objects,
        prefix: ObjectPrefix,
        client: Any,
        versions: str,
        side_by_side: bool,
    ) -> None:
        client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": versions})
        await _put(objects, prefix, "long", LONG)
        async with await objects.get(prefix, "long") as content:
            chunks = content.chunks()
            read = bytearray(await anext(chunks))
            await _put(objects, prefix, "long", LONG[::-1])
            if versions == "Enabled" or not side_by_side:
                async for chunk in chunks:
                    read += chunk
                assert read == LONG
            else:
                with pytest.raises(Unavailable) as caught:  # noqa: PT012 - it ends somewhere on the way
                    async for chunk in chunks:
                        read += chunk
                assert caught.value.reason == "CONTENT_GONE"
                assert LONG.startswith(read)

    async def test_a_long_suffix(self, objects: S3Objects, prefix: ObjectPrefix) -> None:
        await _put(objects, prefix, "long", LONG)
        length = 3 * PART + 3
        assert await _read(objects, prefix, "long", Span(offset=-length)) == LONG[-length:]

    async def test_a_long_range(self, objects: S3Objects, prefix: ObjectPrefix) -> None:
        await _put(objects, prefix, "long", LONG)
        span = Span(offset=7, length=3 * PART)
        assert await _read(objects, prefix, "long", span) == LONG[7 : 7 + 3 * PART]


@dataclass
class _Asked:
    """A range that was asked for: where it begins, how much of it was read, and whether it was let go of."""

    first: int
    read: int = 0
    closed: threading.Event = field(default_factory=threading.Event)


def _watch_bodies(client: Any) -> list[_Asked]:
    """The ranges of objects, not of records, that are asked for from now on."""
    real: Callable[..., Any] = client.get_object
    asked: list[_Asked] = []

    def get_object(**arguments: Any) -> Any:
        answer = real(**arguments)
        if ".silo/" not in arguments["Key"]:
            first = arguments["Range"].removeprefix("bytes=").partition("-")[0]
            each = _Asked(int(first))
            asked.append(each)
            body = answer["Body"]
            read, close = body.read, body.close

            def reading(count: int) -> bytes:
                content: bytes = read(count)
                each.read += len(content)
                return content

            body.read = reading
            body.close = lambda: (close(), each.closed.set())
        return answer

    client.get_object = get_object
    return asked


def _break_bodies(client: Any, times: int, *, after: int) -> None:
    """So many bodies break, each after so many reads."""
    real, left = client.get_object, [times]

    class Breaking:
        def __init__(self, body: Any) -> None:
            self._body = body
            self._reads = 0

        def read(self, count: int = -1) -> bytes:
            self._reads += 1
            if self._reads > after and left[0]:
                left[0] -= 1
                raise ConnectionResetError
            content: bytes = self._body.read(count)
            return content

        def close(self) -> None:
            self._body.close()

    def get_object(**arguments: Any) -> Any:
        answer = real(**arguments)
        if ".silo/" not in arguments["Key"]:
            answer["Body"] = Breaking(answer["Body"])
        return answer

    client.get_object = get_object


class TestDeletingMany:
    async def test_counts_what_was_there(self, objects: S3Objects, prefix: ObjectPrefix) -> None:
        for number in range(12):
            await _put(objects, prefix, f"d/{number:02}")
        await _put(objects, prefix, "e")
        paths = [f"d/{number:02}" for number in range(0, 24, 2)]
        assert await objects.delete_many(prefix, [*paths, "e", "zz"]) == 7
        page = await objects.list(prefix, under="", folded=False, limit=100)
        assert [stored.path for stored in page.objects] == [f"d/{n:02}" for n in range(1, 12, 2)]

    async def test_far_apart(
        self, objects: S3Objects, prefix: ObjectPrefix, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(s3_listing, "MAX_LISTED", 5)
        for number in range(7):
            await _put(objects, prefix, f"m/{number}")
        for path in ("a", "z"):
            await _put(objects, prefix, path)
        assert await objects.delete_many(prefix, ["a", "z", *(f"m/{n}x" for n in range(9))]) == 2

    async def test_what_a_success_did_not_delete_is_asked_for_again_alone(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        for path in ("a", "b", "c"):
            await _put(objects, prefix, path)
        asked = _refusing(client, prefix.key("b"), codes=["InternalError", "SlowDown"])
        assert await objects.delete_many(prefix, ["a", "b", "c"]) == 3
        assert asked == [[prefix.key(path) for path in "abc"], [prefix.key("b")], [prefix.key("b")]]
        assert not (await objects.list(prefix, under="", folded=False, limit=9)).objects

    async def test_what_cannot_be_deleted_is_no_success(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        for path in ("a", "b"):
            await _put(objects, prefix, path)
        _refusing(client, prefix.key("b"), codes=["AccessDenied"])
        with pytest.raises(Internal):
            await objects.delete_many(prefix, ["a", "b"])
        page = await objects.list(prefix, under="", folded=False, limit=9)
        assert [stored.path for stored in page.objects] == ["b"]

    async def test_what_went_meanwhile_is_no_failure(
        self, objects: S3Objects, prefix: ObjectPrefix, client: Any
    ) -> None:
        for path in ("a", "b"):
            await _put(objects, prefix, path)
        asked = _refusing(client, prefix.key("b"), codes=["NoSuchKey"])
        assert await objects.delete_many(prefix, ["a", "b"]) == 2
        assert len(asked) == 1


def _refusing(client: Any, key: str, *, codes: list[str]) -> list[list[str]]:
    """Has requests that delete leave one key out, once for each code; the keys of every request."""
    real, asked = client.delete_objects, []

    def delete_objects(**arguments: Any) -> Any:
        named = arguments["Delete"]["Objects"]
        asked.append([each["Key"] for each in named])
        if not codes:
            return real(**arguments)
        others = [each for each in named if each["Key"] != key]
        if others:
            real(**{**arguments, "Delete": {"Objects": others}})
        return {"Errors": [{"Key": key, "Code": codes.pop(0), "Message": "no"}]}

    client.delete_objects = delete_objects
    return asked
