"""What the S3 client makes of answers that are cut off, from a server of the test's own on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from botocore.credentials import Credentials

from boundary.errors import Unavailable
from boundary.scope import ObjectPrefix
from services.storage import s3_client
from services.storage.ports import Upload
from services.storage.s3 import S3Objects
from services.storage.s3_client import S3Endpoint
from tests.contexts import make_context

HEADERS = (
    b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: "e"\r\n'
    b"Last-Modified: Wed, 25 Nov 2026 00:00:00 GMT\r\nx-amz-meta-author: alice\r\n"
)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_client, "_delay", lambda _: 0.0)


@pytest.fixture
def prefix() -> ObjectPrefix:
    return make_context("a", audience="storage").objects


@pytest.fixture
async def objects(request: pytest.FixtureRequest) -> AsyncIterator[S3Objects]:
    """An adapter whose server answers everything with the given bytes and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(request.param)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endpoint = S3Endpoint(
        region="us-east-1", url=f"http://127.0.0.1:{port}", path_style=True, read_timeout=2
    )
    client = s3_client.s3_client(endpoint, Credentials("AKIA", "secret"))
    adapter = S3Objects(client, threads=2)
    yield adapter
    await adapter.settle()
    await asyncio.to_thread(adapter.close)
    client.close()
    server.close()


@pytest.mark.parametrize(
    "objects",
    [
        b"",
        b"HTTP/1.1 ",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nAcc",
        b"HTTP/1.1 100 Conti",
        b"HTTP/1.1 100 Continue\r\nx",
        HEADERS,
        HEADERS + b"x-amz-meta-silo: 1.00",
    ],
    indirect=True,
)
async def test_headers_that_are_cut_off_are_no_answer(
    objects: S3Objects, prefix: ObjectPrefix
) -> None:
    async def content() -> AsyncIterator[bytes]:
        yield b"x"

    for work in (
        objects.head(prefix, "x"),
        objects.get(prefix, "x"),
        objects.list(prefix, under="", folded=False, limit=1),
        objects.put(prefix, "x", content(), Upload(content_type="a/b")),
    ):
        with pytest.raises(Unavailable):
            await work


@pytest.mark.parametrize("objects", [HEADERS + b"\r\n"], indirect=True)
async def test_headers_that_are_whole_are_one(objects: S3Objects, prefix: ObjectPrefix) -> None:
    stored = await objects.head(prefix, "x")
    assert stored is not None
    assert (stored.etag, stored.metadata) == ("e", {"author": "alice"})


def test_a_body_goes_to_the_socket_in_one_piece() -> None:
    """Made a file, as botocore does, it would go in pieces of 16 KiB."""
    client: Any = s3_client.s3_client(S3Endpoint(region="us-east-1"), Credentials("AKIA", "secret"))
    content, sent = os.urandom(1024 * 1024), []

    def instead_of_sending(request: Any, **_: object) -> None:
        sent.append(request.body)
        raise ConnectionRefusedError

    client.meta.events.register_last("before-send.s3", instead_of_sending)
    with pytest.raises(ConnectionRefusedError):
        client.put_object(Bucket="bucket", Key="key", Body=content)
    assert sent[0] is content
    client.close()
