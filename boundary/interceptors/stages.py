"""The stages that a call passes. Each does one thing; `chain.py` says in which order and why."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Mapping
from typing import Protocol

from boundary.audit import AuditLog, durable
from boundary.context import CONTEXT_KEY, ContextVerifier, TenantContext
from boundary.errors import Unauthenticated
from boundary.ids import PrincipalId, TenantId, is_request_id
from boundary.interceptors.call import Call
from boundary.metadata import PEER_KEY, REQUEST_ID_KEY, single
from boundary.metrics import CallMetrics
from boundary.peers import PeerVerifier
from boundary.regions import region_not_served
from boundary.tenants import LiveCalls, TenantStates
from boundary.tokens import AUTHORIZATION_KEY, Caller, TokenVerifier
from silo.policy.v1 import policy_pb2


class Stage:
    """One stage. `enter` lets the call go on or raises; `leave` follows, in reverse order, however it ended."""

    name = ""

    def enter(self, call: Call) -> Awaitable[None] | None:
        """Lets the call go on, or raises a SiloError; returns what is to be awaited first, if anything."""

    def begin(self, call: Call) -> Awaitable[None] | None:
        """Runs before the first message of a stream; returns what is to be awaited first, if anything."""

    def leave(self, call: Call) -> None:
        """Runs when the call has ended, however far it came; `call.error` tells how."""


class Identify(Stage):
    """Gives the call its request id: the caller's own where it is in grammar, else a new one."""

    name = "identify"

    def enter(self, call: Call) -> None:
        """Sets call.request_id."""
        for key, value in call.metadata:
            if key == REQUEST_ID_KEY and isinstance(value, str) and is_request_id(value):
                call.request_id = value
                return
        call.request_id = f"{random.getrandbits(96):024x}"


class Measure(Stage):
    """Counts and times the call."""

    name = "measure"

    def __init__(self, metrics: CallMetrics) -> None:
        self._metrics = metrics

    def leave(self, call: Call) -> None:
        """Counts the call under its method and status."""
        self._metrics.observe(call)


_REFUSALS = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED"})
"""Statuses of calls that the boundary did not let through, wherever it was found out."""


class Audit(Stage):
    """Records the call; refuses to serve what could not be recorded."""

    name = "audit"

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def enter(self, call: Call) -> None:
        """Returns where the call can be recorded."""
        if self._log.behind:
            self._log.require_writable()

    def begin(self, call: Call) -> Awaitable[None] | None:
        """Records that a stream begins: were the process killed within it, nothing else would tell of it."""
        waiter = self._log.record(call, status="", reason="", allowed=True, begin=True)
        return None if waiter is None else durable(waiter)

    def leave(self, call: Call) -> None:
        """Records the call, unless a service behind this one does."""
        if not call.recorded_downstream:
            call.recorded = self._log.record(
                call,
                status=call.status,
                reason=call.error.reason if call.error else "",
                allowed=call.admitted and call.refusal is None and call.status not in _REFUSALS,
            )


class Authenticator(Protocol):
    """Proves one kind of credential."""

    def authenticate(self, call: Call) -> Awaitable[None] | None:
        """Sets the call's principal, with its context or caller, or raises.

        Returns what is to be awaited first, if anything: what was verified before takes no waiting.
        """


class ContextAuthenticator:
    """A signed tenant context: exactly one, verified. Its generation is the business of `track`."""

    def __init__(self, verifier: ContextVerifier) -> None:
        self._verifier = verifier

    def authenticate(self, call: Call) -> Awaitable[None] | None:
        """Sets call.context, call.principal and call.tenant_id."""
        token = single(call.metadata, CONTEXT_KEY)
        if token is None:
            raise Unauthenticated("CONTEXT_MISSING", "no tenant context was sent")
        context = self._verifier.verified(token)
        if context is None:
            return self._verify(call, token)
        _accept_context(call, context)
        return None

    async def _verify(self, call: Call, token: str) -> None:
        _accept_context(call, await self._verifier.verify(token))


