"""The HTTP side of signed URLs: GET, HEAD and PUT of one object.

A use of a signed URL is a call like any other: it passes the same chain, so that it is recorded, counted, and
ended when its tenant is suspended; only its credential is another. Whoever holds the URL acts in a context that
the resolver gives to this service at that moment, which it does not for a tenant that is suspended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import format_datetime

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from boundary.catalog import Method
from boundary.context import ContextVerifier, serving
from boundary.delegation import ContextSource
from boundary.errors import Cancelled, DeadlineExceeded, Internal, InvalidArgument, SiloError
from boundary.ids import PrincipalId
from boundary.interceptors.call import Call
from boundary.interceptors.chain import Chain
from boundary.interceptors.endings import why_ended, why_failed
from boundary.interceptors.serve import why_unrecorded
from boundary.tenants import TenantStates
from services.storage.http_headers import (
    SAFETY,
    content_disposition,
    content_range,
    etags_of,
    parse_range,
    quoted,
)
from services.storage.operations import ObjectOperations, too_large
from services.storage.ports import WHOLE, Content, Span, StoredObject, Upload
from services.storage.presign import Grant, UrlSigner, url_refused

IDLE_SECONDS = 30.0
"""For how long an upload over a signed URL may send nothing."""

_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "OUT_OF_RANGE": 416,
    "FAILED_PRECONDITION": 400,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 412,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 408,
    "CANCELLED": 499,
}
_STATUSES_BY_REASON = {"OBJECT_TOO_LARGE": 413, "STORAGE_FULL": 507}


@dataclass(kw_only=True, eq=False)
class UrlCall(Call):
    """The use of a signed URL.

    Attributes:
        request: the HTTP request.
        grant: what the URL allows, once it is verified.
        begun: the answer, once a part of it may have reached the client.
    """

    request: web.Request
    grant: Grant | None = None
    begun: web.StreamResponse | None = None

    @property
    def granted(self) -> Grant:
        """What the URL allows.

        Raises:
            Internal: the call has not passed the chain; asking is a defect.
        """
        if self.grant is None:
            raise Internal
        return self.grant

    @property
    def path(self) -> str:
        """The object's path below the tenant's prefix."""
        return self.tenant.objects.path(self.granted.key)


class SignedUrlAuthenticator:
    """A signed URL: verified, and its tenant available at this moment."""

    def __init__(
        self,
        signer: UrlSigner,
        *,
        contexts: ContextSource,
        verifier: ContextVerifier,
        states: TenantStates,
    ) -> None:
        self._signer = signer
        self._contexts = contexts
        self._verifier = verifier
        self._states = states

    async def authenticate(self, call: Call) -> None:
        """Sets the call's context, principal, resource and grant."""
        if not isinstance(call, UrlCall):
            raise Internal
        request = call.request
        path, _, query = request.raw_path.partition("?")
        grant = self._signer.verify(request.method, path, query)
        call.principal = PrincipalId(f"signed-url:{grant.url_id}")
        call.resource = grant.key  # for the record of a tenant that is not available
        token = await self._contexts.for_tenant(grant.tenant_id, audience="storage")
        context = await self._verifier.verify(token)
        call.context, call.tenant_id = context, context.tenant_id
        if context.objects.bucket != grant.bucket or not context.objects.owns(grant.key):
            raise url_refused()
        call.grant = grant
        call.resource = call.path
        self._states.check(context)


Work = Callable[[UrlCall], Awaitable[web.StreamResponse]]


