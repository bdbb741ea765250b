"""Backups need a permission of their own, whichever way a caller's path or prefix goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from boundary.channel import keep_ending, what_ended
from boundary.context import TenantContext
from boundary.errors import PermissionDenied, error_info
from boundary.resolver_client import rich_status
from services.storage.backups import require_read, require_write, require_write_under
from services.storage.files import FileObjects
from services.storage.operations import ObjectOperations
from services.storage.servicer import ObjectServicer
from silo.storage.v1 import object_pb2 as pb
from silo.storage.v1 import object_pb2_grpc
from tests.contexts import make_context
from tests.serving import Serving, reason_of, serving

READ, WRITE = "backups.read", "backups.write"
OBJECTS = ("objects.read", "objects.write")
BACKUP = "backups/20240115T083000Z-0123abcd/items-00001.jsonl"
ORDINARY = "exports/report.csv"
CONTENT = {BACKUP: b"every user, by name and address", ORDINARY: b"a report"}
OK = "OK"


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to a path: the method, what it is asked, and what it needs besides where the path is a backup's."""

    method: str
    request: Callable[[str], Message]
    needs: str


WAYS = {
    "upload": Way(
        method="UploadObject",
        request=lambda path: pb.UploadObjectRequest(spec=pb.UploadSpec(path=path)),
        needs=WRITE,
    ),
    "download": Way(
        method="DownloadObject",
        request=lambda path: pb.DownloadObjectRequest(path=path),
        needs=READ,
    ),
    "get": Way(method="GetObject", request=lambda path: pb.GetObjectRequest(path=path), needs=READ),
    "copy from": Way(
        method="CopyObject",
        request=lambda path: pb.CopyObjectRequest(source_path=path, destination_path="copy"),
        needs=READ,
    ),
    "copy to": Way(
        method="CopyObject",
        request=lambda path: pb.CopyObjectRequest(source_path=ORDINARY, destination_path=path),
        needs=WRITE,
    ),
    "sign download": Way(
        method="SignDownload", request=lambda path: pb.SignDownloadRequest(path=path), needs=READ
    ),
    "sign upload": Way(
        method="SignUpload", request=lambda path: pb.SignUploadRequest(path=path), needs=WRITE
    ),
    "delete": Way(
        method="DeleteObject", request=lambda path: pb.DeleteObjectRequest(path=path), needs=WRITE
    ),
}
"""In an order in which each finds what it works on."""

PREFIXES = ("b", "back", "backups", "backups/", "backups/2024", "backups/none/", BACKUP)
"""Beginnings that paths of backups have or can have."""


class Caller:
    """Somebody of tenant A who holds some permissions."""

    def __init__(self, server: Serving, *permissions: str) -> None:
        self._stub: Any = object_pb2_grpc.ObjectServiceStub(server.channel)
        self._metadata = server.metadata("A", permissions=permissions)

    async def call(self, method: str, request: Message) -> list[Any]:
        """What a method answers.

        Raises:
            grpc.aio.AioRpcError: it refuses.
        """
        call = getattr(self._stub, method)
        if method == "UploadObject":
            sent = keep_ending(call(_stream(request), metadata=self._metadata))
            try:
                return [await sent]
            except grpc.aio.AioRpcError as error:
                raise await what_ended(sent, error) from None
        if method == "DownloadObject":
            return [part async for part in call(request, metadata=self._metadata)]
        return [await call(request, metadata=self._metadata)]

    async def refused(self, method: str, request: Message) -> grpc.aio.AioRpcError:
        """How a method refuses."""
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await self.call(method, request)
        return raised.value

    async def outcome(self, method: str, request: Message) -> str:
        """The reason with which a method refuses, or OK; what it answers holds nothing of a backup."""
        try:
            answers = await self.call(method, request)
        except grpc.aio.AioRpcError as error:
            return reason_of(error)
        assert not any(CONTENT[BACKUP] in answer.SerializeToString() for answer in answers)
        return OK


async def _stream(request: Message) -> AsyncIterator[Message]:
    yield request
    yield pb.UploadObjectRequest(chunk=b"something else")


