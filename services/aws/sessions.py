"""An STS session for each tenant that a service works for, found from the call that is being served.

Sessions are cached until shortly before they end, renewed ahead of that while they are in use, with one flight
for each key, and never stretched: a tenant whose session cannot be had gets Unavailable, never a wider identity.
The cache serves the event loop (`ensure`) and worker threads (`obtain`) alike.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError as CancelledFuture
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from boundary.context import TenantContext
from boundary.errors import SiloError, Unavailable
from boundary.guard import require_context
from boundary.ids import TenantId, TenantSlug
from boundary.tenants import TenantState
from services.aws.policy import TenantRole, session_policy

_log = logging.getLogger(__name__)

MIN_SECONDS = 900
"""The shortest session (AWS STS API reference, AssumeRole, DurationSeconds)."""

MAX_SECONDS = 3600
"""The longest session of a role that another role assumes (AWS IAM user guide, role chaining)."""

_MARGIN_SECONDS = 60.0
"""A session ends this much earlier here than at AWS, so that a call that was just signed still arrives."""

_RENEWED_FROM = (0.7, 0.85)
"""The share of its life from which on a session is renewed: between these, so that sessions that began
together are not renewed together."""

_RETRY_RENEWAL_SECONDS = (5.0, 15.0)
_TOO_YOUNG_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """What STS is asked for.

    Attributes:
        role_arn: the role to assume.
        name: the session's name, `silo-{service}-{tenantId}`: CloudTrail shows it with every call.
        policy: the session policy, JSON.
        tenant_id, slug: the session's tags, which the role's own policy compares keys and prefixes with.
        seconds: how long the session is to live.
    """

    role_arn: str
    name: str
    policy: str
    tenant_id: TenantId
    slug: TenantSlug
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """The access key of a session."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A tenant's session. Times are of the monotonic clock, in seconds: clocks that disagree change nothing.

    Attributes:
        key: signs requests.
        issued_at: when it was asked for.
        renew_at: when a successor is asked for, if the session is in use then; never after ends_at.
        ends_at: when it is no longer used.
    """

    key: IssuedKey
    issued_at: float
    renew_at: float
    ends_at: float


class Issuer(Protocol):
    """Where sessions come from."""

    def assume(self, request: SessionRequest) -> IssuedKey:
        """A session's key. Blocks for a bounded time; any thread may call it.

        Raises:
            Unavailable, ResourceExhausted: there is none at present.
        """


class _Key(NamedTuple):
    """What a session depends on. A tenant that moves gets another one."""

    tenant_id: TenantId
    region: str
    table: str
    bucket: str


class TenantSessions:
    """The sessions of one service. One object, one STS client and a few threads serve every tenant."""

    def __init__(
        self,
        *,
        service: str,
        roles: Mapping[str, TenantRole],
        issuer: Issuer,
        seconds: int = MIN_SECONDS,
        capacity: int = 10_000,
        threads: int = 4,
        max_flights: int = 256,
        wait_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens no connection.

        Args:
            service: a key of services.aws.policy.FILES.
            roles: the role to assume, by the region of the placement.
            issuer: where sessions come from.
            seconds: how long a session lives.
            capacity: the most sessions that are kept; beyond it the one that ends first goes.
            threads: how many sessions are asked for at once.
            max_flights: how many may wait to be asked for; beyond it callers get Unavailable.
            wait_seconds: how long a caller waits for a session.
            clock: monotonic seconds.

        Raises:
            ValueError: a session cannot live that long, or that shortly.
        """
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            raise ValueError(f"a session lives {MIN_SECONDS} to {MAX_SECONDS} seconds")
        self._service = service
        self._roles = dict(roles)
        self._issuer = issuer
        self._seconds = seconds
        self._capacity = capacity
        self._max_flights = max_flights
        self._wait_seconds = wait_seconds
        self._clock = clock
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="tenant-sessions")
        # Reentrant: a flight that has landed already runs its callback where the callback is added.
        self._lock = threading.RLock()
        # In the order of issuing, which is the order of ending: every session lives equally long.
        self._sessions: OrderedDict[_Key, Session] = OrderedDict()
        self._flights: dict[_Key, Future[Session]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    async def ensure(self) -> Session:
        """The session of the tenant whose call is being served.

        Raises:
            GuardViolation: no call is being served.
            Unavailable, ResourceExhausted: there is no session at present.
        """
        found = self._find()
        if isinstance(found, Session):
            return found
        try:
            async with asyncio.timeout(self._wait_seconds):
                # Shielded: others may wait for the same flight when this caller goes away.
                return await asyncio.shield(asyncio.wrap_future(found))
        except TimeoutError as error:
            raise _unavailable() from error
        except asyncio.CancelledError:
            if found.cancelled():  # closed while this caller waited; it was not cancelled itself
                raise _unavailable() from None
            raise

    def obtain(self) -> Session:
        """As ensure, for a worker thread: it blocks where there is no session yet.

        The thread must run in a copy of the call's context (`contextvars.copy_context`).
        """
        found = self._find()
        if isinstance(found, Session):
            return found
        try:
            return found.result(self._wait_seconds)
        except (FutureTimeoutError, CancelledFuture) as error:
            raise _unavailable() from error

    def invalidate(self) -> bool:
        """Drops the current tenant's session, which its engine has refused; whether another may be had at once.

        A session that is but a few seconds old is not dropped: asking again would change nothing.
        """
        key = _key_of(require_context())
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return True
            if self._clock() - session.issued_at < _TOO_YOUNG_SECONDS:
                return False
            del self._sessions[key]
        return True

    def observe(self, state: TenantState) -> None:
        """Drops the sessions of a tenant that may not work any more."""
        if not state.active:
            self.forget(state.tenant_id)

    def forget(self, tenant_id: TenantId) -> int:
        """Drops every session of a tenant, as when it leaves; says how many."""
        with self._lock:
            own = [key for key in self._sessions if key.tenant_id == tenant_id]
            for key in own:
                del self._sessions[key]
            for key in [key for key in self._flights if key.tenant_id == tenant_id]:
                # A flight that is not registered any more is not kept when it lands.
                del self._flights[key]
        return len(own)

    def close(self) -> None:
        """Asks for no more sessions and drops those that there are."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._sessions.clear()
            self._flights.clear()

    def _find(self) -> Session | Future[Session]:
        """The current tenant's session, or the flight that brings it. Renews ahead where it is time."""
        context = require_context()
        key = _key_of(context)
        session = self._sessions.get(key)
        now = self._clock()
        if session is not None and now < session.renew_at:
            return session
        with self._lock:
            session = self._sessions.get(key)
            if session is not None and now < session.renew_at:
                return session  # it landed between the two looks
            usable = session is not None and now < session.ends_at
            try:
                flight = self._flight(key, context)
            except SiloError:
                if session is not None and usable:
                    return session
                raise
        return session if session is not None and usable else flight

    def _flight(self, key: _Key, context: TenantContext) -> Future[Session]:
        """The flight for key, begun where there is none. The lock is held."""
        flight = self._flights.get(key)
        if flight is not None:
            return flight
        if len(self._flights) >= self._max_flights:
            raise _unavailable()
        role = self._roles.get(key.region)
        if role is None:
            _log.error("no role is set for the region %s", key.region)
            raise _unavailable()
        request = SessionRequest(
            role_arn=role.arn,
            name=f"silo-{self._service}-{context.tenant_id}",
            policy=session_policy(self._service, context, role),
            tenant_id=context.tenant_id,
            slug=context.slug,
            seconds=self._seconds,
        )
        try:
            flight = self._threads.submit(self._issue, request)
        except RuntimeError as error:  # closed
            raise _unavailable() from error
        self._flights[key] = flight
        flight.add_done_callback(lambda landed: self._land(key, landed))
        return flight

    def _issue(self, request: SessionRequest) -> Session:
        # The session's life counts from before it was asked for: the answer may have been long under way.
        issued_at = self._clock()
        try:
            issued = self._issuer.assume(request)
        except SiloError:
            raise
        except Exception as error:
            _log.exception("a session could not be had: %s", request.name)
            raise _unavailable() from error
        life = request.seconds - _MARGIN_SECONDS
        return Session(
            key=issued,
            issued_at=issued_at,
            renew_at=issued_at + life * random.uniform(*_RENEWED_FROM),  # noqa: S311 - spreads load
            ends_at=issued_at + life,
        )

    def _land(self, key: _Key, flight: Future[Session]) -> None:
        with self._lock:
            if self._flights.get(key) is not flight:
                return
            del self._flights[key]
            if flight.cancelled():
                return
            if flight.exception() is None:
                self._keep(key, flight.result())
            else:
                self._put_off(key)

    def _keep(self, key: _Key, session: Session) -> None:
        self._sessions.pop(key, None)
        self._sessions[key] = session
        now = self._clock()
        while self._sessions:
            oldest = next(iter(self._sessions))
            if len(self._sessions) <= self._capacity and now < self._sessions[oldest].ends_at:
                return
            del self._sessions[oldest]

    def _put_off(self, key: _Key) -> None:
        """Lets the next renewal wait a little where one has failed. The session's end stays where it is."""
        session = self._sessions.get(key)
        if session is not None:
            again = self._clock() + random.uniform(*_RETRY_RENEWAL_SECONDS)  # noqa: S311
            self._sessions[key] = replace(session, renew_at=min(again, session.ends_at))


def _key_of(context: TenantContext) -> _Key:
    placement = context.placement
    return _Key(
        tenant_id=context.tenant_id,
        region=placement.region,
        table=placement.table,
        bucket=placement.bucket,
    )


def _unavailable() -> Unavailable:
    return Unavailable(
        "CREDENTIALS_UNAVAILABLE", "the tenant's credentials cannot be had at present"
    )
