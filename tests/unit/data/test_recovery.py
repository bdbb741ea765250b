"""Recovery finishes what a crash left, in every tenant and in none but the right one."""

from collections.abc import Callable

import pytest

from boundary.context import current_context, serving
from boundary.errors import Unavailable, tenant_unavailable
from boundary.ids import TenantId
from services.data.intents import LEASE_SECONDS
from services.data.recovery import Recovery
from silo.data.v1.template_pb2 import Template
from tests.contexts import make_context
from tests.unit.data.conftest import Crash, service_token, verifier


class Contexts:
    """Contexts of the service's own, and which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.before: Callable[[str], None] = lambda _: None

    async def on_behalf_of(self, context, *, audience) -> str:
        raise AssertionError("recovery serves no caller")

    async def for_tenant(self, tenant_id, *, audience) -> str:
        assert audience == "data"
        self.asked.append(tenant_id)
        self.before(tenant_id)
        return service_token(tenant_id, audience=audience)


@pytest.fixture
def contexts() -> Contexts:
    return Contexts()


@pytest.fixture
def known() -> list[TenantId]:
    return [TenantId(name) for name in ("A", "A-1", "B")]


@pytest.fixture
def recovery(table, intents, contexts, known) -> Recovery:
    return Recovery(
        table=table,
        intents=intents,
        contexts=contexts,
        verifier=verifier("data"),
        tenants=lambda: known,
    )


async def crashed_creation(templates, content, tenant_id: str, *, written: bool) -> None:
    """Leaves a creation behind whose content was or was not written."""

    def crash(call: str) -> None:
        if call == "put":
            raise Crash

    tenant = make_context(tenant_id)
    if written:
        content.after = crash
    else:
        content.before = crash
    with serving(tenant), pytest.raises(Crash):
        await templates.create(
            tenant, template_id="t", message=Template(display_name="T"), content=b"x"
        )
    content.before = content.after = lambda _: None


async def records(engine) -> dict[str, bool]:
    """Whether each tenant's record is there and finished."""
    found = {}
    for name in ("A", "A-1", "B"):
        item = await engine.get(make_context(name).partition, "TEMPLATE#t")
        if item is not None:
            found[name] = "pending" not in item
    return found


async def test_a_sweep_resolves_what_is_expired(recovery, templates, content, engine, clock):
    await crashed_creation(templates, content, "A", written=True)
    await crashed_creation(templates, content, "A-1", written=False)
    await crashed_creation(templates, content, "B", written=True)
    await recovery.sweep()
    assert await records(engine) == {"A": False, "A-1": False, "B": False}
    clock.pass_seconds(LEASE_SECONDS)
    await recovery.sweep()
    assert await records(engine) == {"A": True, "B": True}
    assert set(content.objects) == {("A", "t"), ("B", "t")}
    assert current_context() is None


async def test_many_unfinished_writes_are_all_resolved(
    recovery, templates, table, content, engine, *, tenant, clock
):
    content.after = lambda call: (_ for _ in ()).throw(Crash) if call == "put" else None
    for number in range(230):
        with pytest.raises(Crash):
            await templates.create(
                tenant,
                template_id=f"t{number}",
                message=Template(display_name="T"),
                content=b"x",
            )
    content.after = lambda _: None
    clock.pass_seconds(LEASE_SECONDS)
    await recovery.sweep()
    for number in range(230):
        item = await engine.get(tenant.partition, f"TEMPLATE#t{number}")
        assert "pending" not in item


async def test_tenants_with_nothing_unfinished_are_looked_at_once(recovery, contexts):
    await recovery.sweep()
    await recovery.sweep()
    assert contexts.asked == ["A", "A-1", "B"]


async def test_a_tenant_that_writes_is_looked_at_until_its_leases_are_long_over(
    recovery, contexts, templates, *, tenant, clock
):
    await recovery.sweep()
    await templates.create(
        tenant, template_id="t", message=Template(display_name="T"), content=b"x"
    )
    await recovery.sweep()
    clock.pass_seconds(2 * LEASE_SECONDS)
    await recovery.sweep()
    await recovery.sweep()
    assert contexts.asked == ["A", "A-1", "B", "A", "A"]


async def test_a_look_while_an_intent_is_on_its_way_does_not_lose_it(
    recovery, templates, content, engine, *, table, tenant, clock
):
    """The table is slow with the intent, and recovery looks at the tenant before it is there."""
    write = type(table).write

    async def after_a_look(self, partition, written):
        type(table).write = write
        await recovery.sweep()
        return await write(self, partition, written)

    await recovery.sweep()
    type(table).write = after_a_look
    content.before = lambda call: (_ for _ in ()).throw(Crash) if call == "put" else None
    with pytest.raises(Crash):
        await templates.create(
            tenant, template_id="t", message=Template(display_name="T"), content=b"x"
        )
    content.before = lambda _: None
    assert await records(engine) == {"A": False}
    clock.pass_seconds(LEASE_SECONDS)
    await recovery.sweep()
    assert await records(engine) == {}


async def test_a_tenant_that_comes_later_is_looked_at(recovery, contexts, known):
    await recovery.sweep()
    known.append(TenantId("C"))
    await recovery.sweep()
    assert contexts.asked[3:] == ["C"]


async def test_one_tenants_trouble_is_not_anothers(
    recovery, contexts, templates, content, *, engine, clock
):
    await crashed_creation(templates, content, "A", written=True)
    await crashed_creation(templates, content, "B", written=True)
    clock.pass_seconds(LEASE_SECONDS)

    def refuse(tenant_id: str) -> None:
        if tenant_id == "A":
            raise tenant_unavailable()

    contexts.before = refuse
    await recovery.sweep()
    assert await records(engine) == {"A": False, "B": True}
    contexts.before = lambda _: None
    await recovery.sweep()
    assert await records(engine) == {"A": True, "B": True}


async def test_storage_that_does_not_answer_is_asked_again(
    recovery, templates, content, engine, clock
):
    await crashed_creation(templates, content, "A", written=True)
    clock.pass_seconds(LEASE_SECONDS)

    def fail(_: str) -> None:
        raise Unavailable("SERVICE_UNAVAILABLE", "no answer")

    content.before = fail
    await recovery.sweep()
    content.before = lambda _: None
    clock.pass_seconds(LEASE_SECONDS)
    await recovery.sweep()
    assert await records(engine) == {"A": True}
