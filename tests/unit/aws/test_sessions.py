from __future__ import annotations

import asyncio
import contextvars
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from boundary.context import Placement, serving
from boundary.errors import Unavailable
from boundary.guard import GuardViolation
from boundary.ids import TenantId
from boundary.tenants import TenantState
from services.aws.sessions import MIN_SECONDS, TenantSessions
from tests.unit.aws.tenants import ROLES, Clock, FakeIssuer, context_of

A, B, A1 = context_of("A"), context_of("B"), context_of("A-1")
LIFE = MIN_SECONDS - 60


@pytest.fixture
def issuer() -> FakeIssuer:
    return FakeIssuer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(issuer: FakeIssuer, clock: Clock) -> Iterator[TenantSessions]:
    sessions = TenantSessions(service="data", roles=ROLES, issuer=issuer, clock=clock)
    yield sessions
    issuer.open.set()
    sessions.close()


async def key_of(sessions: TenantSessions, context=A) -> str:
    with serving(context):
        return (await sessions.ensure()).key.access_key


async def until(condition) -> None:
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.005)


async def test_a_session_is_for_exactly_the_tenant_that_is_served(sessions, issuer):
    assert await key_of(sessions, A) == "A/1"
    assert await key_of(sessions, B) == "B/1"
    assert await key_of(sessions, A1) == "A-1/1"
    assert await key_of(sessions, A) == "A/1"
    first = issuer.requests[0]
    assert first.name == "silo-data-A"
    assert first.role_arn == ROLES["local"].arn
    assert (first.tenant_id, first.slug, first.seconds) == ("A", "a", MIN_SECONDS)
    keys = json.loads(first.policy)["Statement"][0]["Condition"]["ForAllValues:StringEquals"]
    assert keys == {"dynamodb:LeadingKeys": "TENANT#A"}


async def test_outside_of_any_call_there_is_no_session(sessions, issuer):
    with pytest.raises(GuardViolation):
        await sessions.ensure()
    with pytest.raises(GuardViolation):
        sessions.obtain()
    assert issuer.requests == []


async def test_a_thread_without_the_calls_context_gets_none(sessions):
    with serving(A), ThreadPoolExecutor(1) as threads:
        loop = asyncio.get_running_loop()
        with pytest.raises(GuardViolation):
            await loop.run_in_executor(threads, sessions.obtain)
        context = contextvars.copy_context()
        session = await loop.run_in_executor(threads, context.run, sessions.obtain)
        assert session.key.access_key == "A/1"


async def test_many_callers_share_one_flight(sessions, issuer):
    issuer.open.clear()
    callers = [asyncio.create_task(key_of(sessions)) for _ in range(50)]
    with serving(A):
        context = contextvars.copy_context()
    threads = [threading.Thread(target=context.copy().run, args=(sessions.obtain,)) for _ in "123"]
    for thread in threads:
        thread.start()
    await until(lambda: issuer.requests)
    issuer.open.set()
    assert set(await asyncio.gather(*callers)) == {"A/1"}
    for thread in threads:
        await asyncio.to_thread(thread.join, 5)
    assert len(issuer.requests) == 1


async def test_a_caller_that_goes_away_takes_nobody_along(sessions, issuer):
    issuer.open.clear()
    goes, stays = (asyncio.create_task(key_of(sessions)) for _ in range(2))
    await until(lambda: issuer.requests)
    goes.cancel()
    with pytest.raises(asyncio.CancelledError):
        await goes
    issuer.open.set()
    assert await stays == "A/1"


async def test_a_session_is_renewed_ahead_while_it_still_serves(sessions, issuer, clock):
    await key_of(sessions)
    clock.now += LIFE * 0.69
    assert await key_of(sessions) == "A/1"
    assert len(issuer.requests) == 1
    issuer.open.clear()
    clock.now += LIFE * 0.17
    assert await key_of(sessions) == "A/1"  # at once: nobody waits for the renewal
    await until(lambda: len(issuer.requests) == 2)
    issuer.open.set()
    await until(lambda: sessions._flights == {})
    assert await key_of(sessions) == "A/2"


async def test_renewals_are_spread(sessions, clock):
    for number in range(40):
        with serving(context_of(f"T{number}")):
            await sessions.ensure()
    moments = {
        round(session.renew_at - session.issued_at) for session in sessions._sessions.values()
    }
    assert len(moments) > 10
    assert min(moments) >= LIFE * 0.69
    assert max(moments) <= LIFE * 0.86


async def test_a_session_ends_though_it_is_used_and_nothing_stands_in_for_it(
    sessions, issuer, clock
):
    await key_of(sessions)
    issuer.failing = True
    ends = clock.now + LIFE
    while clock.now < ends:
        assert await key_of(sessions) == "A/1"  # a failed renewal is no harm yet
        await until(lambda: sessions._flights == {})
        clock.now += 20
    with pytest.raises(Unavailable):
        await key_of(sessions)
    with serving(A), pytest.raises(Unavailable):
        sessions.obtain()
    issuer.failing = False
    assert (await key_of(sessions)).startswith("A/")


async def test_failed_renewals_do_not_pile_up(sessions, issuer, clock):
    await key_of(sessions)
    issuer.failing = True
    clock.now += LIFE * 0.9
    for _ in range(100):
        await key_of(sessions)
        await until(lambda: sessions._flights == {})
    assert len(issuer.requests) == 2