def _shape(error: grpc.aio.AioRpcError, permission: str) -> object:
    """All that a refusal says, but for the permission and the call."""
    status = rich_status(error)
    info = error_info(status)
    assert info is not None
    assert info.metadata.pop("request_id")
    assert info.metadata["permission"] == permission
    said = (error.details() or "").replace(permission, "*")
    kinds = [detail.type_url for detail in status.details]
    return error.code(), said, info.reason, info.domain, set(info.metadata), kinds


@pytest.fixture
async def server(operations: ObjectOperations, tmp_path: Path) -> AsyncIterator[Serving]:
    servicers = {"silo.storage.v1.ObjectService": ObjectServicer(operations)}
    async with serving("storage", servicers, tmp_path / "audit") as running:
        owner = object_pb2_grpc.ObjectServiceStub(running.channel)
        for path, content in CONTENT.items():

            async def requests(path: str = path, content: bytes = content) -> Any:
                yield pb.UploadObjectRequest(spec=pb.UploadSpec(path=path))
                yield pb.UploadObjectRequest(chunk=content)

            await owner.UploadObject(requests(), metadata=running.metadata("A"))
        yield running


async def everything(files: FileObjects) -> dict[str, str]:
    """The path and etag of each object that the tenant has."""
    prefix = make_context("A", audience="storage").objects
    page = await files.list(prefix, under="", folded=False, limit=1000)
    return {stored.path: stored.etag for stored in page.objects}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("path", [BACKUP, "backups/new"], ids=["there", "new"])
async def test_permissions_of_objects_do_not_reach_backups(
    server: Serving, files: FileObjects, way: Way, path: str
) -> None:
    before = await everything(files)
    other = READ if way.needs == WRITE else WRITE
    as_the_chain_does = _shape(
        await Caller(server, other).refused("GetObject", pb.GetObjectRequest(path="x")),
        "objects.read",
    )
    for held in (OBJECTS, ("objects.*",), (*OBJECTS, other), (*OBJECTS, "backups")):
        error = await Caller(server, *held).refused(way.method, way.request(path))
        assert _shape(error, way.needs) == as_the_chain_does
    assert await everything(files) == before


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_permissions_of_backups_alone_reach_nothing(server: Serving, way: Way) -> None:
    for path in (BACKUP, ORDINARY):
        error = await Caller(server, "backups.*").refused(way.method, way.request(path))
        assert "objects." in (error.details() or "")


@pytest.mark.parametrize("held", [(*OBJECTS, READ, WRITE), ("objects.*", "backups.*"), ("*",)])
async def test_who_holds_both_works_on_backups(
    server: Serving, files: FileObjects, held: tuple[str, ...]
) -> None:
    caller = Caller(server, *held)
    parts = await caller.call("DownloadObject", pb.DownloadObjectRequest(path=BACKUP))
    assert b"".join(part.chunk for part in parts) == CONTENT[BACKUP]
    for way in WAYS.values():
        await caller.call(way.method, way.request(BACKUP))
    assert set(await everything(files)) == {ORDINARY, "copy"}


async def test_what_is_not_a_backup_needs_no_more_than_before(server: Serving) -> None:
    caller = Caller(server, *OBJECTS)
    for way in WAYS.values():
        assert await caller.outcome(way.method, way.request(ORDINARY)) == OK
    for prefix in (
        "exports/",
        "a",
        "bb",
        "backup/",
        "backups-2024",
        "backupsx/",
        "BACKUPS/",
        "ba/",
    ):
        request = pb.DeleteObjectsRequest(prefix=prefix)
        assert await caller.outcome("DeleteObjects", request) == OK


async def test_a_listing_tells_of_backups(server: Serving) -> None:
    (page,) = await Caller(server, "objects.read").call(
        "ListObjects", pb.ListObjectsRequest(prefix="backups/")
    )
    assert [found.path for found in page.objects] == [BACKUP]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_deleting_by_prefix_does_not_reach_backups(
    server: Serving, files: FileObjects, prefix: str
) -> None:
    before = await everything(files)
    request = pb.DeleteObjectsRequest(prefix=prefix)
    error = await Caller(server, *OBJECTS, READ).refused("DeleteObjects", request)
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    assert WRITE in (error.details() or "")
    assert await everything(files) == before
    (answer,) = await Caller(server, "objects.write", WRITE).call("DeleteObjects", request)
    there = BACKUP.startswith(prefix)
    assert answer.deleted_count == int(there)
    assert (BACKUP in await everything(files)) is not there


