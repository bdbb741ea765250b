"""A lock that all processes share which reach a bucket: an object beside the tenants' prefixes.

Who makes the object (If-None-Match) has the lock, until it deletes it or its time is over; then another takes it
over (If-Match), and the first one's deletion finds another object. Clocks that differ by less than the margin do
no harm: a lock is taken over only when it is over by that much.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from boundary.errors import SiloError, Unavailable
from services.storage.s3_client import Calls
from services.storage.s3_errors import Kind, Refused

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_log = logging.getLogger(__name__)

LOCKS = ".silo/locks/"
"""What lies under this belongs to no tenant: every tenant's prefix begins with `tenant-`."""

LEASE_SECONDS = 30.0
MARGIN_SECONDS = 15.0
PATIENCE_SECONDS = 10.0

_LONGEST_PAUSE = 0.5
_TAKEN = frozenset({Kind.PRECONDITION, Kind.CONFLICT, Kind.MISSING})


class BucketLocks:
    """A lock of one name for each bucket; an s3_lifecycle.Lock."""

    def __init__(
        self, client: S3Client, calls: Calls, *, name: str, clock: Callable[[], float] = time.time
    ) -> None:
        """Takes the client, how it is called, the lock's name, and the time in seconds since the epoch."""
        self._client = client
        self._calls = calls
        self._key = LOCKS + name
        self._clock = clock

    @asynccontextmanager
    async def __call__(self, bucket: str) -> AsyncIterator[None]:
        """Holds the bucket's lock within the block, for at most LEASE_SECONDS.

        Raises:
            Unavailable: others hold it for longer than PATIENCE_SECONDS, or the block took too long.
        """
        etag = await self._acquire(bucket)
        try:
            async with asyncio.timeout(LEASE_SECONDS):
                yield
        except TimeoutError as error:
            raise _busy() from error
        finally:
            await asyncio.shield(self._release(bucket, etag))

    async def _acquire(self, bucket: str) -> str:
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            etag = await self._take(bucket, IfNoneMatch="*")
            if etag is None:
                over = await self._over(bucket)
                etag = await self._take(bucket, IfMatch=over) if over else None
            if etag is not None:
                return etag
            if time.monotonic() >= until:
                raise _busy()
            await asyncio.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311 - jitter

    async def _take(self, bucket: str, **condition: Any) -> str | None:
        """The ETag of the lock as taken, or None where another has it."""
        # The holder's name makes each content, and so each ETag, another one.
        holder = {"holder": secrets.token_hex(16), "until": self._clock() + LEASE_SECONDS}
        work = partial(
            self._client.put_object,
            Bucket=bucket,
            Key=self._key,
            Body=json.dumps(holder).encode(),
            ServerSideEncryption="AES256",
            **condition,
        )
        try:
            # Made again, it would not know its own first attempt from somebody else's.
            answer = await self._calls.call(work, provides=_TAKEN, repeatable=False)
        except Refused:
            return None
        return answer["ETag"]

    async def _over(self, bucket: str) -> str | None:
        """The ETag of the lock where its time is over, or None."""

        def read() -> tuple[str, bytes]:
            answer = self._client.get_object(Bucket=bucket, Key=self._key)
            return answer["ETag"], answer["Body"].read()

        try:
            # Whoever may not list is told of what is not there that it may not read it.
            etag, raw = await self._calls.call(read, provides={Kind.MISSING, Kind.REFUSED})
        except Refused:
            return None
        until = float(json.loads(raw)["until"])
        return etag if self._clock() > until + MARGIN_SECONDS else None

    async def _release(self, bucket: str, etag: str) -> None:
        work = partial(self._client.delete_object, Bucket=bucket, Key=self._key, IfMatch=etag)
        try:
            await self._calls.call(work, provides=_TAKEN)
        except (Refused, SiloError):
            _log.warning("a lock is left to end by itself: %s", self._key)


def _busy() -> Unavailable:
    return Unavailable("ENGINE_BUSY", "the bucket's rules are being changed by others")
