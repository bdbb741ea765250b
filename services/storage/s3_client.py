"""The one S3 client of a region, and the bounded threads and retries in which it is called.

All tenants share the client and its connections: a client of its own would cost each of them 165 ms and 10 MB.
The credentials are asked for at each signature, on the thread that signs, which runs in a copy of the caller's
context: a credentials object that answers by context variable thereby scopes the shared client to the tenant of
the call.

botocore's own retries are off. They would sleep on a thread that others wait for, could not be cancelled, and
would repeat what must not be repeated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from http.client import HTTPResponse, RemoteDisconnected
from io import BufferedReader, BytesIO
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import boto3
import botocore.session
from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.handlers import add_expect_header
from urllib3.exceptions import HTTPError

from boundary.retries import RetryBudget
from services.storage.s3_errors import TRANSIENT, UNDONE, Kind, Refused, kind_of, translated

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from types_boto3_s3 import S3Client

P = ParamSpec("P")
T = TypeVar("T")

ENGINE_ERRORS = (ClientError, BotoCoreError, HTTPError, OSError)
"""What a call of the client may raise."""

_ATTEMPTS = 4
_BUDGET = 50.0
_FIRST_DELAY = 0.05
_LONGEST_DELAY = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Endpoint:
    """Where a region's buckets are, and how patient we are.

    Attributes:
        region: the region that requests are signed for.
        url: the endpoint of an S3-compatible server, or empty for Amazon S3.
        path_style: whether the bucket stands in the path; most S3-compatible servers want it.
        accelerate: whether Amazon S3's transfer acceleration is used; not with path_style.
        connect_timeout: seconds until a connection is given up.
        read_timeout: seconds of silence until an answer is given up.
        connections: how many connections are kept.
    """

    region: str
    url: str = ""
    path_style: bool = False
    accelerate: bool = False
    connect_timeout: float = 2.0
    read_timeout: float = 10.0
    connections: int = 64


class _WholeResponse(HTTPResponse):
    """An answer whose headers were cut off is no answer.

    http.client takes the end of the connection for the end of the headers: a list cut there would read as empty,
    an object as one without metadata.
    """

    def begin(self) -> None:
        reader = _LastLine(self.fp)
        self.fp = cast("BufferedReader", reader)
        super().begin()
        if self.fp is cast("BufferedReader", reader):
            self.fp = reader.inner
        if reader.last not in (b"\r\n", b"\n"):
            self.close()
            raise RemoteDisconnected("the headers were cut off")


class _LastLine:
    """Reads on behalf of a response, and keeps the last line."""

    def __init__(self, inner: BufferedReader) -> None:
        self.inner = inner
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self.inner.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


for _connection in (AWSHTTPConnection, AWSHTTPSConnection):
    # For every client of the process: botocore offers no place to say so for one.
    _connection.response_class = _WholeResponse  # type: ignore[assignment]


class _Given(CredentialProvider):
    """Provides the credentials object that it was given."""

    METHOD = "given"
    CANONICAL_NAME = "given"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


def s3_client(endpoint: S3Endpoint, credentials: Credentials | None = None) -> S3Client:
    """A client for an endpoint. Takes about 165 ms: make one, share it.

    Args:
        credentials: asked at each signature through `get_frozen_credentials`; botocore's own search (environment,
            container, instance role) where None.
    """
    session = botocore.session.get_session()
    if credentials is not None:
        session.register_component("credential_provider", CredentialResolver([_Given(credentials)]))
    client: S3Client = boto3.Session(botocore_session=session, region_name=endpoint.region).client(
        "s3",
        endpoint_url=endpoint.url or None,
        config=Config(
            signature_version="s3v4",
            connect_timeout=endpoint.connect_timeout,
            read_timeout=endpoint.read_timeout,
            max_pool_connections=endpoint.connections,
            tcp_keepalive=True,
            retries={"total_max_attempts": 1, "mode": "standard"},
            # Uploads carry a SHA-256 of our own making, downloads are checked against ours.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={
                "addressing_style": "path" if endpoint.path_style else "auto",
                "use_accelerate_endpoint": endpoint.accelerate,
            },
        ),
    )
    # Our bodies are small enough to be sent unasked, which spares a round trip; and where a connection ends within
    # the answer `100 Continue`, botocore reads on for ever, on a thread that is then lost.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.register("before-sign.s3", _in_one_piece)
    return client


def _in_one_piece(request: AWSRequest, **_: object) -> None:
    """Has a body signed and sent as the bytes that it was made of, without a copy.

    botocore makes a file of them, which urllib3 hands to the socket in pieces of 16 KiB: of a part of an upload,
    five hundred turns at the interpreter's lock.
    """
    if isinstance(request.data, BytesIO):
        request.data = request.data.getvalue()


class Calls:
    """Calls the blocking client on a bounded number of threads. Used from one event loop."""

    def __init__(
        self,
        *,
        threads: int,
        attempts: int = _ATTEMPTS,
        ensure: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="s3")
        self._attempts = attempts
        self._ensure = ensure
        self._budget = RetryBudget(most=_BUDGET)
        self.threads = threads

    def start(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Starts work on a thread, in a copy of the current context. Never repeated."""
        context = copy_context()
        return self._executor.submit(lambda: context.run(work, *args, **kwargs))

    async def compute(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Does work that asks no engine on a thread."""
        return await asyncio.wrap_future(self.start(work, *args, **kwargs))

    async def call(
        self,
        work: Callable[[], T],
        *,
        provides: Collection[Kind] = (),
        repeatable: bool = True,
        discard: Callable[[T], object] | None = None,
    ) -> T:
        """Calls the engine; retries with jitter within the budget. Cancelled, it ends at once.

        Args:
            work: one call of the client.
            provides: the answers that the caller provides for.
            repeatable: whether the call may be made again where its outcome is unknown.
            discard: lets go of a result that comes after the caller has gone.

        Raises:
            Refused: the engine gave one of these answers.
            Unavailable, ResourceExhausted, Internal: it failed, throttled, or did not take the call.
        """
        if self._ensure is not None:
            await self._ensure()
        for attempt in range(1, self._attempts + 1):
            try:
                result = await self._once(work, discard)
            except ENGINE_ERRORS as error:
                kind = kind_of(error)
                if kind in provides:
                    raise Refused(kind) from error
                again = kind in (TRANSIENT if repeatable else UNDONE)
                if not again or attempt == self._attempts or not self._budget.take():
                    raise translated(error, kind) from error
                await asyncio.sleep(_delay(attempt))
            else:
                self._budget.give()
                return result
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, work: Callable[[], T], discard: Callable[[T], object] | None) -> T:
        started = self.start(work)
        try:
            return await asyncio.wrap_future(started)
        except asyncio.CancelledError:
            if discard is not None:
                started.add_done_callback(lambda done: _discard(done, discard))
            raise

    def close(self) -> None:
        """Ends the threads, after what was started. Blocks."""
        self._executor.shutdown(wait=True)


def _discard(done: Future[T], discard: Callable[[T], object]) -> None:
    if not done.cancelled() and done.exception() is None:
        discard(done.result())


def _delay(attempt: int) -> float:
    """Full jitter (AWS architecture blog, exponential backoff and jitter)."""
    return random.uniform(0, min(_LONGEST_DELAY, _FIRST_DELAY * 4**attempt))  # noqa: S311 - no secret
