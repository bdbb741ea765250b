"""Creating, reading, listing, changing and deleting."""

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from boundary.context import serving
from boundary.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from services.data.operations import Listing
from services.data.resources import CAMPAIGNS, LISTS, USERS
from silo.data.v1.campaign_pb2 import Campaign, CampaignStatus
from silo.data.v1.recipient_list_pb2 import Recipient, RecipientList
from silo.data.v1.user_pb2 import User
from tests.contexts import make_context
from tests.unit.data.conftest import CONTEXT_B


async def create(entities, tenant, campaign_id="spring", request_id="", **fields) -> Campaign:
    return await entities.create(
        tenant,
        CAMPAIGNS,
        entity_id=campaign_id,
        message=Campaign(**{"display_name": "Spring", **fields}),
        request_id=request_id,
    )


async def update(entities, tenant, *paths, **fields) -> Campaign:
    message = Campaign(**{"name": "campaigns/spring", **fields})
    return await entities.update(
        tenant, CAMPAIGNS, message=message, paths=FieldMask(paths=paths).paths
    )


def asked(method="List", **fields) -> Listing:
    query = repr(sorted((k, v) for k, v in fields.items() if not k.startswith("page"))).encode()
    return Listing(
        **{
            "method": method,
            "query": query,
            "page_size": 0,
            "page_token": "",
            "order_by": "",
            **fields,
        }
    )


async def ids(entities, tenant, kind=CAMPAIGNS, **fields) -> list[str]:
    """The ids of a whole listing, read in pages of 2."""
    found: list[str] = []
    token = ""
    while True:
        listed = await entities.list(tenant, kind, asked(page_size=2, page_token=token, **fields))
        found += [resource.name.split("/")[1] for resource in listed.resources]
        token = listed.next_page_token
        if not token:
            return found


# Creating and reading


async def test_a_campaign_reads_as_it_was_created(entities, tenant):
    created = await create(
        entities, tenant, labels={"a": "b"}, template="templates/t", schedule_time={"seconds": 5}
    )
    assert created.name == "campaigns/spring"
    assert created.status == CampaignStatus.CAMPAIGN_STATUS_DRAFT
    assert created.etag
    assert created.create_time == created.update_time
    assert created.create_time.seconds == 1_700_000_000
    assert await entities.get(tenant, CAMPAIGNS, name="campaigns/spring") == created


async def test_what_callers_do_not_set_is_passed_over(entities, tenant):
    created = await create(
        entities, tenant, name="campaigns/other", etag="mine", create_time={"seconds": 1}
    )
    assert created.name == "campaigns/spring"
    assert created.etag != "mine"
    assert created.create_time.seconds != 1


async def test_a_taken_id(entities, tenant):
    created = await create(entities, tenant)
    with pytest.raises(AlreadyExists):
        await create(entities, tenant, display_name="Other")
    assert await entities.get(tenant, CAMPAIGNS, name="campaigns/spring") == created


async def test_one_of_many_creators_wins(entities, tenant):
    outcomes = await asyncio.gather(
        *(create(entities, tenant, display_name=str(n)) for n in range(10)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Campaign) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, AlreadyExists) for outcome in outcomes) == 9


async def test_a_retried_creation_answers_with_what_exists(entities, tenant):
    created = await create(entities, tenant, request_id="r1")
    assert await create(entities, tenant, request_id="r1") == created
    changed = await update(entities, tenant, "subject", subject="new")
    assert await create(entities, tenant, request_id="r1") == changed


async def test_a_request_id_is_good_for_the_same_request_alone(entities, tenant, table):
    await create(entities, tenant, request_id="r1")
    with pytest.raises(AlreadyExists):
        await create(entities, tenant, request_id="r2")
    with pytest.raises(AlreadyExists):
        await create(entities, tenant, request_id="r1", subject="other")
    with pytest.raises(AlreadyExists):
        await create(entities, tenant)
    other = make_context("A", principal="bob")
    with serving(other), pytest.raises(AlreadyExists):
        await create(entities, other, request_id="r1")
    with pytest.raises(InvalidArgument):
        await create(entities, tenant, "other", request_id="not a request id")


