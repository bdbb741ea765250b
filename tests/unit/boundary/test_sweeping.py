"""What a service does by itself in every tenant."""

from __future__ import annotations

from boundary.context import ContextVerifier, TenantContext, current_context
from boundary.errors import Unavailable
from boundary.ids import TenantId
from boundary.sweeping import TenantSweep
from services.resolver.local_keys import LocalKeys
from tests.contexts import mint_token, signing_keys


class Contexts:
    """Gives contexts as the resolver does."""

    async def for_tenant(self, tenant_id: TenantId, *, audience: str) -> str:
        return mint_token(tenant_id, audience=audience)

    async def on_behalf_of(self, context: TenantContext, *, audience: str) -> str:
        raise AssertionError("nobody calls")


class World:
    """Tenants, a clock, and a note of where work was done."""

    def __init__(self) -> None:
        self.tenants = [TenantId("A"), TenantId("B")]
        self.now = 100.0
        self.done: list[str] = []
        self.failing = ""
        self.sweep = TenantSweep(
            self.work,
            audience="storage",
            contexts=Contexts(),
            verifier=ContextVerifier(audience="storage", keys=LocalKeys(signing_keys())),
            tenants=lambda: self.tenants,
            seconds=60,
            clock=lambda: self.now,
        )

    async def work(self, context: TenantContext) -> int:
        assert current_context() is context
        self.done.append(context.tenant_id)
        if context.tenant_id == self.failing:
            raise Unavailable("ENGINE_UNAVAILABLE", "the engine does not answer")
        return 1


async def test_each_tenant_has_its_turn_within_its_own_context_and_then_rest() -> None:
    world = World()
    await world.sweep.sweep()
    assert world.done == ["A", "B"]
    assert current_context() is None
    world.now += 59
    await world.sweep.sweep()
    assert world.done == ["A", "B"]
    world.now += 2
    await world.sweep.sweep()
    assert world.done == ["A", "B", "A", "B"]


async def test_a_new_tenant_is_due_at_once() -> None:
    world = World()
    await world.sweep.sweep()
    world.tenants.append(TenantId("C"))
    await world.sweep.sweep()
    assert world.done == ["A", "B", "C"]


async def test_a_tenant_whose_sweep_fails_holds_up_nobody() -> None:
    world = World()
    world.failing = "A"
    await world.sweep.sweep()
    assert world.done == ["A", "B"]


async def test_a_tenant_that_may_not_write_is_left_alone_and_forgotten() -> None:
    world = World()
    await world.sweep.sweep()
    world.tenants = [TenantId("B")]
    world.now += 61
    await world.sweep.sweep()
    assert world.done == ["A", "B", "B"]
    assert set(world.sweep._due) == {TenantId("B")}