async def test_an_unexpected_failure_is_unavailable(sessions, issuer, monkeypatch):
    def breaks(request):
        raise RuntimeError("secret text")

    monkeypatch.setattr(issuer, "assume", breaks)
    with pytest.raises(Unavailable) as caught:
        await key_of(sessions)
    assert "secret" not in caught.value.message


async def test_a_slow_sts_is_waited_for_a_bounded_time(issuer):
    issuer.open.clear()
    sessions = TenantSessions(service="data", roles=ROLES, issuer=issuer, wait_seconds=0.05)
    with pytest.raises(Unavailable):
        await key_of(sessions)
    with serving(A), pytest.raises(Unavailable):
        sessions.obtain()
    issuer.open.set()
    sessions.close()


async def test_the_queue_is_bounded(issuer):
    issuer.open.clear()
    sessions = TenantSessions(service="data", roles=ROLES, issuer=issuer, threads=1, max_flights=3)
    waiting = [asyncio.create_task(key_of(sessions, context_of(f"T{n}"))) for n in range(3)]
    await until(lambda: len(sessions._flights) == 3)
    with pytest.raises(Unavailable):
        await key_of(sessions)
    issuer.open.set()
    assert await asyncio.gather(*waiting) == ["T0/1", "T1/1", "T2/1"]
    sessions.close()


async def test_the_cache_is_bounded_and_the_oldest_goes(issuer, clock):
    sessions = TenantSessions(service="data", roles=ROLES, issuer=issuer, capacity=3, clock=clock)
    for number in range(5):
        await key_of(sessions, context_of(f"T{number}"))
    assert len(sessions) == 3
    assert await key_of(sessions, context_of("T4")) == "T4/1"
    assert await key_of(sessions, context_of("T0")) == "T0/2"
    clock.now += LIFE + 1
    await key_of(sessions, A)
    assert len(sessions) == 1  # what has ended is not kept
    sessions.close()


async def test_a_tenant_that_moves_gets_another_session(sessions, issuer):
    await key_of(sessions)
    moved = Placement(region="local", table="Own", bucket="own", search_cluster="local")
    assert await key_of(sessions, context_of("A", placement=moved)) == "A/2"
    assert "table/Own" in issuer.requests[1].policy


async def test_a_region_without_a_role_is_unavailable(sessions, issuer):
    placement = Placement(region="moon", table="t", bucket="b", search_cluster="s")
    with pytest.raises(Unavailable):
        await key_of(sessions, context_of("A", placement=placement))
    assert issuer.requests == []


async def test_a_refused_session_is_dropped_unless_it_is_new(sessions, clock):
    await key_of(sessions)
    await key_of(sessions, B)
    with serving(A):
        assert not sessions.invalidate()
        clock.now += 10
        assert sessions.invalidate()
        assert sessions.invalidate()
    assert await key_of(sessions) == "A/2"
    assert await key_of(sessions, B) == "B/1"


async def test_a_tenant_that_leaves_is_forgotten_flights_included(sessions, issuer):
    await key_of(sessions)
    await key_of(sessions, A1)
    assert sessions.forget(TenantId("A")) == 1
    issuer.open.clear()
    late = asyncio.create_task(key_of(sessions))
    await until(lambda: sessions._flights)
    sessions.forget(TenantId("A"))
    issuer.open.set()
    await late
    await asyncio.sleep(0.02)
    assert len(sessions) == 1
    assert await key_of(sessions, A1) == "A-1/1"


async def test_a_tenant_that_may_not_work_keeps_no_session(sessions, issuer):
    for context in (A, A1):
        await key_of(sessions, context)
    sessions.observe(TenantState(tenant_id=TenantId("A"), generation=2, active=True))
    assert len(sessions) == 2
    sessions.observe(TenantState(tenant_id=TenantId("A"), generation=3, active=False))
    assert len(sessions) == 1
    assert await key_of(sessions, A1) == "A-1/1"


async def test_closing_answers_those_who_wait(issuer):
    sessions = TenantSessions(service="data", roles=ROLES, issuer=issuer, threads=1)
    issuer.open.clear()
    flying = asyncio.create_task(key_of(sessions, A))
    await until(lambda: issuer.requests)
    queued = asyncio.create_task(key_of(sessions, B))
    await until(lambda: len(sessions._flights) == 2)
    sessions.close()
    with pytest.raises(Unavailable):
        await queued
    issuer.open.set()
    await flying
    assert len(sessions) == 0
    with pytest.raises(Unavailable):
        await key_of(sessions, A1)


def test_a_session_shows_no_secret():
    issued = FakeIssuer()
    sessions = TenantSessions(service="data", roles=ROLES, issuer=issued)
    with serving(A):
        assert "secret" not in repr(sessions.obtain())
        assert "token" not in repr(sessions.obtain())
    sessions.close()


@pytest.mark.parametrize("seconds", [0, 899, 3601, 43200])
def test_a_session_lives_15_to_60_minutes(seconds, issuer):
    with pytest.raises(ValueError, match="900 to 3600"):
        TenantSessions(service="data", roles=ROLES, issuer=issuer, seconds=seconds)