async def test_missing_and_foreign_read_alike(entities, tenant):
    await create(entities, tenant)
    with pytest.raises(NotFound) as missing:
        await entities.get(tenant, CAMPAIGNS, name="campaigns/other")
    with serving(CONTEXT_B):
        with pytest.raises(NotFound) as foreign:
            await entities.get(CONTEXT_B, CAMPAIGNS, name="campaigns/spring")
        assert await ids(entities, CONTEXT_B) == []
    assert missing.value.message.replace("other", "spring") == foreign.value.message


@pytest.mark.parametrize(
    "name",
    [
        "",
        "spring",
        "campaigns/",
        "users/spring",
        "campaigns/a/b",
        "campaigns/a#b",
        "campaigns/../users/a",
        "Campaigns/a",
        "campaigns/ä",
        "campaigns/a\n",
        "campaigns/" + "a" * 65,
    ],
)
async def test_a_name_out_of_grammar(entities, tenant, name):
    for call in (
        entities.get(tenant, CAMPAIGNS, name=name),
        entities.delete(tenant, CAMPAIGNS, name=name, etag=""),
        entities.update(tenant, CAMPAIGNS, message=Campaign(name=name), paths=[]),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await call
        assert refused.value.field in ("name", "campaign.name")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"display_name": ""}, "display_name"),
        ({"display_name": "x" * 201}, "display_name"),
        ({"subject": "a\r\nBcc: everyone"}, "subject"),
        ({"from_address": "nobody"}, "from_address"),
        ({"status": 77}, "status"),
        ({"template": "spring"}, "template"),
        ({"recipient_list": "templates/x"}, "recipient_list"),
        ({"labels": {"": "x"}}, "labels"),
        ({"schedule_time": {"nanos": -1}}, "schedule_time"),
    ],
)
async def test_a_field_that_breaks_its_rule(entities, tenant, fields, field):
    with pytest.raises(InvalidArgument) as refused:
        await create(entities, tenant, **fields)
    assert refused.value.field == f"campaign.{field}"
    with pytest.raises(NotFound):
        await entities.get(tenant, CAMPAIGNS, name="campaigns/spring")
    await create(entities, tenant)
    with pytest.raises(InvalidArgument) as refused:
        await update(entities, tenant, field, **fields)
    assert refused.value.field == f"campaign.{field}"


async def test_an_id_out_of_grammar(entities, tenant):
    with pytest.raises(InvalidArgument) as refused:
        await create(entities, tenant, "a#b")
    assert refused.value.field == "campaign_id"


async def test_an_item_over_400_kb(entities, tenant):
    recipients = [Recipient(email=f"somebody-{n}@example.com") for n in range(12_000)]
    message = RecipientList(display_name="Everybody", recipients=recipients)
    with pytest.raises(InvalidArgument) as refused:
        await entities.create(tenant, LISTS, entity_id="all", message=message)
    assert (refused.value.reason, refused.value.field) == ("ITEM_TOO_LARGE", "recipient_list")
    message = RecipientList(display_name="Everybody", recipients=recipients[:3])
    await entities.create(tenant, LISTS, entity_id="all", message=message)
    message = RecipientList(name="lists/all", recipients=recipients)
    with pytest.raises(InvalidArgument) as refused:
        await entities.update(tenant, LISTS, message=message, paths=[])
    assert refused.value.reason == "ITEM_TOO_LARGE"
    assert (await entities.get(tenant, LISTS, name="lists/all")).recipient_count == 3


async def test_an_item_far_over_400_kb_is_refused_without_a_walk(entities, tenant):
    for recipients in (
        [Recipient(email="a@b.co")] * 30_000,
        [Recipient(email="a@b.co", attributes={"k": "v" * 2_000_000})],
    ):
        message = RecipientList(display_name="Everybody", recipients=recipients)
        with pytest.raises(InvalidArgument) as refused:
            await entities.create(tenant, LISTS, entity_id="all", message=message)
        assert refused.value.reason == "ITEM_TOO_LARGE"


async def test_recipients_are_counted(entities, tenant):
    message = RecipientList(display_name="L", recipients=[Recipient(email="a@b.co")] * 2)
    created = await entities.create(tenant, LISTS, entity_id="l", message=message)
    assert created.recipient_count == 2
    emptied = await entities.update(
        tenant, LISTS, message=RecipientList(name="lists/l"), paths=["recipients"]
    )
    assert (emptied.recipient_count, len(emptied.recipients)) == (0, 0)


# Changing


