"""Templates: a record and its content, together whatever happens in between."""

import asyncio
import contextlib
import hashlib

import pytest

from boundary.context import serving
from boundary.errors import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.data.intents import LEASE_SECONDS
from services.data.operations import Listing
from services.data.ports import CONTENT_SECONDS
from services.data.resources import TEMPLATES
from silo.data.v1.template_pb2 import Template
from tests.unit.data.conftest import CONTEXT_A, CONTEXT_B, Crash

OLD, NEW = b"<p>old</p>", b"<p>new</p>"
KEY = ("A", "welcome")


async def create(templates, tenant, content=OLD, request_id="", **fields) -> Template:
    return await templates.create(
        tenant,
        template_id="welcome",
        message=Template(**{"display_name": "Welcome", **fields}),
        content=content,
        request_id=request_id,
    )


async def update(templates, tenant, content=None, paths=(), **fields) -> Template:
    message = Template(**{"name": "templates/welcome", **fields})
    return await templates.update(tenant, message=message, paths=paths, content=content)


async def delete(templates, tenant, etag="") -> None:
    await templates.delete(tenant, name="templates/welcome", etag=etag)


async def get(templates, tenant) -> Template | None:
    try:
        return await templates.get(tenant, name="templates/welcome")
    except NotFound:
        return None


async def listed(entities, tenant) -> list[str]:
    """The names in both listings, which must agree."""
    found = []
    for order in ("id", "create_time"):
        asked = Listing(method="m", query=b"", page_size=0, page_token="", order_by=order)
        page = await entities.list(tenant, TEMPLATES, asked)
        found.append([template.name for template in page.resources])
    assert found[0] == found[1]
    return found[0]


async def together(templates, content, tenant) -> Template | None:
    """The template, where record and content agree; None where both are missing."""
    template = await get(templates, tenant)
    data = content.objects.get(KEY)
    if template is None:
        assert data is None
        return None
    assert data is not None
    assert template.content_sha256 == hashlib.sha256(data).hexdigest()
    assert template.content_size == len(data)
    return template


# Without mishaps


async def test_a_template_reads_as_it_was_created(templates, content, entities, tenant):
    created = await create(templates, tenant, subject="Hello", labels={"a": "b"})
    assert created.content_path == "templates/html/welcome.html"
    assert created.content_size == len(OLD)
    assert created.content_sha256 == hashlib.sha256(OLD).hexdigest()
    assert await together(templates, content, tenant) == created
    read = await templates.read_content(tenant, name="templates/welcome")
    assert (read.data, read.sha256) == (OLD, created.content_sha256)
    assert await listed(entities, tenant) == ["templates/welcome"]


async def test_a_record_holds_nothing_of_its_intent_in_the_end(templates, tenant, engine):
    await create(templates, tenant)
    await update(templates, tenant, NEW)
    item = await engine.get(CONTEXT_A.partition, "TEMPLATE#welcome")
    assert item is not None
    assert not {"pending", "pending_token", "GSI1PK", "GSI1SK"} & set(item)


async def test_content_and_fields_change_together(templates, content, tenant):
    created = await create(templates, tenant, subject="Hello")
    changed = await update(templates, tenant, NEW, subject="Hi")
    assert (changed.subject, changed.content_size) == ("Hi", len(NEW))
    assert changed.etag != created.etag
    assert await together(templates, content, tenant) == changed


async def test_fields_change_without_content(templates, content, tenant):
    created = await create(templates, tenant)
    changed = await update(templates, tenant, subject="Hi")
    assert changed.content_sha256 == created.content_sha256
    assert content.objects[KEY] == OLD


async def test_content_changes_without_fields(templates, content, tenant):
    await create(templates, tenant, subject="Hello")
    assert (await update(templates, tenant, NEW)).subject == "Hello"
    assert content.objects[KEY] == NEW


async def test_a_template_and_its_content_are_deleted(templates, content, entities, tenant):
    await create(templates, tenant)
    await delete(templates, tenant)
    assert await together(templates, content, tenant) is None
    assert await listed(entities, tenant) == []
    with pytest.raises(NotFound):
        await delete(templates, tenant)
    with pytest.raises(NotFound):
        await templates.read_content(tenant, name="templates/welcome")
    await create(templates, tenant, NEW)
    assert content.objects[KEY] == NEW


