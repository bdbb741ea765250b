"""Items out of a table and into another, on every adapter of the table port."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from boundary.context import TenantContext, serving
from boundary.errors import InvalidArgument
from boundary.pages import PageSealer
from services.data.analytics import Analytics, Counter
from services.data.config import Configs
from services.data.operations import Entities
from services.data.resources import CAMPAIGNS, LISTS, TEMPLATES, USERS
from services.data.transport import Form, ItemTransport, Written
from services.table.guard import GuardedTable
from services.table.ports import ABSENT, Put, Range, Table
from silo.data.v1 import campaign_pb2, recipient_list_pb2, tenant_config_pb2, user_pb2
from tests.contexts import make_context
from tests.contract.test_table import clock, table  # noqa: F401 - the adapters

FROM, TO, NEIGHBOUR = (make_context(name) for name in ("mover", "arrival", "mover-2"))
WIDE = 10**30


@pytest.fixture
async def filled(table: Table) -> Table:  # noqa: F811
    """A table in which a tenant has something of every kind, and its neighbour a secret."""
    await _create(table, FROM, display_name="Mover")
    await _create(table, TO, display_name="Arrival")
    guarded = GuardedTable(table)
    entities = Entities(table=guarded, pages=PageSealer(b"k" * 32))
    with serving(FROM):
        await entities.create(
            FROM,
            USERS,
            entity_id="anna",
            message=user_pb2.User(
                email="Anna#1@example.com", role=user_pb2.USER_ROLE_ADMIN, labels={"a": "b"}
            ),
            request_id="request-1",
        )
        for number in range(7):
            await entities.create(
                FROM,
                CAMPAIGNS,
                entity_id=f"spring-{number}",
                message=campaign_pb2.Campaign(display_name=f"Spring {number}", subject="ä \u2028"),
            )
        await entities.create(
            FROM,
            LISTS,
            entity_id="all",
            message=recipient_list_pb2.RecipientList(
                display_name="All",
                recipients=[
                    recipient_list_pb2.Recipient(email="a@x.example", attributes={"n": "1"})
                ],
            ),
        )
        await guarded.write(FROM.partition, Put(sort_key="TEMPLATE#hello", item=_template("hello")))
        await guarded.write(
            FROM.partition,
            Put(
                sort_key="TEMPLATE#begun",
                item={"pending": {"kind": "create"}, "pending_token": "t", "etag": "e"},
            ),
        )
        for shard in (1, 3):
            counters = Analytics(table=guarded, shards=lambda _, shards=shard: shards)
            for number in range(6):
                await counters.increment(
                    FROM,
                    request_id=f"add-{shard}-{number}",
                    increments=[
                        Counter("2024-01-15", "OPENS", 5),
                        Counter("2024-01-15", "OPENS_2", WIDE // WIDE),
                    ],
                )
        await Configs(table=guarded).update(
            FROM,
            message=tenant_config_pb2.TenantConfig(default_from_name="Mover", track_opens=True),
            paths=(),
        )
    with serving(NEIGHBOUR):
        secret = Put(sort_key="CAMPAIGN#secret", item={"display_name": "NEIGHBOUR"})
        await guarded.write(NEIGHBOUR.partition, secret)
    return guarded


def _template(template_id: str) -> Any:
    times = {"create_time": 1_700_000_000_123_456_789, "update_time": 1_700_000_001_000_000_000}
    item = {
        "display_name": template_id,
        "content_path": f"templates/html/{template_id}.html",
        "content_size": 3,
        "content_sha256": "ab" * 32,
        "etag": "e" * 16,
        **times,
    }
    return item | TEMPLATES.index_entries(FROM.partition, template_id, item)


async def _create(table: Table, tenant: TenantContext, *, display_name: str) -> None:  # noqa: F811
    item = {"tenant_id": tenant.tenant_id, "display_name": display_name}
    await table.write(tenant.partition, Put(sort_key="CONFIG", item=item, condition=ABSENT))


async def _read(
    table: Table,  # noqa: F811
    tenant: TenantContext,
    form: Form,
    *,
    max_bytes: int = 0,
) -> list[bytes]:
    """All lines, read in calls of max_bytes each."""
    transport = ItemTransport(table=table)
    lines: list[bytes] = []
    position = b""
    with serving(tenant):
        while True:
            async for message in transport.read(
                tenant, form, position=position, max_bytes=max_bytes
            ):
                position = message.position
                read = message.lines.split(b"\n")[:-1]
                assert len(read) == message.count
                lines += read
            if not position:
                return lines


async def _write(
    table: Table,  # noqa: F811
    tenant: TenantContext,
    form: Form,
    lines: Sequence[bytes],
) -> Written:
    async def chunks() -> AsyncIterator[bytes]:
        raw = b"".join(line + b"\n" for line in lines)
        for start in range(0, len(raw), 100):
            yield raw[start : start + 100]

    with serving(tenant):
        return await ItemTransport(table=table).write(tenant, form, chunks())


async def _sum(table: Table, tenant: TenantContext, form: Form) -> tuple[int, bytes]:  # noqa: F811
    with serving(tenant):
        total = await ItemTransport(table=table).summarize(tenant, form)
    return total.count, total.digest


class TestPortable:
    async def test_what_a_tenant_sees_is_there_and_nothing_else(self, filled):
        lines = [json.loads(line) for line in await _read(filled, FROM, Form.PORTABLE)]
        kinds = [next(iter(line)) for line in lines]
        assert kinds == [
            "counter",
            "counter",
            *["campaign"] * 7,
            "tenant_config",
            "recipient_list",
            "template",
            "user",
        ]
        assert lines[0]["counter"] == {"date": "2024-01-15", "metric": "OPENS", "value": "60"}
        assert lines[1]["counter"] == {"date": "2024-01-15", "metric": "OPENS_2", "value": "12"}
        user = lines[-1]["user"]
        assert user["name"] == "users/anna"
        assert user["email"] == "Anna#1@example.com"
        assert user["role"] == "USER_ROLE_ADMIN"
        assert user["etag"]
        assert user["create_time"].endswith("Z")
        assert b"NEIGHBOUR" not in b"".join(await _read(filled, FROM, Form.PORTABLE))
        assert b"request-1" not in b"".join(await _read(filled, FROM, Form.PORTABLE))

    @pytest.mark.parametrize("max_bytes", [1, 300, 1000])
    async def test_any_resumption_reads_every_line_once(self, filled, max_bytes):
        whole = await _read(filled, FROM, Form.PORTABLE)
        assert await _read(filled, FROM, Form.PORTABLE, max_bytes=max_bytes) == whole

    async def test_another_tenant_gets_the_same_content_etags_and_times(self, filled):
        lines = await _read(filled, FROM, Form.PORTABLE)
        written = await _write(filled, TO, Form.PORTABLE, lines)
        assert (written.lines, written.items) == (len(lines), len(lines))
        # The organisation's name is the directory's, and each tenant's own.
        there = [
            line.replace(b'"Arrival"', b'"Mover"')
            for line in await _read(filled, TO, Form.PORTABLE)
        ]
        assert there == lines

    async def test_what_came_in_is_found_by_every_index(self, filled):
        await _write(filled, TO, Form.PORTABLE, await _read(filled, FROM, Form.PORTABLE))
        for index, parts in (
            ("GSI1", ("USER", "EMAIL", "anna%231@example.com")),
            ("GSI2", ("USER",)),
        ):
            with serving(TO):
                page = await filled.query(
                    TO.partition,
                    keys=Range(),
                    limit=5,
                    index=index,
                    index_key=TO.partition.index_key(*parts),
                )
            assert [stored.sort_key for stored in page.items] == ["USER#anna"]
        with serving(TO):
            report = await Analytics(table=filled).report(
                TO, start="2024-01-01", end="2024-01-31", metrics=["OPENS"]
            )
        assert report.totals == [("OPENS", 60)]

    async def test_again_changes_nothing_and_keeps_what_is_there(self, filled):
        lines = await _read(filled, FROM, Form.PORTABLE)
        await _write(filled, TO, Form.PORTABLE, lines)
        before = await _sum(filled, TO, Form.EXACT)
        again = await _write(filled, TO, Form.PORTABLE, lines)
        assert (again.lines, again.items) == (len(lines), 0)
        assert await _sum(filled, TO, Form.EXACT) == before

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"[]",
            b"{}",
            b'{"secret": {}}',
            b'{"user": []}',
            b'{"user": {"name": "users/x", "PK": "TENANT#other"}}',
            b'{"user": {"name": "campaigns/x", "email": "a@b.example", "etag": "e"}}',
            b'{"user": {"name": "users/x", "email": "no address", "etag": "e"}}',
            b'{"user": {"name": "users/x", "email": "a@b.example", "etag": "e"}}',
            b'{"counter": {"date": "2024-01-15", "metric": "OPENS", "value": "1.5"}}',
            b'{"counter": {"date": "2024-01-15", "metric": "A#B", "value": "1"}}',
            b'{"counter": {"date": "2024-13-15", "metric": "OPENS", "value": "1"}}',
            b'{"tenant_config": {"default_from_address": "no address", "etag": "e"}}',
        ],
    )
    async def test_a_line_that_a_caller_could_not_have_written_is_refused_by_number(
        self, filled, line
    ):
        good = (await _read(filled, FROM, Form.PORTABLE))[0]
        with pytest.raises(InvalidArgument) as refused:
            await _write(filled, TO, Form.PORTABLE, [good, line])
        assert refused.value.field == "lines[2]"
        assert refused.value.reason == "ARCHIVE_LINE_INVALID"


class TestExact:
    async def test_all_that_is_stored_comes_through_another_table_unchanged(self, filled, table):  # noqa: F811
        marked = Put(sort_key="REQUEST#x", item={"n": WIDE, "GSI1PK": None}, expires_at=2**33)
        with serving(FROM):
            await filled.write(FROM.partition, marked)
        lines = await _read(filled, FROM, Form.EXACT, max_bytes=500)
        assert lines == await _read(filled, FROM, Form.EXACT)
        assert {json.loads(line)["sort_key"] for line in lines} > {"TEMPLATE#begun", "REQUEST#x"}
        before = await _sum(filled, FROM, Form.EXACT)
        for line in lines:
            sort_key = json.loads(line)["sort_key"]
            if sort_key != "CONFIG":
                with serving(FROM):
                    put = Put(sort_key=sort_key, item={"overwritten": True})
                    await filled.write(FROM.partition, put)
        assert await _sum(filled, FROM, Form.EXACT) != before
        await _write(filled, FROM, Form.EXACT, lines)
        assert await _sum(filled, FROM, Form.EXACT) == before
        assert await _read(filled, FROM, Form.EXACT) == lines

    async def test_of_config_the_settings_alone_travel(self, filled, table):  # noqa: F811
        lines = await _read(filled, FROM, Form.EXACT)
        (config,) = [line for line in lines if json.loads(line)["sort_key"] == "CONFIG"]
        assert set(json.loads(config)["item"]) == {"settings", "settings_etag"}
        await _write(filled, TO, Form.EXACT, [config])
        item = await table.get(TO.partition, "CONFIG")
        assert item is not None
        assert item["display_name"] == "Arrival"
        assert item["settings"]["default_from_name"] == "Mover"