async def test_deleting_everything_deletes_all_or_nothing(
    server: Serving, files: FileObjects
) -> None:
    before = await everything(files)
    request = pb.DeleteObjectsRequest(all=True)
    error = await Caller(server, *OBJECTS).refused("DeleteObjects", request)
    assert WRITE in (error.details() or "")
    assert await everything(files) == before
    await Caller(server, "objects.write", WRITE).call("DeleteObjects", request)
    assert await everything(files) == {}


REFUSED_SPELLINGS = (
    "backups/",
    "/" + BACKUP,
    "//" + BACKUP,
    "./" + BACKUP,
    "x/../" + BACKUP,
    "../tenant-a/" + BACKUP,
    BACKUP.replace("/", "//", 1),
    BACKUP.replace("/", "/./", 1),
    BACKUP.replace("/", "/../backups/", 1),
    BACKUP.replace("/", "%2f"),
    BACKUP.replace("/", "%252f"),
    BACKUP.replace("/", "\\"),
    BACKUP.replace("/", "\u2215"),
    BACKUP.replace("/", "\uff0f"),
    "backups\0/x",
    "\u200b" + BACKUP,
)
"""Spellings that are no paths, or paths of backups: nobody gets far enough to touch anything."""

OTHER_NAMES = (
    "backups",
    BACKUP.replace("backups", "BACKUPS"),
    BACKUP.replace("backups", "Backups"),
    BACKUP.replace("backups", "backups "),
    BACKUP.replace("backups", "backups."),
    BACKUP.replace("backups", "%62ackups"),
    BACKUP.replace("backups", "\uff42ackups"),
    BACKUP.replace("backups", "b\u0430ckups"),
    "tenant-a/" + BACKUP,
)
"""Paths that look like backups' and are of other folders, as engines compare keys."""


@pytest.mark.parametrize("path", REFUSED_SPELLINGS)
async def test_no_spelling_of_the_folder_gets_around_it(
    server: Serving, files: FileObjects, path: str
) -> None:
    before = await everything(files)
    caller = Caller(server, *OBJECTS)
    for name, way in WAYS.items():
        outcome = await caller.outcome(way.method, way.request(path))
        assert outcome in ("INVALID_PATH", "PERMISSION_MISSING"), name
    outcome = await caller.outcome("DeleteObjects", pb.DeleteObjectsRequest(prefix=path))
    assert outcome in ("INVALID_PATH", "PERMISSION_MISSING")
    assert await everything(files) == before


@pytest.mark.parametrize("path", OTHER_NAMES)
async def test_what_only_looks_like_a_backup_is_another_object(
    server: Serving, files: FileObjects, path: str
) -> None:
    before = (await everything(files))[BACKUP]
    caller = Caller(server, *OBJECTS)
    for name, way in WAYS.items():
        assert await caller.outcome(way.method, way.request(path)) == OK, name
    if path != "backups":  # as a prefix it covers backups
        request = pb.DeleteObjectsRequest(prefix=path)
        assert await caller.outcome("DeleteObjects", request) == OK
    assert (await everything(files))[BACKUP] == before


@pytest.fixture(scope="module")
def mallory() -> TenantContext:
    return make_context("A", audience="storage", permissions=OBJECTS)


@given(name=st.text(alphabet="backups/-x", min_size=1, max_size=12), cut=st.integers(0, 30))
def test_every_beginning_of_a_backup_is_one_too_many(
    mallory: TenantContext, name: str, cut: int
) -> None:
    path = f"backups/{name}"
    for asked in (
        lambda: require_read(mallory, path),
        lambda: require_write(mallory, path),
        lambda: require_write_under(mallory, path[:cut]),
    ):
        with pytest.raises(PermissionDenied):
            asked()
