"""Signed URLs over a real loopback HTTP server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import aiohttp
import pytest

from boundary.audit import AuditLog
from boundary.catalog import methods_of
from boundary.context import ContextVerifier, TenantContext
from boundary.context import serving as current
from boundary.errors import tenant_unavailable
from boundary.http import HttpServer
from boundary.ids import TenantId
from boundary.interceptors import stages
from boundary.interceptors.chain import Chain
from boundary.metrics import CallMetrics
from boundary.tenants import LiveCalls, TenantState, TenantStates
from services.resolver.local_keys import LocalKeys
from services.resolver.resolution import DELEGATIONS
from services.storage import http
from services.storage.files import FileObjects
from services.storage.http import SignedUrlAuthenticator, SignedUrls
from services.storage.operations import ObjectOperations
from services.storage.ports import Upload
from services.storage.presign import UrlSigner
from silo.policy.v1 import policy_pb2
from tests.audit_records import records_in
from tests.contexts import make_context, mint_token, signing_keys

MIB = 1024 * 1024


@dataclass
class Resolver:
    """Gives contexts for the service's own work, as the resolver does."""

    suspended: set[str] = field(default_factory=set)

    async def on_behalf_of(self, context: TenantContext, *, audience: str) -> str:
        raise NotImplementedError

    async def for_tenant(self, tenant_id: TenantId, *, audience: str) -> str:
        if tenant_id in self.suspended:
            raise tenant_unavailable()
        return mint_token(
            tenant_id,
            audience=audience,
            permissions=DELEGATIONS["storage", "storage"].grants,
            principal="service:storage",
            max_object_bytes=6 * MIB,
        )


def url_id(url: str) -> str:
    """What a URL is called in the audit trail."""
    return dict(parse_qsl(urlsplit(url).query))["id"]


@dataclass(kw_only=True)
class Site:
    """The HTTP side of a storage service, and what stands around it."""

    port: int
    session: aiohttp.ClientSession
    operations: ObjectOperations
    files: FileObjects
    tenant: TenantContext
    states: TenantStates
    resolver: Resolver
    audit: AuditLog
    audit_folder: Path

    def upload_url(self, path: str, **request: Any) -> str:
        asked = {"ttl": None, "content_type": "", "max_bytes": 0, "create_only": False, **request}
        signed = self.operations.sign_upload(self.tenant, path, **asked)
        return self.local(signed.url)

    def download_url(self, path: str, **request: Any) -> str:
        asked = {"ttl": None, "download_name": "", **request}
        signed = self.operations.sign_download(self.tenant, path, **asked)
        return self.local(signed.url)

    def local(self, url: str) -> str:
        parts = urlsplit(url)
        return f"http://127.0.0.1:{self.port}{parts.path}?{parts.query}"

    async def store(self, path: str, content: bytes, content_type: str = "text/plain") -> None:
        async def once() -> AsyncIterator[bytes]:
            yield content

        with current(self.tenant):
            upload = Upload(content_type=content_type)
            await self.operations.upload(self.tenant, path, once(), upload)

    def suspend(self) -> None:
        self.resolver.suspended.add("A")
        self.states.observe(TenantState(tenant_id=TenantId("A"), generation=2, active=False))

    def records(self) -> list[dict[str, Any]]:
        self.audit.flush()
        return records_in(self.audit_folder)


@pytest.fixture
async def site(
    operations: ObjectOperations,
    files: FileObjects,
    signer: UrlSigner,
    tmp_path: Path,
    unused_tcp_port: int,
) -> AsyncIterator[Site]:
    live_calls = LiveCalls()
    states = TenantStates(live_calls)
    audit = AuditLog(tmp_path / "audit", service="storage")
    resolver = Resolver()
    verifier = ContextVerifier(audience="storage", keys=LocalKeys(signing_keys()))
    authenticator = SignedUrlAuthenticator(
        signer, contexts=resolver, verifier=verifier, states=states
    )
    metrics = CallMetrics()
    chain = Chain(
        [
            stages.Identify(),
            stages.Measure(metrics),
            stages.Audit(audit),
            stages.Authenticate({policy_pb2.CREDENTIAL_CONTEXT: authenticator}),
            stages.Reside("local"),
            stages.Track(live_calls, states),
            stages.Authorise(),
        ]
    )
    methods = {method.descriptor.name: method for method in methods_of("storage")}
    urls = SignedUrls(chain, operations=operations, methods=methods)
    listen = f"127.0.0.1:{unused_tcp_port}"
    http = HttpServer(listen, metrics=metrics, ready=lambda: True, routes=urls.routes())
    await http.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Site(
            port=unused_tcp_port,
            session=session,
            operations=operations,
            files=files,
            tenant=make_context("A", audience="storage"),
            states=states,
            resolver=resolver,
            audit=audit,
            audit_folder=tmp_path / "audit",
        )
    await http.stop()
    audit.close()


