"""Calls of one region's DynamoDB: one client and one pool of connections for all tenants.

The client makes each call once. Whether it may be made again is decided here: never where a write that
would count twice may have been made.
"""

from __future__ import annotations

import asyncio
import io
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiodynamo.client import Client
from aiodynamo.credentials import Credentials
from aiodynamo.http.types import Request, RequestFailed, Response
from aiodynamo.models import RetryConfig
from aiodynamo.sign import make_default_endpoint
from yarl import URL

from boundary.errors import Unavailable
from boundary.retries import RetryBudget
from services.table.dynamodb_errors import (
    ENGINE_ERRORS,
    Failure,
    body_of,
    failure_of,
    message_of,
    told,
)

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 1.0
ATTEMPT_SECONDS = 3.0
"""How long one attempt may take."""

CALL_SECONDS = 4.0
"""After how long no further attempt is begun."""

MAX_ATTEMPTS = 5
MAX_CONFLICTS = 12
KEEP_SECONDS = 15.0
"""How long an idle connection is kept: less than the engine does, so that it seldom hangs up on a call."""

_BUDGET = 100.0
_BUDGET_PER_SECOND = 5.0
_FIRST_DELAY = 0.025
_LONGEST_DELAY = 0.5
_LARGE = 2**18


@dataclass(slots=True)
class Writing:
    """A write while it is being made.

    Attributes:
        repeatable: whether it may be made again where it may have been made already.
        unknown: whether an attempt may have been made.
    """

    repeatable: bool = True
    unknown: bool = False


@dataclass(frozen=True)
class OneAttempt(RetryConfig):
    """No retries by the client itself."""

    time_limit_secs: float = -1.0

    def delays(self) -> Iterable[float]:
        """One delay, which is never waited for."""
        return (0.0,)


class Http:
    """The client's HTTP over one session, whose endpoint's URL is parsed once."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: URL) -> None:
        """Takes the session and the engine's endpoint."""
        self._session = session
        self._endpoint = endpoint
        self._text = str(endpoint)
        # The client signs the host without its port, so that is what is sent.
        self._host = {} if endpoint.is_default_port() else {"Host": endpoint.host or ""}

    async def __call__(self, request: Request) -> Response:
        """Makes the request. Credentials may have requests of their own, for other URLs."""
        url: URL | str = request.url
        headers = request.headers
        if url == self._text:
            url = self._endpoint
            headers = {**(headers or {}), **self._host}
        body = request.body
        # aiohttp sends large bodies in parts where it is given a file, so that other calls go on.
        data = io.BytesIO(body) if body and len(body) > _LARGE else body
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=data, allow_redirects=False
            ) as response:
                return Response(response.status, await response.read())
        except aiohttp.ClientError as error:
            raise RequestFailed(error) from error


class Calls:
    """Makes calls, again where that is safe."""

    def __init__(
        self,
        client: Client,
        *,
        session: aiohttp.ClientSession | None = None,
        budget: RetryBudget | None = None,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        """Takes the parts.

        Args:
            client: must make each call once.
            session: what `close` closes.
            budget: what repeats are counted against.
            sleep: how it waits between attempts.
        """
        self._client = client
        self._session = session
        self._budget = budget or RetryBudget(most=_BUDGET, per_second=_BUDGET_PER_SECOND)
        self._sleep = sleep

    async def send(
        self, action: str, payload: Mapping[str, Any], writing: Writing | None = None
    ) -> dict[str, Any]:
        """The engine's answer.

        Args:
            action: the engine's name of the call.
            payload: its parameters.
            writing: for a write, whether it may be repeated; takes note of what becomes of it.

        Raises:
            Unavailable, ResourceExhausted, Aborted: the engine cannot serve it.
            AIODynamoError: the engine has refused it for what it is.
        """
        try:
            answer = await self._client.send_request(action=action, payload=payload)
        except ENGINE_ERRORS as error:
            return await self._again(action, payload, error, writing)
        self._budget.give()
        return answer

    async def _again(
        self, action: str, payload: Mapping[str, Any], error: Exception, writing: Writing | None
    ) -> dict[str, Any]:
        until = time.monotonic() + CALL_SECONDS
        attempts = 0
        while True:
            attempts += 1
            self._require_repeatable(error, writing, attempts, late=time.monotonic() >= until)
            await self.pause(attempts)
            try:
                return await self._client.send_request(action=action, payload=payload)
            except ENGINE_ERRORS as next_error:
                error = next_error

    def _require_repeatable(
        self, error: Exception, writing: Writing | None, attempts: int, *, late: bool
    ) -> None:
        """Returns where a call that failed may be made again."""
        failure = failure_of(error)
        if failure is Failure.REFUSED:
            raise error
        if failure is Failure.DENIED:
            _log.error("the table cannot be used: %s", message_of(body_of(error)) or type(error))
            raise Unavailable("TABLE_UNAVAILABLE", "the table cannot be used") from error
        if writing is not None and failure is Failure.UNKNOWN:
            writing.unknown = True
        unknown = writing is not None and writing.unknown
        conflict = failure is Failure.CONFLICT
        if (
            late
            or (writing is not None and unknown and not writing.repeatable)
            or attempts >= (MAX_CONFLICTS if conflict else MAX_ATTEMPTS)
            # Conflicts come of the callers' own doing and say nothing about the engine.
            or not (conflict or self._budget.take())
        ):
            _log.warning("the table fails: %s, %s", failure.value, type(error).__name__)
            raise told(failure, unknown=unknown) from error

    async def pause(self, attempts: int) -> None:
        """Waits a random while before the next attempt (full jitter), longer after more of them."""
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2**attempts)
        await self._sleep(random.uniform(0, longest))  # noqa: S311 - jitter

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()


async def connect(
    *,
    region: str,
    credentials: Credentials,
    endpoint: str = "",
    connections: int = 128,
    attempt_seconds: float = ATTEMPT_SECONDS,
) -> Calls:
    """The calls of one region's DynamoDB, to be closed by `close`. Connects when it first has to.

    Args:
        region: the region's name, for signatures and for the endpoint where none is given.
        credentials: whose calls are made, asked for each call.
        endpoint: the URL of another endpoint than the region's own.
        connections: the most connections at a time.
        attempt_seconds: how long one attempt may take, the wait for a connection included.
    """
    url = URL(endpoint) if endpoint else make_default_endpoint(region)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, keepalive_timeout=KEEP_SECONDS),
        timeout=aiohttp.ClientTimeout(total=attempt_seconds, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    client = Client(
        Http(session, url), credentials, region, endpoint=url, throttle_config=OneAttempt()
    )
    return Calls(client, session=session)