class SignedUrls:
    """The handlers of signed URLs."""

    def __init__(
        self, chain: Chain, *, operations: ObjectOperations, methods: dict[str, Method]
    ) -> None:
        """Takes the parts.

        Args:
            chain: the chain, with a SignedUrlAuthenticator in the place of the context's.
            methods: the service's RPCs by name; a use of a URL is recorded under the RPC that does the same.
        """
        self._chain = chain
        self._operations = operations
        self._methods = methods

    def routes(self) -> list[web.RouteDef]:
        """The routes, `/{bucket}/{key}`."""
        path = "/{bucket}/{key:.+}"
        return [
            web.get(path, self._on_get, allow_head=False),
            web.head(path, self._on_head),
            web.put(path, self._on_put, expect_handler=_continue_later),
        ]

    async def _on_get(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "DownloadObject", self._download)

    async def _on_head(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "GetObject", self._describe)

    async def _on_put(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, "UploadObject", self._upload)

    async def _serve(self, request: web.Request, method: str, work: Work) -> web.StreamResponse:
        call = UrlCall(
            method=self._methods[method],
            metadata=(),
            deadline=None,
            task=asyncio.current_task(),
            request=request,
        )
        error: SiloError | None = None
        answer: web.StreamResponse | None = None
        try:
            await self._chain.enter(call)
            with serving(call.tenant):
                answer = await work(call)
        except asyncio.CancelledError:
            error = why_ended(call)
            if call.refusal is None:
                raise
        except Exception as raised:  # noqa: BLE001 - the client must have an answer whatever happened
            error = _failure(call, raised)
        finally:
            call.error = error
            call.status = error.code if error else "OK"
            self._chain.leave(call)
        error = await why_unrecorded(call) or error
        if error is None and answer is not None:
            return answer
        return _answer(call, error or Internal())

    async def _describe(self, call: UrlCall) -> web.StreamResponse:
        stored = await self._operations.get(call.tenant, call.path)
        response = web.StreamResponse(headers=_headers(call, stored))
        response.content_length = stored.size
        await self._chain.begin(call)
        await response.prepare(call.request)
        await response.write_eof()
        return response

    async def _download(self, call: UrlCall) -> web.StreamResponse:
        span = await self._span(call)
        if_match = _first_etag(call.request.headers.get("If-Match", ""))
        opened = await self._operations.download(
            call.tenant,
            call.path,
            span=span or WHOLE,
            if_match="" if if_match == "*" else if_match,
        )
        async with opened as content:
            known = etags_of(call.request.headers.get("If-None-Match", ""))
            if content.object.etag in known or "*" in known:
                return web.Response(status=304, headers=_headers(call, content.object))
            await self._chain.begin(call)
            return await _send(call, content, partial=span is not None)

    async def _span(self, call: UrlCall) -> Span | None:
        """The range that is asked for; None where it is all."""
        headers = call.request.headers
        span = parse_range(headers.get("Range", ""))
        if span is not None and "If-Range" in headers:
            stored = await self._operations.get(call.tenant, call.path)
            if headers["If-Range"].strip() != quoted(stored.etag):
                return None
        return span

    async def _upload(self, call: UrlCall) -> web.StreamResponse:
        request, grant = call.request, call.granted
        _check_upload(call)
        limit = self._operations.limit(call.tenant, grant.max_bytes)
        if request.content_length is not None and request.content_length > limit:
            raise too_large(limit)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        upload = Upload(
            content_type=request.headers.get("Content-Type", ""),
            create_only=grant.create_only or request.headers.get("If-None-Match") == "*",
            if_match=_first_etag(request.headers.get("If-Match", "")),
        )
        stored = await self._operations.upload(
            call.tenant, call.path, _body(request), upload, field="object", max_bytes=limit
        )
        return web.json_response(
            {
                "path": stored.path,
                "size": stored.size,
                "sha256": stored.sha256,
                "etag": stored.etag,
            },
            headers={**SAFETY, "ETag": quoted(stored.etag), "X-Request-Id": call.request_id},
        )


async def _continue_later(_: web.Request) -> None:
    """Leaves `100 Continue` to the handler, so that a body that will be refused is not sent at all."""


def _check_upload(call: UrlCall) -> None:
    headers, wanted = call.request.headers, call.granted.content_type
    if headers.get("Content-Encoding", "identity") != "identity":
        raise InvalidArgument("Content-Encoding", "is not taken; send the content as it is")
    if "Content-Range" in headers:
        raise InvalidArgument("Content-Range", "is not taken; send all of the content")
    if wanted and headers.get("Content-Type", "") != wanted:
        raise InvalidArgument("Content-Type", f"must be {wanted}", reason="CONTENT_TYPE_MISMATCH")


def _first_etag(raw: str) -> str:
    return next(iter(etags_of(raw)), "")


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it comes. A client that sends nothing for a while is gone, or means to hold a place.

    Raises:
        DeadlineExceeded: nothing came for IDLE_SECONDS.
    """
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await request.content.readany()
        except TimeoutError as error:
            raise DeadlineExceeded("BODY_STALLED", "the content stopped coming") from error
        if not chunk and request.content.at_eof():
            return
        yield chunk


async def _send(call: UrlCall, content: Content, *, partial: bool) -> web.StreamResponse:
    headers = _headers(call, content.object)
    partial = partial and content.length > 0
    if partial:
        size = content.object.size
        headers["Content-Range"] = content_range(content.start, content.length, size)
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    response.content_length = content.length
    call.begun = response
    await response.prepare(call.request)
    async for chunk in content.chunks():
        await response.write(chunk)
    await response.write_eof()
    return response


def _headers(call: UrlCall, stored: StoredObject) -> dict[str, str]:
    name = call.granted.download_name or stored.path.rpartition("/")[2]
    return {
        **SAFETY,
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition(name),
        "Content-Type": stored.content_type,
        "ETag": quoted(stored.etag),
        "Last-Modified": format_datetime(stored.update_time, usegmt=True),
        "X-Request-Id": call.request_id,
    }


def _failure(call: UrlCall, raised: Exception) -> SiloError:
    """What the client is told; what it did to its own connection is its going away."""
    if call.refusal is None and isinstance(
        raised, ConnectionError | ClientError | HttpProcessingError
    ):
        return Cancelled("CALLER_GONE", "the client ended the transfer")
    return why_failed(call, raised)


def _answer(call: UrlCall, error: SiloError) -> web.StreamResponse:
    """The answer for an error; where another was begun, its connection ends instead, short of its length."""
    if call.begun is not None:
        if call.request.transport is not None:
            call.request.transport.abort()
        return call.begun
    status = _STATUSES_BY_REASON.get(error.reason) or _STATUSES.get(error.code, 500)
    shown = url_refused() if status == 403 else error
    headers = {**SAFETY, "X-Request-Id": call.request_id}
    if status == 416:
        headers["Content-Range"] = f"bytes */{error.metadata.get('size', '*')}"
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after)))
    response = web.json_response(
        {"code": shown.code, "reason": shown.reason, "message": shown.message},
        status=status,
        headers=headers,
    )
    if call.request.method == "PUT":
        response.force_close()  # what is left of the body will not be read
    return response
