"""One search cluster: a client for all tenants, its time limits and its retries.

What may be repeated is repeated after a random pause, a few times, out of a budget that successes fill: a cluster
that fails is not asked several times as often as one that works (gRFC A6, retry throttling).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import opensearchpy
import orjson

from boundary.retries import RetryBudget
from services.engines.settings import SearchEngine
from services.search import opensearch_errors

CLIENT_ERRORS = (opensearchpy.OpenSearchException,)
"""What making a client or asking it may raise."""

_TRIES = 4
_BUDGET = 10.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is spent on one cluster.

    Attributes:
        connections: how many there are at most, for all tenants together.
        writes: how many bulk requests may be under way at once; further ones wait.
        read_seconds: how long a search may take.
        write_seconds: how long a bulk request may take, and the making and dropping of an index.
        patience_seconds: for how long a write that the engine refuses is tried again.
    """

    connections: int = 32
    writes: int = 8
    read_seconds: float = 10.0
    write_seconds: float = 30.0
    patience_seconds: float = 5.0


class Cluster:
    """Sends requests to one cluster."""

    def __init__(self, client: opensearchpy.AsyncOpenSearch, limits: Limits) -> None:
        self._client = client
        self.limits = limits
        self.budget = RetryBudget(most=_BUDGET)
        self.writing = asyncio.Semaphore(limits.writes)
        self.has_template = False

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    async def read(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer to a request that changes nothing; repeated where it may pass.

        Raises:
            IndexMissing: there is no such index.
            SnapshotMissing: the point in time is gone.
            Unavailable: the cluster does not answer.
            ResourceExhausted: it is overloaded.
        """
        return await self._repeated(
            method,
            path,
            body,
            headers=headers,
            params=params,
            timeout=self.limits.read_seconds,
            may_repeat=opensearch_errors.may_pass,
        )

    async def change(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer to a request that changes something; repeated only where it surely was not sent.

        Raises:
            IndexMissing: there is no such index.
            IndexExists: the index that was to be made is there.
            Unavailable: the cluster does not answer; what was asked may have been done.
            ResourceExhausted: it is overloaded.
        """
        return await self._repeated(
            method,
            path,
            body,
            headers=headers,
            params=params,
            timeout=self.limits.write_seconds,
            may_repeat=opensearch_errors.was_not_sent,
        )

    async def _repeated(
        self,
        method: str,
        path: str,
        body: object,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None,
        timeout: float,  # noqa: ASYNC109 - the client ends the call and says so
        may_repeat: Callable[[opensearchpy.OpenSearchException], bool],
    ) -> Any:
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        for attempt in range(_TRIES):
            try:
                answer = await self._client.transport.perform_request(
                    method, path, params=params, body=data, headers=headers, timeout=timeout
                )
            except opensearchpy.OpenSearchException as error:
                last = attempt + 1 == _TRIES
                if last or not may_repeat(error) or not self.budget.take():
                    raise opensearch_errors.translated(error) from error
                await pause(attempt)
                continue
            self.budget.give()
            return answer
        raise AssertionError("the last attempt returns or raises")


async def pause(attempt: int) -> None:
    """Waits a random time that grows with the attempts (exponential backoff with full jitter)."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt)
    await asyncio.sleep(random.uniform(longest / 5, longest))  # noqa: S311 - a pause, no secret


def connect(url: str, limits: Limits, **options: Any) -> opensearchpy.AsyncOpenSearch:
    """A client of the cluster at url, for all its tenants.

    Args:
        options: further arguments of AsyncOpenSearch, for example `http_auth` and `ca_certs`.
    """
    # The client logs every failure with its URL, and bodies below that; what matters is logged here.
    logging.getLogger("opensearch").setLevel(logging.CRITICAL)
    return opensearchpy.AsyncOpenSearch(
        hosts=[url],
        serializer=_Json(),
        maxsize=limits.connections,
        max_retries=0,  # retries are ours, with pauses and a budget
        **options,
    )


def client_of(engine: SearchEngine, limits: Limits) -> opensearchpy.AsyncOpenSearch:
    """A client of a cluster, with the credentials that the engines file names."""
    options: dict[str, Any] = {}
    if engine.username:
        password = engine.password_file.read_text().strip() if engine.password_file else ""
        options["http_auth"] = (engine.username, password)
    if engine.ca_file is not None:
        options["ca_certs"] = str(engine.ca_file)
    return connect(engine.url, limits, **options)


class _Json(opensearchpy.JSONSerializer):
    """orjson in place of json: several times faster on a page of events."""

    def loads(self, s: str) -> Any:
        try:
            return orjson.loads(s)
        except orjson.JSONDecodeError as error:
            raise opensearchpy.SerializationError(s, error) from error

    def dumps(self, data: Any) -> Any:
        return data if isinstance(data, bytes | str) else orjson.dumps(data)