async def _refusal(response: aiohttp.ClientResponse, status: int, reason: str) -> None:
    body = await response.json()
    assert (response.status, body["reason"]) == (status, reason)
    assert set(body) == {"code", "reason", "message"}


async def test_put_then_get(site: Site) -> None:
    url = site.upload_url("exports/a b.csv", content_type="text/csv")
    async with site.session.put(url, data=b"a,b", headers={"Content-Type": "text/csv"}) as put:
        assert put.status == 200
        stored = await put.json()
    download_url = site.download_url("exports/a b.csv")
    async with site.session.get(download_url) as got:
        assert await got.read() == b"a,b"
        assert got.headers["ETag"] == put.headers["ETag"] == f'"{stored["etag"]}"'
        assert got.headers["Content-Type"] == "text/csv"
        assert got.headers["Content-Length"] == "3"
        assert got.headers["X-Content-Type-Options"] == "nosniff"
        assert got.headers["Content-Security-Policy"].startswith("sandbox")
        assert got.headers["Content-Disposition"].startswith('attachment; filename="a b.csv"')
    uploaded, downloaded = site.records()
    (begun,) = records_in(site.audit_folder, phase="BEGIN")
    assert begun["request_id"] == downloaded["request_id"]
    assert uploaded["method"] == "silo.storage.v1.ObjectService/UploadObject"
    assert downloaded["method"] == "silo.storage.v1.ObjectService/DownloadObject"
    assert uploaded["principal"] != downloaded["principal"]
    assert downloaded["principal"] == f"signed-url:{url_id(download_url)}"
    for record in (uploaded, downloaded):
        assert record["tenant"] == "A"
        assert record["principal"].startswith("signed-url:")
        assert record["resource"] == "exports/a b.csv"
        assert (record["decision"], record["status"]) == ("ALLOWED", "OK")


async def test_what_was_signed_for_a_backup_asks_for_nothing_more(site: Site) -> None:
    path = "backups/1/manifest.json"
    async with site.session.put(site.upload_url(path), data=b"{}") as put:
        assert put.status == 200
    async with site.session.get(site.download_url(path)) as got:
        assert (got.status, await got.read()) == (200, b"{}")


@pytest.mark.parametrize("path", ["%62ackups/1/manifest.json", "BACKUPS/1/manifest.json"])
async def test_what_is_signed_for_another_path_does_not_reach_a_backup(
    site: Site, path: str
) -> None:
    await site.store("backups/1/manifest.json", b"signed by the platform")
    site.tenant = make_context(
        "A", audience="storage", permissions=("objects.read", "objects.write")
    )
    upload_url, download_url = site.upload_url(path), site.download_url(path)
    for url in (upload_url, download_url):
        assert "backups" not in unquote(urlsplit(url).path)
    async with site.session.get(download_url) as got:
        assert got.status == 404
    async with site.session.put(upload_url, data=b"mine") as put:
        assert (put.status, (await put.json())["path"]) == (200, path)
    site.tenant = make_context("A", audience="storage")
    async with site.session.get(site.download_url("backups/1/manifest.json")) as got:
        assert await got.read() == b"signed by the platform"
    for url in (upload_url, download_url):
        changed = url.replace(quote(path), "backups/1/manifest.json")
        assert changed != url
        method = "PUT" if url == upload_url else "GET"
        async with site.session.request(method, changed, data=b"") as refused:
            await _refusal(refused, 403, "SIGNED_URL_REFUSED")


async def test_head(site: Site) -> None:
    await site.store("x", b"0123456789")
    async with site.session.head(site.download_url("x")) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "10")
        assert await response.read() == b""


@pytest.mark.parametrize(
    ("asked", "status", "expected", "said"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-99", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
    ],
)
async def test_ranges(
    site: Site, asked: str, status: int, expected: bytes, said: str | None
) -> None:
    await site.store("x", b"0123456789")
    async with site.session.get(site.download_url("x"), headers={"Range": asked}) as response:
        assert (response.status, await response.read()) == (status, expected)
        assert response.headers.get("Content-Range") == said


