"""The cache of tenant contexts, with a clock and a resolver of the tests' own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from boundary.errors import PermissionDenied, Unavailable, tenant_unavailable
from boundary.ids import PrincipalId, TenantId
from boundary.permissions import Permissions
from boundary.tenants import LiveCalls, TenantState, TenantStates
from boundary.tokens import Caller
from gateway.contexts import ContextCache
from gateway.resolution import Resolved


def caller(tenant_id: str = "A", *, token: str = "", expires_at: int = 1_000_000) -> Caller:
    return Caller(
        principal=PrincipalId("alice"),
        issuer="https://dev.silo.local",
        tenant_id=tenant_id,
        permissions=Permissions(["*"]),
        expires_at=expires_at,
        token=token or f"token-of-{tenant_id}",
    )


class Resolver:
    """Counts, and answers when its gate is open."""

    def __init__(self, now: list[float]) -> None:
        self.now = now
        self.calls: list[tuple[str, str]] = []
        self.generation = 1
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def resolve(self, caller: Caller, audience: str, *, request_id: str) -> Resolved:
        self.calls.append((caller.tenant_id, audience))
        number, generation = len(self.calls), self.generation
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Resolved(
            context=f"context-{number}",
            tenant_id=TenantId(caller.tenant_id),
            generation=generation,
            expires_at=min(self.now[0] + 60, caller.expires_at),
        )


class World:
    def __init__(self, size: int = 100) -> None:
        self.now = [1000.0]
        self.states = TenantStates(LiveCalls())
        self.resolver = Resolver(self.now)
        self.cache = ContextCache(self.resolver, self.states, clock=lambda: self.now[0], size=size)

    async def get(self, who: Caller | None = None, audience: str = "data", **more: Any) -> str:
        resolved = await self.cache.resolve(who or caller(), audience, request_id="request", **more)
        return resolved.context

    def change(self, generation: int, *, active: bool = True, tenant_id: str = "A") -> None:
        self.states.observe(
            TenantState(tenant_id=TenantId(tenant_id), generation=generation, active=active)
        )


async def test_one_resolution_serves_until_shortly_before_the_end() -> None:
    world = World()
    assert await world.get() == "context-1"
    world.now[0] += 35
    assert await world.get() == "context-1"
    assert len(world.resolver.calls) == 1


async def test_callers_and_audiences_are_apart() -> None:
    world = World()
    await world.get()
    await world.get(audience="search")
    await world.get(caller(token="another"))
    await world.get(caller("B"))
    assert world.resolver.calls == [
        ("A", "data"),
        ("A", "search"),
        ("A", "data"),
        ("B", "data"),
    ]


async def test_use_does_not_prolong() -> None:
    world = World()
    world.resolver.error = None
    await world.get()
    for _ in range(53):
        world.now[0] += 1
        world.resolver.error = Unavailable("SERVICE_UNAVAILABLE", "down")
        assert world.cache.held(caller(), "data") is not None
        await asyncio.sleep(0)
    world.now[0] += 1
    assert world.cache.held(caller(), "data") is None
    with pytest.raises(Unavailable):
        await world.get()


async def test_the_next_context_is_fetched_ahead_and_in_the_background() -> None:
    world = World()
    await world.get()
    world.now[0] += 47
    world.resolver.gate.clear()
    assert await world.get() == "context-1", "nobody waits for it"
    assert await world.get() == "context-1"
    await asyncio.sleep(0)
    assert len(world.resolver.calls) == 2
    world.resolver.gate.set()
    await asyncio.sleep(0.01)
    assert await world.get() == "context-2"
    world.now[0] += 30
    assert await world.get() == "context-2"


async def test_a_refusal_of_the_next_context_ends_the_present_one() -> None:
    world = World()
    await world.get()
    world.now[0] += 47
    world.resolver.error = tenant_unavailable()
    await world.get()
    await asyncio.sleep(0.01)
    with pytest.raises(PermissionDenied):
        await world.get()


async def test_a_resolver_that_is_down_is_asked_once_a_second_while_the_context_lasts() -> None:
    world = World()
    await world.get()
    world.now[0] += 47
    world.resolver.error = Unavailable("SERVICE_UNAVAILABLE", "down")
    for _ in range(50):
        assert await world.get() == "context-1"
        await asyncio.sleep(0)
    assert len(world.resolver.calls) == 2
    world.now[0] += 1.5
    await world.get()
    await asyncio.sleep(0)
    assert len(world.resolver.calls) == 3


async def test_many_at_once_are_one_resolution() -> None:
    world = World()
    world.resolver.gate.clear()
    waiting = [asyncio.create_task(world.get()) for _ in range(50)]
    await asyncio.sleep(0.01)
    world.resolver.gate.set()
    assert set(await asyncio.gather(*waiting)) == {"context-1"}
    assert len(world.resolver.calls) == 1


async def test_the_first_callers_end_does_not_end_the_others() -> None:
    world = World()
    world.resolver.gate.clear()
    first = asyncio.create_task(world.get())
    await asyncio.sleep(0.01)
    second = asyncio.create_task(world.get())
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    world.resolver.gate.set()
    assert await second == "context-1"
    assert first.cancelled()
    assert len(world.resolver.calls) == 1


async def test_refusals_are_not_kept() -> None:
    world = World()
    world.resolver.error = tenant_unavailable()
    for _ in range(3):
        with pytest.raises(PermissionDenied):
            await world.get()
    world.resolver.error = None
    assert await world.get() == "context-4"


async def test_the_number_held_is_bounded() -> None:
    world = World(size=10)
    for number in range(200):
        await world.get(caller(token=f"t{number}"))
    assert len(world.cache) == 10
    assert world.cache.held(caller(token="t199"), "data") is not None
    assert world.cache.held(caller(token="t0"), "data") is None
    world.change(2)
    assert len(world.cache) == 0


async def test_a_context_of_a_token_that_ends_soon_is_used_once_and_not_kept() -> None:
    world = World()
    who = caller(expires_at=int(world.now[0]) + 3)
    assert await world.get(who) == "context-1"
    assert await world.get(who) == "context-2"
    assert len(world.cache) == 0


async def test_a_change_drops_what_is_held_for_the_tenant_alone() -> None:
    world = World()
    await world.get()
    await world.get(audience="search")
    await world.get(caller("B"))
    world.resolver.generation = 2
    world.change(2)
    assert world.cache.held(caller(), "data") is None
    assert world.cache.held(caller(), "search") is None
    assert world.cache.held(caller("B"), "data") is not None
    assert await world.get() == "context-4"


async def test_a_resolution_that_a_change_overtook_is_asked_for_again() -> None:
    world = World()
    world.resolver.gate.clear()
    waiting = asyncio.create_task(world.get())
    await asyncio.sleep(0.01)
    world.change(2)
    world.resolver.generation = 2
    world.resolver.gate.set()
    assert await waiting == "context-2"
    assert await world.get() == "context-2"


async def test_a_resolution_that_stays_behind_is_not_kept() -> None:
    world = World()
    world.change(5)
    await world.get()
    assert len(world.cache) == 0


async def test_a_resolution_that_a_suspension_overtook_is_refused() -> None:
    world = World()
    world.resolver.gate.clear()
    waiting = asyncio.create_task(world.get())
    await asyncio.sleep(0.01)
    world.change(2, active=False)
    world.resolver.gate.set()
    with pytest.raises(PermissionDenied):
        await waiting
    assert len(world.cache) == 0


async def test_a_rejected_context_is_not_given_again() -> None:
    world = World()
    first = await world.cache.resolve(caller(), "data", request_id="r")
    world.resolver.generation = 2
    assert await world.get(rejected=first) == "context-2"
    assert await world.get(rejected=first) == "context-2", "the newer one is there already"


async def test_a_resolution_begun_before_the_rejection_does_not_do() -> None:
    world = World()
    first = await world.cache.resolve(caller(), "data", request_id="r")
    world.now[0] += 47
    world.resolver.gate.clear()
    await world.get()
    await asyncio.sleep(0)
    world.resolver.generation = 2
    waiting = asyncio.create_task(world.get(rejected=first))
    await asyncio.sleep(0.01)
    world.resolver.gate.set()
    assert await waiting == "context-3"