def _accept_context(call: Call, context: TenantContext) -> None:
    call.context, call.principal = context, context.principal
    call.tenant_id = context.tenant_id


class TokenAuthenticator:
    """A caller's JWT."""

    def __init__(self, verifier: TokenVerifier) -> None:
        self._verifier = verifier

    def authenticate(self, call: Call) -> Awaitable[None] | None:
        """Sets call.caller and call.principal, and call.tenant_id where the JWT names a tenant."""
        authorization = single(call.metadata, AUTHORIZATION_KEY)
        caller = self._verifier.verified(authorization)
        if caller is None:
            return self._verify(call, authorization)
        _accept_caller(call, caller)
        return None

    async def _verify(self, call: Call, authorization: str | None) -> None:
        _accept_caller(call, await self._verifier.verify(authorization))


def _accept_caller(call: Call, caller: Caller) -> None:
    call.caller, call.principal = caller, caller.principal
    if caller.tenant_id:
        call.tenant_id = TenantId(caller.tenant_id)


class PeerAuthenticator:
    """A platform service's own token."""

    def __init__(self, verifier: PeerVerifier) -> None:
        self._verifier = verifier

    def authenticate(self, call: Call) -> None:
        """Sets call.principal to `service:{name}` and call.peer_service."""
        call.peer_service = self._verifier.verify(single(call.metadata, PEER_KEY))
        call.principal = PrincipalId(f"service:{call.peer_service}")


class Authenticate(Stage):
    """Proves the credential that the method declares, and no other."""

    name = "authenticate"

    def __init__(
        self, by_credential: Mapping[policy_pb2.Credential.ValueType, Authenticator]
    ) -> None:
        self._by_credential = by_credential

    def enter(self, call: Call) -> Awaitable[None] | None:
        """Authenticates, or raises; for what is public there is nothing to prove."""
        if call.method.credential == policy_pb2.CREDENTIAL_NONE:
            return None
        authenticator = self._by_credential.get(call.method.credential)
        if authenticator is None:
            raise Unauthenticated("CREDENTIAL_UNSUPPORTED", "this service takes no such credential")
        return authenticator.authenticate(call)


class Reside(Stage):
    """Refuses a tenant whose region this service does not serve, before any work is done for it."""

    name = "reside"

    def __init__(self, *regions: str) -> None:
        self._regions = frozenset(regions)

    def enter(self, call: Call) -> None:
        """Returns where the tenant's region is served here."""
        if call.context is not None and call.context.placement.region not in self._regions:
            raise region_not_served()


class Track(Stage):
    """Refuses a context that is not of the newest generation, and keeps the call where a change can end it."""

    name = "track"

    def __init__(self, live_calls: LiveCalls, states: TenantStates) -> None:
        self._live_calls = live_calls
        self._states = states

    def enter(self, call: Call) -> None:
        """Notes the call, then looks at its tenant's state: a change that comes later finds the call noted.

        At the gateway a call has the caller's JWT and no context yet; its tenant is tracked all the same.
        """
        tenant_id = call.tenant_id
        if tenant_id is None:
            return
        self._live_calls.add(tenant_id, call)
        if call.context is not None:
            self._states.check(call.context)
        else:
            self._states.require_active(tenant_id)

    def leave(self, call: Call) -> None:
        """Forgets the call. The chain leaves the stage that refused, too, so that nothing stays behind."""
        tenant_id = call.tenant_id
        if tenant_id is not None:
            self._live_calls.remove(tenant_id, call)


class Authorise(Stage):
    """Asks for the permission that the method declares."""

    name = "authorise"

    def enter(self, call: Call) -> None:
        """Returns where the caller holds the permission, and the tenant's status lets it be used."""
        permission = call.method.permission
        if not permission:
            return
        if call.context is not None:
            call.context.require(permission)
        else:
            call.operator.permissions.require(permission)
