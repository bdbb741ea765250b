"""Batches and transactions."""

import asyncio

import pytest

from boundary.context import serving
from boundary.errors import (
    Aborted,
    AlreadyExists,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from services.data.resources import CAMPAIGNS, USERS
from silo.data.v1.campaign_pb2 import Campaign
from silo.data.v1.entity_pb2 import Entity, EntityCreation, EntityDeletion, EntityUpdate, Write
from silo.data.v1.recipient_list_pb2 import RecipientList
from silo.data.v1.template_pb2 import Template
from silo.data.v1.user_pb2 import User
from tests.contexts import make_context
from tests.unit.data.conftest import CONTEXT_B


def creation(name="campaigns/a", **fields) -> Write:
    campaign = Campaign(**{"name": name, "display_name": "A", **fields})
    return Write(create=EntityCreation(entity=Entity(campaign=campaign)))


def user_creation(name="users/u", email="u@b.co") -> Write:
    return Write(create=EntityCreation(entity=Entity(user=User(name=name, email=email))))


def change(name="campaigns/a", paths=(), **fields) -> Write:
    update = EntityUpdate(entity=Entity(campaign=Campaign(name=name, **fields)))
    if paths:
        update.update_mask.paths.extend(paths)
    return Write(update=update)


def deletion(name="campaigns/a", etag="") -> Write:
    return Write(delete=EntityDeletion(name=name, etag=etag))


async def names(batches, tenant, *asked) -> list[str]:
    read = await batches.read(tenant, asked)
    return [getattr(e, e.WhichOneof("entity")).name for e in read.entities]


# Reading


async def test_a_batch_reads_in_the_order_asked(batches, templates, tenant):
    await batches.write(tenant, [creation("campaigns/a"), user_creation()])
    await templates.create(
        tenant, template_id="t", message=Template(display_name="T"), content=b"<p>"
    )
    asked = ["users/u", "campaigns/x", "templates/t", "campaigns/a", "lists/a"]
    read = await batches.read(tenant, asked)
    kinds = [entity.WhichOneof("entity") for entity in read.entities]
    assert kinds == ["user", "template", "campaign"]
    assert read.missing == ["campaigns/x", "lists/a"]
    with serving(CONTEXT_B):
        assert (await batches.read(CONTEXT_B, asked)).missing == asked


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ([], "names"),
        ([f"users/{n}" for n in range(101)], "names"),
        (["users/a", "nonsense"], "names[1]"),
        (["users/a", "users/b", "users/a"], "names[2]"),
        (["config"], "names[0]"),
    ],
)
async def test_a_batch_read_out_of_order(batches, tenant, asked, field):
    with pytest.raises(InvalidArgument) as refused:
        await batches.read(tenant, asked)
    assert refused.value.field == field


async def test_a_batch_read_asks_for_each_kinds_permission(batches):
    context = make_context("A", permissions=["entities.read", "users.read"])
    with serving(context):
        await batches.read(context, ["users/a"])
        with pytest.raises(PermissionDenied) as refused:
            await batches.read(context, ["users/a", "campaigns/a"])
    assert refused.value.metadata == {"permission": "campaigns.read"}


async def test_a_batch_read_is_no_larger_than_a_message(batches, entities, tenant):
    for number in range(10):
        recipients = [{"email": f"{n}@example.com", "display_name": "x" * 190} for n in range(1700)]
        message = RecipientList(display_name="L", recipients=recipients)
        await batches.write(
            tenant,
            [
                Write(
                    create=EntityCreation(
                        entity=Entity(
                            recipient_list=RecipientList(
                                name=f"lists/l{number}",
                                display_name="L",
                                recipients=message.recipients,
                            )
                        )
                    )
                )
            ],
        )
    assert len((await batches.read(tenant, ["lists/l0", "lists/l1"])).entities) == 2
    with pytest.raises(ResourceExhausted) as refused:
        await batches.read(tenant, [f"lists/l{n}" for n in range(10)])
    assert refused.value.reason == "RESPONSE_TOO_LARGE"


# Batches of writes


async def test_each_write_ends_for_itself(batches, entities, tenant):
    await batches.write(tenant, [creation("campaigns/taken"), creation("campaigns/old")])
    outcomes = await batches.write(
        tenant,
        [
            creation("campaigns/new"),
            creation("campaigns/taken"),
            creation("campaigns/bad", display_name=""),
            change("campaigns/old", subject="new"),
            change("campaigns/missing", subject="new"),
            deletion("users/missing"),
            user_creation(),
        ],
    )
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [
        Entity,
        AlreadyExists,
        InvalidArgument,
        Entity,
        NotFound,
        NotFound,
        Entity,
    ]
    assert outcomes[0].campaign.etag
    assert outcomes[2].field == "writes[2].create.entity.campaign.display_name"
    assert outcomes[3].campaign.subject == "new"
    assert outcomes[4].field == "writes[4].update.entity.campaign.name"
    assert outcomes[5].field == "writes[5].delete.name"
    assert await names(batches, tenant, "campaigns/new", "users/u") == ["campaigns/new", "users/u"]


async def test_a_defect_in_one_write_is_told_as_internal(batches, tenant, table):
    def fail(number: int) -> None:
        if number == 2:
            raise RuntimeError

    table.before = fail
    outcomes = await batches.write(tenant, [creation("campaigns/a"), creation("campaigns/b")])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Entity", "Internal"]
    assert any(isinstance(outcome, Internal) for outcome in outcomes)