async def test_a_mask_changes_what_it_names(entities, tenant):
    created = await create(entities, tenant, subject="old", from_address="a@b.co")
    changed = await update(
        entities, tenant, "subject", "labels", subject="new", display_name="ignored"
    )
    assert (changed.subject, changed.display_name, dict(changed.labels)) == ("new", "Spring", {})
    assert changed.from_address == "a@b.co"
    assert changed.etag != created.etag
    assert changed.create_time == created.create_time
    assert changed.update_time.ToNanoseconds() > created.update_time.ToNanoseconds()
    assert await entities.get(tenant, CAMPAIGNS, name="campaigns/spring") == changed


async def test_a_mask_clears_what_is_not_set(entities, tenant):
    await create(entities, tenant, subject="old", status="CAMPAIGN_STATUS_SENT", labels={"a": "b"})
    changed = await update(entities, tenant, "subject", "status", "labels")
    assert (changed.subject, dict(changed.labels)) == ("", {})
    assert changed.status == CampaignStatus.CAMPAIGN_STATUS_DRAFT
    with pytest.raises(InvalidArgument):
        await update(entities, tenant, "display_name")


async def test_no_mask_changes_what_is_populated(entities, tenant):
    await create(entities, tenant, subject="old", labels={"a": "b"})
    changed = await update(entities, tenant, subject="new", create_time={"seconds": 1})
    assert (changed.subject, changed.display_name) == ("new", "Spring")
    assert dict(changed.labels) == {"a": "b"}
    assert changed.create_time.seconds != 1


async def test_a_star_replaces_everything(entities, tenant):
    await create(entities, tenant, subject="old", labels={"a": "b"})
    changed = await update(entities, tenant, "*", display_name="Summer")
    assert (changed.subject, changed.display_name, dict(changed.labels)) == ("", "Summer", {})


@pytest.mark.parametrize(
    "path", ["name", "etag", "create_time", "update_time", "tenant", "labels.a", "PK", "", "GSI1PK"]
)
async def test_a_path_that_is_not_settable(entities, tenant, path):
    await create(entities, tenant)
    with pytest.raises(InvalidArgument) as refused:
        await update(entities, tenant, "subject", path, subject="x")
    assert refused.value.field == "update_mask"
    assert (await entities.get(tenant, CAMPAIGNS, name="campaigns/spring")).subject == ""


async def test_an_etag_must_be_the_current_one(entities, tenant):
    created = await create(entities, tenant)
    changed = await update(entities, tenant, etag=created.etag, subject="new")
    with pytest.raises(Aborted) as refused:
        await update(entities, tenant, etag=created.etag, subject="newer")
    assert refused.value.reason == "ETAG_MISMATCH"
    with pytest.raises(Aborted):
        await entities.delete(tenant, CAMPAIGNS, name="campaigns/spring", etag=created.etag)
    await entities.delete(tenant, CAMPAIGNS, name="campaigns/spring", etag=changed.etag)


async def test_an_etag_of_a_deleted_namesake_is_stale(entities, tenant):
    created = await create(entities, tenant)
    await entities.delete(tenant, CAMPAIGNS, name="campaigns/spring", etag="")
    await create(entities, tenant)
    with pytest.raises(Aborted):
        await update(entities, tenant, etag=created.etag, subject="x")


async def test_concurrent_changes_of_different_fields_are_all_kept(entities, tenant):
    await create(entities, tenant)
    await asyncio.gather(
        update(entities, tenant, "subject", subject="s"),
        update(entities, tenant, "from_address", from_address="a@b.co"),
        update(entities, tenant, "template", template="templates/t"),
    )
    read = await entities.get(tenant, CAMPAIGNS, name="campaigns/spring")
    assert (read.subject, read.from_address, read.template) == ("s", "a@b.co", "templates/t")


async def test_what_is_not_there_is_neither_changed_nor_deleted(entities, tenant):
    with pytest.raises(NotFound):
        await update(entities, tenant, subject="x")
    for etag in ("", "x"):
        with pytest.raises(NotFound):
            await entities.delete(tenant, CAMPAIGNS, name="campaigns/spring", etag=etag)


# Listing