async def test_etags(templates, content, tenant):
    created = await create(templates, tenant)
    changed = await update(templates, tenant, NEW, etag=created.etag)
    for call in (
        update(templates, tenant, OLD, etag=created.etag),
        update(templates, tenant, subject="x", etag=created.etag),
        delete(templates, tenant, created.etag),
    ):
        with pytest.raises(Aborted) as refused:
            await call
        assert refused.value.reason == "ETAG_MISMATCH"
    assert await together(templates, content, tenant) == changed
    await delete(templates, tenant, changed.etag)


async def test_a_taken_id(templates, content, tenant):
    created = await create(templates, tenant)
    with pytest.raises(AlreadyExists):
        await create(templates, tenant, NEW)
    assert await together(templates, content, tenant) == created


async def test_a_retried_creation_answers_with_what_exists(templates, content, tenant):
    created = await create(templates, tenant, request_id="r")
    assert await create(templates, tenant, request_id="r") == created
    changed = await update(templates, tenant, subject="Hi")
    assert await create(templates, tenant, request_id="r") == changed
    with pytest.raises(AlreadyExists):
        await create(templates, tenant, NEW, request_id="r")
    assert content.objects[KEY] == OLD


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "REQUIRED_FIELD"), (b"x" * (2 * 1024 * 1024 + 1), "CONTENT_TOO_LARGE")],
)
async def test_content_out_of_bounds(templates, content, tenant, data, reason):
    with pytest.raises(InvalidArgument) as refused:
        await create(templates, tenant, data)
    assert (refused.value.field, refused.value.reason) == ("content", reason)
    await create(templates, tenant)
    with pytest.raises(InvalidArgument):
        await update(templates, tenant, data)
    assert content.objects[KEY] == OLD


async def test_fields_out_of_order(templates, tenant):
    with pytest.raises(InvalidArgument) as refused:
        await create(templates, tenant, display_name="")
    assert refused.value.field == "template.display_name"
    await create(templates, tenant)
    for path in ("content_sha256", "content_path", "content_size", "content", "pending"):
        with pytest.raises(InvalidArgument) as refused:
            await update(templates, tenant, paths=[path])
        assert refused.value.field == "update_mask"


async def test_another_tenant_has_its_own(templates, content, tenant):
    await create(templates, tenant)
    with serving(CONTEXT_B):
        assert await get(templates, CONTEXT_B) is None
        await create(templates, CONTEXT_B, NEW)
        await delete(templates, CONTEXT_B)
    assert content.objects == {KEY: OLD}


async def test_content_that_was_changed_by_itself_is_not_the_templates(templates, content, tenant):
    await create(templates, tenant)
    content.objects[KEY] = b"put there by somebody who may write objects and no templates"
    with pytest.raises(FailedPrecondition) as caught:
        await templates.read_content(tenant, name="templates/welcome")
    assert caught.value.reason == "CONTENT_CHANGED"
    await update(templates, tenant, NEW)
    assert (await templates.read_content(tenant, name="templates/welcome")).data == NEW


async def test_content_that_was_deleted_by_itself(templates, content, tenant):
    await create(templates, tenant)
    content.objects.clear()
    with pytest.raises(FailedPrecondition):
        await templates.read_content(tenant, name="templates/welcome")
    await update(templates, tenant, NEW)
    assert await together(templates, content, tenant) is not None


async def test_concurrent_creations_leave_one(templates, content, tenant):
    outcomes = await asyncio.gather(
        *(create(templates, tenant, bytes([n])) for n in range(1, 9)), return_exceptions=True
    )
    made = [outcome for outcome in outcomes if isinstance(outcome, Template)]
    assert len(made) == 1
    assert all(isinstance(outcome, Template | AlreadyExists | Aborted) for outcome in outcomes)
    assert await together(templates, content, tenant) == made[0]


# Storage that refuses, or does not answer


def refusing(error: Exception, *, on: str = "put"):
    def fail(call: str) -> None:
        if call == on:
            raise error

    return fail


async def test_refused_content_leaves_nothing(templates, content, table, tenant):
    content.before = refusing(ResourceExhausted("STORAGE_FULL", "full"))
    with pytest.raises(ResourceExhausted):
        await create(templates, tenant)
    content.before = lambda _: None
    assert await table.get(tenant.partition, "TEMPLATE#welcome") is None
    created = await create(templates, tenant)
    content.before = refusing(ResourceExhausted("STORAGE_FULL", "full"))
    with pytest.raises(ResourceExhausted):
        await update(templates, tenant, NEW, subject="x")
    content.before = lambda _: None
    assert await together(templates, content, tenant) == created
    await update(templates, tenant, NEW)


