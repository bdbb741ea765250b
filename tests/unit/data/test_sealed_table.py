"""What is in the table of an encrypted tenant, and what becomes of an item that was changed there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from boundary.context import TenantContext, make_current, serving
from boundary.errors import Aborted, AlreadyExists, DataLoss, FailedPrecondition
from services.data.config import Configs
from services.data.data_keys import FIELDS, ItemKeyRecords
from services.data.entities import Batches
from services.data.operations import Entities, Listing
from services.data.resources import LISTS, USERS
from services.data.sealed_fields import SEALED
from services.data.sealed_table import RULES, SealedTable
from services.keys.local import LocalKeys
from services.keys.ring import KeyRing
from services.table.ports import Delete, Item, Put, Range, Update
from silo.data.v1.entity_pb2 import Entity, EntityCreation, EntityUpdate, Write
from silo.data.v1.recipient_list_pb2 import Recipient, RecipientList
from silo.data.v1.tenant_config_pb2 import TenantConfig
from silo.data.v1.user_pb2 import User
from tests.contexts import make_context

A = make_context("A")
A1 = make_context("A", key_version=1)
A2 = make_context("A", key_version=2)
B1 = make_context("B", key_version=1)
SHREDDED = make_context("A", key_version=1, key_destroyed=True)
EMAIL = "canary#1%@example.com"


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[LocalKeys]:
    keys = LocalKeys(tmp_path / "keys")
    yield keys
    keys.close()


@pytest.fixture
async def sealed(table, keys: LocalKeys) -> SealedTable:
    await keys.create(A.key)
    await keys.create(B1.key)
    return SealedTable(table, KeyRing(keys, ItemKeyRecords(table)))


@pytest.fixture
def users(sealed: SealedTable, pages, clock) -> Entities:
    return Entities(table=sealed, pages=pages, clock=clock)


@pytest.fixture(autouse=True)
def _no_context_is_left() -> Iterator[None]:
    yield
    make_current(None)


async def create(users: Entities, tenant: TenantContext, name: str, **fields: str) -> User:
    make_current(tenant)
    user = User(**{"email": EMAIL, "display_name": "Canary", **fields})
    user.labels["team"] = "canary"
    return await users.create(
        tenant, USERS, entity_id=name, message=user, request_id=f"request-{name}"
    )


async def raw(table, tenant: TenantContext, sort_key: str) -> Item:
    with serving(tenant):
        item = await table.get(tenant.partition, sort_key)
    assert item is not None
    return item


def by_email(email: str, *, size: int = 10, token: str = "") -> Listing:
    return Listing(
        method="m", query=b"q", page_size=size, page_token=token, order_by="", filter_value=email
    )


def test_the_protos_say_what_is_sensitive():
    assert {entity: sorted(rule.names) for entity, rule in RULES.items()} == {
        "USER": ["creation", "display_name", "email", "labels"],
        "LIST": ["creation", "recipients"],
        "CONFIG": [
            "default_from_address",
            "default_from_name",
            "postal_address",
            "reply_to_address",
        ],
    }


async def test_a_user_is_encrypted_but_for_what_keys_are_made_of(users, table):
    made = await create(users, A1, "one")
    assert made == await users.get(A1, USERS, name="users/one")
    assert (made.email, made.labels["team"]) == (EMAIL, "canary")
    item = await raw(table, A1, "USER#one")
    assert "canary" not in json.dumps(item).lower()
    assert "digest" not in json.dumps(item)
    assert item["role"] == "VIEWER"
    assert item[SEALED]["version"] == 1


async def test_a_retry_of_a_creation_finds_its_own(users):
    made = await create(users, A1, "one")
    assert await create(users, A1, "one") == made
    with pytest.raises(AlreadyExists):
        await create(users, A1, "one", email="other@example.com")


async def test_a_list_and_its_count(sealed, table, pages, clock):
    make_current(A1)
    lists = Entities(table=sealed, pages=pages, clock=clock)
    recipients = [Recipient(email=EMAIL, attributes={"name": "Canary"})] * 3
    made = await lists.create(
        A1,
        LISTS,
        entity_id="l",
        message=RecipientList(display_name="Friends", recipients=recipients),
    )
    assert list(made.recipients) == recipients
    item = await raw(table, A1, "LIST#l")
    assert "canary" not in json.dumps(item).lower()
    assert item["recipient_count"] == 3


async def test_a_change_is_encrypted_under_the_newest_version(users, table):
    made = await create(users, A1, "one")
    make_current(A2)
    changed = User(name="users/one", display_name="Canary II", etag=made.etag)
    after = await users.update(A2, USERS, message=changed, paths=["display_name"])
    assert (after.email, after.display_name) == (EMAIL, "Canary II")
    assert (await raw(table, A1, "USER#one"))[SEALED]["version"] == 2
    with pytest.raises(Aborted):
        await users.update(A2, USERS, message=changed, paths=[])


async def test_found_by_equality_whatever_the_case_and_the_version(users, table):
    await create(users, A, "plain")
    await create(users, A1, "one")
    await create(users, A2, "two")
    await create(users, A2, "other", email="other@example.com")
    item = await raw(table, A1, "USER#one")
    for name in ("GSI1PK", "GSI3PK"):
        assert str(item[name]).startswith("TENANT#A#USER#EMAIL#")
        assert "canary" not in str(item[name])
    found = await users.list(A2, USERS, by_email(EMAIL.upper()))
    assert [user.name for user in found.resources] == ["users/one", "users/two", "users/plain"]
    assert found.next_page_token == ""
    paged, token = [], ""
    while True:
        page = await users.list(A2, USERS, by_email(EMAIL, size=1, token=token))
        paged += [user.name for user in page.resources]
        token = page.next_page_token
        if not token:
            break
    assert paged == ["users/one", "users/two", "users/plain"]


async def test_tenants_have_other_hashes_of_the_same_address(users, table):
    await create(users, A1, "one")
    await create(users, B1, "one")
    hashes = {
        str((await raw(table, tenant, "USER#one"))["GSI1PK"]).rpartition("#")[2]
        for tenant in (A1, B1)
    }
    assert len(hashes) == 2


async def test_batches_and_transactions(sealed, users, table, clock):
    make_current(A1)
    batches = Batches(table=sealed, entities=users, clock=clock)
    creation = EntityCreation(entity=Entity(user=User(name="users/one", email=EMAIL)))
    (made,) = await batches.transact(A1, [Write(create=creation)])
    assert made.user.email == EMAIL
    assert "canary" not in json.dumps(await raw(table, A1, "USER#one")).lower()
    read = await batches.read(A1, ["users/one", "users/two"])
    assert [entity.user.email for entity in read.entities] == [EMAIL]
    with pytest.raises(AlreadyExists):
        await batches.transact(A1, [Write(create=creation)])
    update = EntityUpdate(entity=Entity(user=User(name="users/one", display_name="Canary")))
    (changed,) = await batches.transact(A1, [Write(update=update)])
    assert (changed.user.email, changed.user.display_name) == (EMAIL, "Canary")


async def test_settings_are_encrypted_within_the_tenants_record(sealed, configs, table, clock):
    encrypted = Configs(table=sealed, clock=clock)
    make_current(A1)
    config = TenantConfig(reply_to_address=EMAIL.replace("#", "+"), track_opens=True)
    changed = await encrypted.update(A1, message=config, paths=[])
    assert changed == await encrypted.get(A1)
    assert changed.reply_to_address == "canary+1%@example.com"
    item = await raw(table, A1, "CONFIG")
    assert "canary" not in json.dumps(item).lower()
    assert item["settings"]["track_opens"] is True
    assert item["display_name"] == "Tenant A"


@pytest.mark.parametrize("where", ["another item", "another field", "another tenant", "changed"])
async def test_a_ciphertext_that_was_moved_or_changed_does_not_open(users, engine, table, where):
    await create(users, A1, "one")
    tenant, sort_key, place = A1, "USER#one", "USER#one email"
    item = await raw(table, A1, "USER#one")
    values = item[SEALED]["values"]
    if where == "another item":
        sort_key, place = "USER#two", "USER#two"
    elif where == "another field":
        values["email"] = values["display_name"]
    elif where == "another tenant":
        await create(users, B1, "other")  # whose data keys are there
        tenant, place = B1, "USER#one"
        item |= {"GSI1PK": None, "GSI2PK": None, "GSI3PK": None}
    else:
        values["email"] = "A" + values["email"][1:-4] + "AAA="
    await engine.write(tenant.partition, Put(sort_key=sort_key, item=item))
    make_current(tenant)
    with pytest.raises(DataLoss) as caught:
        await users.get(tenant, USERS, name=f"users/{sort_key.removeprefix('USER#')}")
    assert caught.value.reason == "FIELD_DAMAGED"
    assert caught.value.metadata["place"].startswith(place)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "sealed_attribute", ["text", {}, {"version": 0, "values": {}}, {"version": 1, "values": 7}]
)
async def test_nonsense_in_the_place_of_what_is_encrypted(users, engine, table, sealed_attribute):
    await create(users, A1, "one")
    item = await raw(table, A1, "USER#one") | {SEALED: sealed_attribute}
    await engine.write(A1.partition, Put(sort_key="USER#one", item=item))
    with pytest.raises(DataLoss):
        await users.get(A1, USERS, name="users/one")


async def test_a_lost_or_changed_data_key_is_named(users, engine, table, keys):
    await create(users, A1, "one")
    fresh = SealedTable(table, KeyRing(keys, ItemKeyRecords(table)))
    stored = "DATAKEY#fields#0000000001"
    await engine.write(A1.partition, Put(sort_key=stored, item={"wrapped": "%%"}))
    with pytest.raises(DataLoss) as caught:
        await fresh.get(A1.partition, "USER#one")
    assert (caught.value.reason, caught.value.metadata["place"]) == ("DATA_KEY_INVALID", stored)
    await engine.write(A1.partition, Delete(sort_key=stored))
    with pytest.raises(DataLoss) as caught:
        await fresh.get(A1.partition, "USER#one")
    assert caught.value.reason == "DATA_KEY_MISSING"


async def test_a_destroyed_key_reads_nothing_and_deletes_everything(users, keys, sealed):
    await create(users, A, "plain")
    one = await create(users, A1, "one")
    await keys.destroy(A1.key)
    make_current(SHREDDED)
    for refused in (
        users.get(SHREDDED, USERS, name="users/one"),
        users.list(SHREDDED, USERS, by_email(EMAIL)),
        users.list(SHREDDED, USERS, by_email("")),
        users.update(SHREDDED, USERS, message=User(name="users/one", email=EMAIL), paths=[]),
        users.create(SHREDDED, USERS, entity_id="new", message=User(email=EMAIL)),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await refused
        assert caught.value.reason == "KEY_DESTROYED"
    assert (await users.get(SHREDDED, USERS, name="users/plain")).email == EMAIL
    with pytest.raises(Aborted):
        await users.delete(SHREDDED, USERS, name="users/one", etag="stale")
    await users.delete(SHREDDED, USERS, name="users/one", etag=one.etag)


async def test_a_part_of_an_encrypted_item_is_not_written_in_the_clear(users, sealed):
    await create(users, A1, "one")
    for update in (
        Update(sort_key="USER#one", set={"email": EMAIL}),
        Update(sort_key="USER#one", remove=["email"]),
    ):
        with pytest.raises(ValueError, match="as a whole"):
            await sealed.write(A1.partition, update)


async def test_data_keys_are_dropped_below_a_version(users, table):
    await create(users, A1, "one")
    await create(users, A2, "two")
    records = ItemKeyRecords(table)
    assert await records.drop(A2, purpose=FIELDS, before=2) == 1
    page = await table.query(A2.partition, keys=Range(prefix="DATAKEY#"), limit=10)
    assert [stored.sort_key for stored in page.items] == [
        "DATAKEY#fields#0000000002",
        "DATAKEY#index#0000000001",
    ]


async def test_what_nothing_is_encrypted_of_is_the_inner_tables_own_call(sealed, table):
    """No layer of a coroutine for campaigns and whatever else has no sensitive field."""
    call = sealed.get(A.partition, "CAMPAIGN#one")
    assert call.cr_code is type(table).get.__code__
    make_current(A)
    assert await call is None


async def test_above_the_layer_nothing_tells_that_there_is_one(users, sealed, table):
    """What carries whole items elsewhere, or compares them, finds them as if nothing were encrypted."""
    plain = await create(users, A, "plain")
    await create(users, A1, "one")
    page = await sealed.query(A1.partition, keys=Range(), limit=100)
    one, other = (stored.item for stored in page.items)
    assert [stored.sort_key for stored in page.items] == ["USER#one", "USER#plain"]
    assert one.keys() == other.keys()
    for name in ("email", "GSI1PK", "GSI2PK", "GSI3PK"):
        assert one[name] == other[name]
    assert one["email"] == plain.email
    stored = Put(sort_key="USER#copy", item=one)
    assert await sealed.write(A1.partition, stored) == one
    copied = await raw(table, A1, "USER#copy")
    assert "canary" not in json.dumps(copied).lower()
    assert copied["GSI1PK"] == (await raw(table, A1, "USER#one"))["GSI1PK"]


async def test_data_keys_are_not_written_from_above(sealed):
    make_current(A1)
    put = Put(sort_key="DATAKEY#fields#0000000001", item={"wrapped": ""})
    with pytest.raises(ValueError, match="data keys"):
        await sealed.write(A1.partition, put)
    with pytest.raises(ValueError, match="data keys"):
        await sealed.transact([(A1.partition, put)])
