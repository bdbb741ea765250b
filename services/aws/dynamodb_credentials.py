"""The tenant's session for aiodynamo: one client signs each call for the tenant that it serves."""

from __future__ import annotations

from aiodynamo.credentials import Credentials, Key
from aiodynamo.http.types import HttpImplementation

from services.aws.sessions import TenantSessions


class TenantDynamoCredentials(Credentials):
    """Credentials that are the current tenant's at every request (aiodynamo.credentials.Credentials).

    aiodynamo asks for the key and signs with it in one step of the event loop: no other call comes between.
    """

    def __init__(self, sessions: TenantSessions) -> None:
        self._sessions = sessions

    async def get_key(self, http: HttpImplementation) -> Key:
        """The key of the tenant whose call is being served.

        Raises:
            GuardViolation: no call is being served.
            Unavailable, ResourceExhausted: there is no session at present.
        """
        key = (await self._sessions.ensure()).key
        return Key(id=key.access_key, secret=key.secret_key, token=key.token)

    def invalidate(self) -> bool:
        """Drops the session that the engine has called expired."""
        return self._sessions.invalidate()

    def is_disabled(self) -> bool:
        """Never: there is nothing else to fall back to."""
        return False