async def test_a_range_beyond_the_end(site: Site) -> None:
    await site.store("x", b"0123456789")
    async with site.session.get(site.download_url("x"), headers={"Range": "bytes=10-"}) as response:
        await _refusal(response, 416, "RANGE_BEYOND_END")
        assert response.headers["Content-Range"] == "bytes */10"


async def test_conditional_requests(site: Site) -> None:
    await site.store("x", b"0123456789")
    url = site.download_url("x")
    async with site.session.get(url) as response:
        etag = response.headers["ETag"]
    async with site.session.get(url, headers={"If-None-Match": etag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    for present in ("*", "", etag):
        async with site.session.get(url, headers={"If-Match": present}) as response:
            assert response.status == 200
    async with site.session.get(url, headers={"If-Match": '"stale"'}) as response:
        await _refusal(response, 412, "ETAG_MISMATCH")
    stale = {"If-Range": '"stale"', "Range": "bytes=0-1"}
    async with site.session.get(url, headers=stale) as response:
        assert (response.status, await response.read()) == (200, b"0123456789")
    async with site.session.get(url, headers={**stale, "If-Range": etag}) as response:
        assert (response.status, await response.read()) == (206, b"01")


async def test_download_names_cannot_break_the_header(site: Site) -> None:
    await site.store("x", b"1")
    name = 'r\u00e9sum\u00e9 "; filename=evil.exe'
    async with site.session.get(site.download_url("x", download_name=name)) as response:
        disposition = response.headers["Content-Disposition"]
        assert "evil.exe%" not in disposition
        assert disposition.count('"') == 2
        assert "filename*=UTF-8''r%C3%A9sum%C3%A9%20%22%3B%20filename%3Devil.exe" in disposition


async def test_anything_wrong_about_the_url_reads_alike(site: Site) -> None:
    await site.store("x", b"1")
    good = site.download_url("x")
    bodies = set()
    for url in (
        good.replace("tenant-a/x", "tenant-a/y"),
        good.replace("tenant-a/x", "tenant-b/x"),
        good.replace("tenant=A", "tenant=B"),
        good.replace("expires=", "expires=1"),
        good.partition("?")[0],
        good + "0",
        site.upload_url("x"),
    ):
        async with site.session.get(url) as response:
            assert response.status == 403
            bodies.add(await response.text())
    async with site.session.put(good, data=b"2") as response:
        assert response.status == 403
        bodies.add(await response.text())
    site.suspend()
    async with site.session.get(good) as response:
        assert response.status == 403
        bodies.add(await response.text())
    assert len(bodies) == 1
    assert json.loads(bodies.pop())["reason"] == "SIGNED_URL_REFUSED"
    assert {record["decision"] for record in site.records()} == {"REFUSED"}


async def test_what_is_missing(site: Site) -> None:
    async with site.session.get(site.download_url("missing")) as response:
        await _refusal(response, 404, "RESOURCE_NOT_FOUND")


async def test_constraints_of_an_upload(site: Site, bucket_folder: Path) -> None:
    typed = site.upload_url("x", content_type="text/html", max_bytes=10, create_only=True)
    html = {"Content-Type": "text/html"}
    async with site.session.put(typed, data=b"1", headers={"Content-Type": "a/b"}) as response:
        await _refusal(response, 400, "CONTENT_TYPE_MISMATCH")
    async with site.session.put(typed, data=b"1" * 11, headers=html) as response:
        await _refusal(response, 413, "OBJECT_TOO_LARGE")
    async with site.session.put(typed, data=_slowly(b"1" * 6, b"1" * 5), headers=html) as response:
        await _refusal(response, 413, "OBJECT_TOO_LARGE")
    gzip = {**html, "Content-Encoding": "gzip"}
    async with site.session.put(typed, data=b"1", headers=gzip) as response:
        assert response.status == 400
    async with site.session.put(
        typed, data=b"1", headers={**html, "Content-Range": "bytes 0-0/2"}
    ) as response:
        assert response.status == 400
    assert not _content_files(bucket_folder)
    async with site.session.put(typed, data=_slowly(b"1" * 5, b"1" * 5), headers=html) as response:
        assert response.status == 200
    async with site.session.put(typed, data=b"1", headers=html) as response:
        await _refusal(response, 409, "RESOURCE_EXISTS")


async def test_the_tenants_limit_holds_without_one_of_the_url(site: Site) -> None:
    async with site.session.put(
        site.upload_url("x"), data=io.BytesIO(b"1" * (6 * MIB + 1))
    ) as response:
        await _refusal(response, 413, "OBJECT_TOO_LARGE")


@pytest.mark.parametrize("framing", ["Content-Length: 4194304", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_a_put_that_is_cut_off_leaves_nothing(
    site: Site, bucket_folder: Path, framing: str, ending: str
) -> None:
    body = b"1" * 3 * MIB
    if "chunked" in framing:
        body = b"300000\r\n" + body + b"\r\n"
    _, writer = await _request(site, "PUT", site.upload_url("x"), framing=framing, body=body)
    await _until_files(bucket_folder, 1)
    getattr(writer.transport, ending)()
    await _until_files(bucket_folder, 0)
    with current(site.tenant):
        assert await site.files.head(site.tenant.objects, "x") is None
    for _ in range(500):  # it is recorded when the call has ended
        if site.records():
            break
        await asyncio.sleep(0.01)
    assert site.records()[-1]["status"] == "CANCELLED"


async def test_a_put_that_stalls_is_ended(
    site: Site, bucket_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "IDLE_SECONDS", 0.2)
    reader, writer = await _request(
        site, "PUT", site.upload_url("x"), framing="Content-Length: 3000000", body=b"1" * 100
    )
    async with asyncio.timeout(5):
        assert b"408" in await reader.readline()
    await _until_files(bucket_folder, 0)
    assert site.records()[-1]["reason"] == "BODY_STALLED"
    writer.close()


async def test_a_suspension_ends_transfers_under_way(site: Site, bucket_folder: Path) -> None:
    await site.store("big", b"1" * 6 * MIB)
    download, download_writer = await _request(site, "GET", site.download_url("big"))
    assert b"200 OK" in await download.readline()
    upload, upload_writer = await _request(
        site, "PUT", site.upload_url("cut"), framing="Content-Length: 4194304", body=b"1" * 3 * MIB
    )
    await _until_files(bucket_folder, 2)
    site.suspend()
    async with asyncio.timeout(1):
        assert b"403" in await upload.readline()
        received = await _until_cut(download)
    assert received < 6 * MIB
    await _until_files(bucket_folder, 1)
    assert {record["reason"] for record in site.records()} == {"TENANT_UNAVAILABLE"}
    for writer in (upload_writer, download_writer):
        writer.close()


async def test_odd_paths_are_no_way_around(site: Site) -> None:
    await site.store("x", b"1")
    parts = urlsplit(site.download_url("x"))
    for path in (
        parts.path.replace("tenant-a/", "tenant-a//"),
        parts.path.replace("tenant-a/", "tenant-b/../tenant-a/"),
        parts.path.replace("tenant-a/", "tenant-b/%2e%2e/tenant-a/"),
        parts.path.replace("tenant-a/", "tenant-a/%00"),
        parts.path + "/",
        "/" + parts.path,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
        writer.write(
            f"GET {path}?{parts.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        status = (await reader.readline()).split()[1]
        assert status in (b"400", b"403", b"404"), path
        writer.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl(site: Site, tmp_path: Path) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"0123456789" * 300_000)
    await _curl("--upload-file", content, site.upload_url("known"))
    await _curl(
        "-H", "Transfer-Encoding: chunked", "--upload-file", content, site.upload_url("unknown")
    )
    for name in ("known", "unknown"):
        await _curl("--output", tmp_path / "got", site.download_url(name))
        assert (tmp_path / "got").read_bytes() == content.read_bytes()
    await _curl("--range", "5-9", "--output", tmp_path / "part", site.download_url("known"))
    assert (tmp_path / "part").read_bytes() == b"56789"
    head = await _curl("--head", site.download_url("known"))
    assert b"3000000" in head
    refused = await _curl("--upload-file", content, site.upload_url("x", max_bytes=5), status=22)
    assert b"OBJECT_TOO_LARGE" in refused


async def _curl(*arguments: str | Path, status: int = 0) -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--fail-with-body", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == status, output
    return output


async def _request(
    site: Site, method: str, url: str, *, framing: str = "Content-Length: 0", body: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends a request, and as much of its body as given, over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, limit=1024)
    parts = urlsplit(url)
    head = f"{method} {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\n{framing}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    await writer.drain()
    return reader, writer


async def _until_cut(reader: asyncio.StreamReader) -> int:
    """Reads until the connection ends; how much came."""
    received = 0
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(MIB):
            received += len(chunk)
    return received


async def _slowly(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _content_files(root: Path) -> list[Path]:
    return [path for path in (root / "content").rglob("*") if path.is_file()]


async def _until_files(root: Path, count: int) -> None:
    for _ in range(500):
        if len(_content_files(root)) == count:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"there were never {count} content files")
