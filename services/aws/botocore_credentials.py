"""The tenant's session for botocore: one shared client signs each call for the tenant that it serves.

boto3 blocks, so its calls run on worker threads, each in a copy of the context of the call that it is made for.
`TenantCalls` sees to that; a thread that was started any other way has no tenant, and its calls fail.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

import boto3
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
)
from botocore.session import Session as BotocoreSession

from services.aws.sessions import TenantSessions

T = TypeVar("T")


class TenantBotocoreCredentials(Credentials):
    """Credentials that are the current tenant's at every signature (botocore.credentials.Credentials)."""

    def __init__(self, sessions: TenantSessions) -> None:
        # Not the base class's: it would keep one key for good.
        self._sessions = sessions
        self.method = "silo-tenant-session"
        self.account_id = None

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The key of the tenant whose call is being served; it blocks where there is no session yet.

        Raises:
            GuardViolation: no call is being served, or the thread does not carry its context.
            Unavailable, ResourceExhausted: there is no session at present.
        """
        key = self._sessions.obtain().key
        return ReadOnlyCredentials(key.access_key, key.secret_key, key.token)

    # A signer that would read the parts one by one could mix two sessions: there are none to read.
    @property
    def access_key(self) -> str:  # type: ignore[override]
        """Not to be had alone."""
        raise AttributeError("a tenant's key is read with get_frozen_credentials")

    secret_key = access_key
    token = access_key


class _TenantProvider(CredentialProvider):
    METHOD = "silo-tenant-session"

    def __init__(self, credentials: TenantBotocoreCredentials) -> None:
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


def tenant_boto3_session(sessions: TenantSessions) -> boto3.Session:
    """A boto3 session whose clients sign for the current tenant and know no other credentials.

    Neither environment, files nor the machine's role are looked at.
    """
    session = BotocoreSession()
    provider = _TenantProvider(TenantBotocoreCredentials(sessions))
    session.register_component("credential_provider", CredentialResolver([provider]))
    return boto3.Session(botocore_session=session)


class TenantCalls:
    """Runs blocking engine calls on worker threads, each for the tenant whose call is being served."""

    def __init__(self, sessions: TenantSessions, executor: Executor) -> None:
        """Takes the threads to run on; they are bounded and the caller's to shut down."""
        self._sessions = sessions
        self._executor = executor

    async def run(self, work: Callable[[], T]) -> T:
        """What work returns.

        The session is there before a thread is taken, so that a slow STS holds up no thread of the engine's.

        Raises:
            GuardViolation: no call is being served.
            Unavailable, ResourceExhausted: there is no session at present.
        """
        await self._sessions.ensure()
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._executor, context.run, work)