TEMPLATE = Entity(template=Template(name="templates/t", display_name="T"))


@pytest.mark.parametrize("method", ["write", "transact"])
@pytest.mark.parametrize(
    ("writes", "field"),
    [
        ([], "writes"),
        ([creation(f"campaigns/{n}") for n in range(101)], "writes"),
        ([creation(), Write()], "writes[1]"),
        ([Write(create=EntityCreation())], "writes[0].create.entity"),
        ([creation(name="nonsense")], "writes[0].create.entity.campaign.name"),
        ([creation(name="users/u")], "writes[0].create.entity.campaign.name"),
        ([creation(), deletion()], "writes[1]"),
        ([deletion("config")], "writes[0].delete.name"),
        ([Write(create=EntityCreation(entity=TEMPLATE))], "writes[0].create"),
        ([Write(update=EntityUpdate(entity=TEMPLATE))], "writes[0].update"),
        ([deletion("templates/t")], "writes[0].delete"),
    ],
)
async def test_writes_out_of_order(batches, tenant, *, table, method, writes, field):
    with pytest.raises(InvalidArgument) as refused:
        await getattr(batches, method)(tenant, writes)
    assert refused.value.field == field
    assert table.writes == 0


@pytest.mark.parametrize("method", ["write", "transact"])
async def test_writes_ask_for_each_kinds_permission(batches, method):
    context = make_context("A", permissions=["entities.write", "users.*", "campaigns.read"])
    with serving(context):
        with pytest.raises(PermissionDenied) as refused:
            await getattr(batches, method)(context, [user_creation(), creation(display_name="")])
        assert refused.value.metadata == {"permission": "campaigns.write"}
        with pytest.raises(PermissionDenied):
            await getattr(batches, method)(context, [deletion("templates/t")])
    tenant = make_context("A")
    with serving(tenant):
        assert await names(batches, tenant, "users/u") == []


# Transactions


async def test_a_transaction_writes_all(batches, entities, tenant):
    await batches.write(tenant, [creation("campaigns/old"), creation("campaigns/gone")])
    written = await batches.transact(
        tenant,
        [
            user_creation(),
            change("campaigns/old", subject="new"),
            deletion("campaigns/gone"),
        ],
    )
    assert [entity.WhichOneof("entity") for entity in written] == ["user", "campaign", None]
    assert await entities.get(tenant, USERS, name="users/u") == written[0].user
    assert await entities.get(tenant, CAMPAIGNS, name="campaigns/old") == written[1].campaign
    assert await names(batches, tenant, "campaigns/gone") == []


@pytest.mark.parametrize(
    ("write", "error", "field"),
    [
        (creation("campaigns/old"), AlreadyExists, "create.entity.campaign.name"),
        (creation("campaigns/x", subject="\n"), InvalidArgument, "create.entity.campaign.subject"),
        (change("campaigns/x", subject="n"), NotFound, "update.entity.campaign.name"),
        (change("campaigns/old", etag="stale"), Aborted, "update.entity.campaign.etag"),
        (change("campaigns/old", paths=["etag"]), InvalidArgument, "update.update_mask"),
        (
            change("campaigns/old", paths=["display_name"]),
            InvalidArgument,
            "update.entity.campaign.display_name",
        ),
        (deletion("campaigns/x"), NotFound, "delete.name"),
        (deletion("campaigns/old", etag="stale"), Aborted, "delete.etag"),
    ],
)
async def test_a_transaction_writes_none(batches, entities, tenant, *, write, error, field):
    await batches.write(tenant, [creation("campaigns/old")])
    before = await entities.get(tenant, CAMPAIGNS, name="campaigns/old")
    with pytest.raises(error) as refused:
        await batches.transact(tenant, [user_creation(), creation("campaigns/new"), write])
    assert refused.value.field == f"writes[2].{field}"
    assert await names(batches, tenant, "users/u", "campaigns/new") == []
    assert await entities.get(tenant, CAMPAIGNS, name="campaigns/old") == before


async def test_a_transaction_with_an_item_over_400_kb_writes_none(batches, tenant):
    recipients = [{"email": f"{n}@example.com", "display_name": "x" * 190} for n in range(3000)]
    large = RecipientList(name="lists/l", display_name="L", recipients=recipients)
    writes = [
        user_creation(),
        Write(create=EntityCreation(entity=Entity(recipient_list=large))),
    ]
    with pytest.raises(InvalidArgument) as refused:
        await batches.transact(tenant, writes)
    assert refused.value.reason == "ITEM_TOO_LARGE"
    assert refused.value.field == "writes[1].create.entity.recipient_list"
    assert await names(batches, tenant, "users/u") == []


async def test_concurrent_transactions_over_one_entity_are_all_kept(batches, entities, tenant):
    await batches.write(tenant, [creation()])
    await asyncio.gather(
        *(
            batches.transact(tenant, [user_creation(f"users/{n}"), change(**{field: value})])
            for n, (field, value) in enumerate(
                [("subject", "s"), ("from_address", "a@b.co"), ("template", "templates/t")]
            )
        )
    )
    read = await entities.get(tenant, CAMPAIGNS, name="campaigns/a")
    assert (read.subject, read.from_address, read.template) == ("s", "a@b.co", "templates/t")