@pytest.mark.parametrize("written", [False, True])
async def test_content_whose_fate_is_unknown_is_asked_later(
    templates, content, tenant, clock, *, written
):
    failure = refusing(Unavailable("SERVICE_UNAVAILABLE", "no answer"))
    if written:
        content.after = failure
    else:
        content.before = failure
    with pytest.raises(Unavailable):
        await create(templates, tenant)
    content.after = content.before = lambda _: None
    assert await get(templates, tenant) is None
    with pytest.raises(Aborted) as refused:
        await create(templates, tenant, NEW)
    assert refused.value.reason == "WRITE_IN_PROGRESS"
    clock.pass_seconds(LEASE_SECONDS)
    assert (await together(templates, content, tenant) is not None) == written


async def test_a_retry_of_the_same_creation_need_not_wait(templates, content, tenant):
    content.before = refusing(Unavailable("SERVICE_UNAVAILABLE", "no answer"))
    with pytest.raises(Unavailable):
        await create(templates, tenant, request_id="r")
    content.before = lambda _: None
    with pytest.raises(Aborted):
        await create(templates, tenant, NEW, request_id="r")
    created = await create(templates, tenant, request_id="r")
    assert await together(templates, content, tenant) == created


async def test_a_deletion_that_storage_did_not_answer_is_finished_later(
    templates, content, entities, tenant, clock
):
    await create(templates, tenant)
    content.before = refusing(Unavailable("SERVICE_UNAVAILABLE", "no answer"), on="delete")
    with pytest.raises(Unavailable):
        await delete(templates, tenant)
    content.before = lambda _: None
    assert await get(templates, tenant) is None
    assert await listed(entities, tenant) == []
    clock.pass_seconds(LEASE_SECONDS)
    assert await together(templates, content, tenant) is None
    await create(templates, tenant, NEW)


# Crashes


