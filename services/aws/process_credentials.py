"""The process's own identity: for the tenant directory, for administration, and where no sessions are made.

The directory is read before there is a tenant to have a session for. What this identity may touch is for the
process's role to say (deploy/aws/silo.yaml). Where the engines file asks for sessions, no tenant's credentials
ever fall back to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import boto3
from aiodynamo.credentials import Credentials, Key
from aiodynamo.http.types import HttpImplementation
from botocore.exceptions import BotoCoreError

from boundary.errors import Unavailable

_WAIT_SECONDS = 10.0

_HELD_SECONDS = 60.0
"""How long a key is used without asking boto3, which renews keys several minutes before they end."""


class ProcessDynamoCredentials(Credentials):
    """The process's own AWS identity for aiodynamo (aiodynamo.credentials.Credentials).

    boto3 finds it (environment, container, instance) and renews it; that may block, so it is done on a thread.
    """

    def __init__(
        self,
        session: boto3.Session | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session or boto3.Session()
        self._clock = clock
        self._held: tuple[Key, float] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="process-credentials")

    async def get_key(self, http: HttpImplementation) -> Key:
        """The process's own key.

        Raises:
            Unavailable: the process has no identity at present.
        """
        now = self._clock()
        if self._held is not None and now < self._held[1]:
            return self._held[0]
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                key = await asyncio.get_running_loop().run_in_executor(self._thread, self._key)
        except (TimeoutError, BotoCoreError) as error:
            raise _unavailable() from error
        self._held = (key, now + _HELD_SECONDS)
        return key

    def invalidate(self) -> bool:
        """Asks boto3 anew the next time; whether there was anything to drop."""
        held, self._held = self._held, None
        return held is not None

    def is_disabled(self) -> bool:
        """Never: there is nothing else to fall back to."""
        return False

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _key(self) -> Key:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise _unavailable()
        frozen = credentials.get_frozen_credentials()
        if frozen.access_key is None or frozen.secret_key is None:
            raise _unavailable()
        return Key(id=frozen.access_key, secret=frozen.secret_key, token=frozen.token)


def _unavailable() -> Unavailable:
    return Unavailable(
        "CREDENTIALS_UNAVAILABLE", "the directory's credentials cannot be had at present"
    )