async def test_listing_by_id_and_by_time(entities, tenant):
    for name in ("b", "C", "a", "b-1", "b.2"):
        await create(entities, tenant, name)
    await entities.create(tenant, USERS, entity_id="u", message=User(email="a@b.co"))
    by_id = ["C", "a", "b", "b-1", "b.2"]
    by_time = ["b", "C", "a", "b-1", "b.2"]
    assert await ids(entities, tenant) == by_id
    assert await ids(entities, tenant, order_by="id asc") == by_id
    assert await ids(entities, tenant, order_by=" id  desc ") == by_id[::-1]
    assert await ids(entities, tenant, order_by="create_time") == by_time
    assert await ids(entities, tenant, order_by="create_time desc") == by_time[::-1]
    await update(entities, tenant, name="campaigns/b", subject="x")
    assert await ids(entities, tenant, order_by="create_time") == by_time
    await entities.delete(tenant, CAMPAIGNS, name="campaigns/C", etag="")
    assert await ids(entities, tenant, order_by="create_time") == ["b", "a", "b-1", "b.2"]


async def test_listing_by_status_in_either_order(entities, tenant):
    for name, status in (("c", "SENT"), ("b", "DRAFT"), ("a", "SENT"), ("d", "SENT")):
        await create(entities, tenant, name, status=f"CAMPAIGN_STATUS_{status}")
    sent = {"filter_value": CampaignStatus.CAMPAIGN_STATUS_SENT}
    assert await ids(entities, tenant, **sent) == ["a", "c", "d"]
    assert await ids(entities, tenant, order_by="id desc", **sent) == ["d", "c", "a"]
    assert await ids(entities, tenant, order_by="create_time", **sent) == ["c", "a", "d"]
    assert await ids(entities, tenant, order_by="create_time desc", **sent) == ["d", "a", "c"]
    await update(entities, tenant, "status", name="campaigns/a", status="CAMPAIGN_STATUS_CANCELLED")
    assert await ids(entities, tenant, **sent) == ["c", "d"]
    assert await ids(entities, tenant, filter_value=CampaignStatus.CAMPAIGN_STATUS_DRAFT) == ["b"]


async def test_listing_users_by_email_whatever_its_case(entities, tenant):
    for name, email in (("1", "Alice@Example.com"), ("2", "bob@b.co"), ("3", "alice@example.COM")):
        await entities.create(tenant, USERS, entity_id=name, message=User(email=email))
    assert await ids(entities, tenant, USERS, filter_value="ALICE@example.com") == ["1", "3"]
    assert await ids(entities, tenant, USERS, filter_value="a%23@b.co") == []
    message = User(name="users/1", email="new@b.co")
    await entities.update(tenant, USERS, message=message, paths=["email"])
    assert await ids(entities, tenant, USERS, filter_value="alice@example.com") == ["3"]
    assert await ids(entities, tenant, USERS, filter_value="new@b.co") == ["1"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"order_by": "subject"}, "order_by"),
        ({"order_by": "id, create_time"}, "order_by"),
        ({"order_by": "id DESC"}, "order_by"),
        ({"page_size": -1}, "page_size"),
        ({"page_token": "x"}, "page_token"),
        ({"page_token": "\N{PILE OF POO}"}, "page_token"),
        ({"filter_value": 77}, "status"),
    ],
)
async def test_a_listing_out_of_order(entities, tenant, fields, field):
    with pytest.raises(InvalidArgument) as refused:
        await entities.list(tenant, CAMPAIGNS, asked(**fields))
    assert refused.value.field == field


async def test_an_email_filter_is_an_address(entities, tenant):
    with pytest.raises(InvalidArgument) as refused:
        await entities.list(tenant, USERS, asked(filter_value="x" * 3000))
    assert refused.value.field == "email"


async def test_a_page_token_is_good_for_its_own_request_alone(entities, tenant):
    for number in range(4):
        await create(entities, tenant, f"c{number}")
        with serving(CONTEXT_B):
            await create(entities, CONTEXT_B, f"c{number}")
    first = await entities.list(tenant, CAMPAIGNS, asked(page_size=1))
    token = first.next_page_token
    assert token
    page = await entities.list(tenant, CAMPAIGNS, asked(page_size=3, page_token=token))
    assert [campaign.name for campaign in page.resources] == [f"campaigns/c{n}" for n in (1, 2, 3)]
    for other in (
        asked(page_token=token, order_by="id desc"),
        asked(page_token=token, method="ListOthers"),
        asked(page_token=token[:-2] + "AA"),
    ):
        with pytest.raises(InvalidArgument):
            await entities.list(tenant, CAMPAIGNS, other)
    with serving(CONTEXT_B), pytest.raises(InvalidArgument):
        await entities.list(CONTEXT_B, CAMPAIGNS, asked(page_token=token))