def crash_at(number: int, table, content) -> None:
    """Ends the process at the numbered step, counting what happens before and after every call out."""
    steps = 0

    def step(_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            raise Crash

    table.before = table.after = content.before = content.after = step


def survive(table, content) -> None:
    table.before = table.after = content.before = content.after = lambda _: None


STEPS = range(1, 7)
"""Before and after each of: the intent, the content, the record."""


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_while_creating(templates, content, entities, table, tenant, *, clock, step):
    crash_at(step, table, content)
    with pytest.raises(Crash):
        await create(templates, tenant)
    survive(table, content)
    if step < 6:
        assert await get(templates, tenant) is None
        assert await listed(entities, tenant) == []
    clock.pass_seconds(LEASE_SECONDS)
    template = await together(templates, content, tenant)
    assert (template is not None) == (step >= 4)
    assert await listed(entities, tenant) == (["templates/welcome"] if template else [])
    if template is None:
        await create(templates, tenant, NEW)


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_while_updating(templates, content, entities, table, tenant, *, clock, step):
    created = await create(templates, tenant)
    crash_at(step, table, content)
    with pytest.raises(Crash):
        await update(templates, tenant, NEW, subject="Hi")
    survive(table, content)
    if step < 6:
        assert await get(templates, tenant) == created
    if 2 <= step < 6:
        for call in (update(templates, tenant, subject="x"), delete(templates, tenant)):
            with pytest.raises(Aborted) as refused:
                await call
            assert refused.value.reason == "WRITE_IN_PROGRESS"
    assert await listed(entities, tenant) == ["templates/welcome"]
    clock.pass_seconds(LEASE_SECONDS)
    template = await together(templates, content, tenant)
    assert template is not None
    assert template.subject == ("Hi" if step >= 4 else "")
    assert (template == created) == (step < 4)
    await update(templates, tenant, b"later", etag=template.etag)


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_while_deleting(templates, content, entities, table, tenant, *, clock, step):
    created = await create(templates, tenant)
    crash_at(step, table, content)
    with pytest.raises(Crash):
        await delete(templates, tenant)
    survive(table, content)
    expected = created if step == 1 else None
    assert await get(templates, tenant) == expected
    assert await listed(entities, tenant) == (["templates/welcome"] if expected else [])
    clock.pass_seconds(LEASE_SECONDS)
    assert await together(templates, content, tenant) == expected


@pytest.mark.parametrize("first", STEPS)
@pytest.mark.parametrize("second", STEPS)
async def test_a_crash_while_making_good_for_a_crash(
    templates, content, table, tenant, *, clock, first, second
):
    created = await create(templates, tenant)
    crash_at(first, table, content)
    with pytest.raises(Crash):
        await update(templates, tenant, NEW)
    survive(table, content)
    clock.pass_seconds(LEASE_SECONDS)
    crash_at(second, table, content)
    with contextlib.suppress(Crash):
        await get(templates, tenant)
    survive(table, content)
    clock.pass_seconds(LEASE_SECONDS)
    template = await together(templates, content, tenant)
    assert template is not None
    assert (template == created) == (first < 4)


async def test_many_readers_of_a_crashed_write_agree(templates, content, table, tenant, clock):
    crash_at(5, table, content)
    with pytest.raises(Crash):
        await create(templates, tenant)
    survive(table, content)
    clock.pass_seconds(LEASE_SECONDS)
    await asyncio.gather(*(get(templates, tenant) for _ in range(10)))
    assert await together(templates, content, tenant) is not None


# Processes that stood still


def test_the_lease_outlasts_the_content():
    assert CONTENT_SECONDS * 2 < LEASE_SECONDS


async def test_content_is_not_sent_with_too_little_lease_left(
    templates, content, table, tenant, clock
):
    table.after = lambda _: clock.pass_seconds(LEASE_SECONDS - CONTENT_SECONDS)
    with pytest.raises(Aborted):
        await create(templates, tenant)
    table.after = lambda _: None
    assert content.objects == {}
    assert await table.get(tenant.partition, "TEMPLATE#welcome") is None


class Sleeper:
    """A writer that stands still right before its content lands, while others go on."""

    def __init__(self, content, clock) -> None:
        self.content = content
        self.clock = clock
        self.asleep = asyncio.Event()
        self.wake = asyncio.Event()
        self._put = content.put
        content.put = self._slow_put

    async def _slow_put(self, tenant, template_id, data, *, sha256) -> None:
        self.content.put = self._put
        self.asleep.set()
        await self.wake.wait()
        await self._put(tenant, template_id, data, sha256=sha256)

    async def until_lease_is_over(self) -> None:
        await self.asleep.wait()
        self.clock.pass_seconds(LEASE_SECONDS)


async def test_a_late_creation_after_a_roll_back_leaves_no_content(
    templates, content, tenant, clock
):
    sleeper = Sleeper(content, clock)
    late = asyncio.create_task(create(templates, tenant))
    await sleeper.until_lease_is_over()
    assert await get(templates, tenant) is None
    sleeper.wake.set()
    with pytest.raises(Aborted):
        await late
    assert await together(templates, content, tenant) is None
    assert content.objects == {}
    await create(templates, tenant, NEW)


async def test_a_late_creation_over_another_leaves_them_in_agreement(
    templates, content, tenant, clock
):
    sleeper = Sleeper(content, clock)
    late = asyncio.create_task(create(templates, tenant))
    await sleeper.until_lease_is_over()
    other = await create(templates, tenant, NEW, display_name="Other")
    sleeper.wake.set()
    with pytest.raises(Aborted):
        await late
    template = await together(templates, content, tenant)
    assert template is not None
    assert template.display_name == "Other"
    assert template.etag != other.etag


async def test_a_late_update_after_a_deletion_leaves_no_content(templates, content, tenant, clock):
    await create(templates, tenant)
    sleeper = Sleeper(content, clock)
    late = asyncio.create_task(update(templates, tenant, NEW))
    await sleeper.until_lease_is_over()
    await delete(templates, tenant)
    sleeper.wake.set()
    with pytest.raises(Aborted):
        await late
    assert await together(templates, content, tenant) is None


async def test_a_late_update_that_another_rolled_forward_succeeds(
    templates, content, table, tenant, clock
):
    await create(templates, tenant)
    landed, wake = asyncio.Event(), asyncio.Event()
    put = content.put

    async def slow_put(tenant, template_id, data, *, sha256) -> None:
        await put(tenant, template_id, data, sha256=sha256)
        landed.set()
        await wake.wait()

    content.put = slow_put
    late = asyncio.create_task(update(templates, tenant, NEW))
    await landed.wait()
    clock.pass_seconds(LEASE_SECONDS)
    read = await get(templates, tenant)
    wake.set()
    assert await late == read
    assert await together(templates, content, tenant) == read
