"""The servicers over loopback: every method of the contract is served, and messages come through."""

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from boundary.catalog import methods_of
from boundary.context import CONTEXT_KEY
from boundary.errors import error_info
from boundary.interceptors import stages
from boundary.interceptors.chain import Chain
from boundary.interceptors.shapes import handlers_of
from boundary.pages import PageSealer
from boundary.resolver_client import rich_status
from services.data.bootstrap import wire
from services.table.ports import Put
from silo.data.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    campaign_pb2,
    campaign_pb2_grpc,
    entity_pb2,
    entity_pb2_grpc,
    recipient_list_pb2,
    recipient_list_pb2_grpc,
    template_pb2,
    template_pb2_grpc,
    tenant_config_pb2,
    tenant_config_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from silo.policy.v1 import policy_pb2
from tests.contexts import mint_token
from tests.unit.data.conftest import CONTEXT_A, verifier


@pytest.fixture
async def channel(table, engine, content, clock) -> AsyncIterator[grpc.aio.Channel]:
    clock.now = time.time_ns()
    item = {"tenant_id": "A", "display_name": "Tenant A"}
    await engine.write(CONTEXT_A.partition, Put(sort_key="CONFIG", item=item))
    servicers = wire(table=table, content=content, pages=PageSealer(b"k" * 32)).servicers
    authenticator = stages.ContextAuthenticator(verifier("data"))
    chain = Chain(
        [
            stages.Identify(),
            stages.Authenticate({policy_pb2.CREDENTIAL_CONTEXT: authenticator}),
            stages.Authorise(),
        ]
    )
    server = grpc.aio.server()
    methods = [
        method
        for method in methods_of("data")
        if method.descriptor.containing_service.full_name in servicers
    ]
    server.add_generic_rpc_handlers((handlers_of(methods, servicers, chain),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


def caller() -> dict[str, Any]:
    """A fresh context: it lives for a minute, and tests are collected minutes before they run."""
    return {"metadata": ((CONTEXT_KEY, mint_token("A")),)}


async def refused(call) -> tuple[str, str, str]:
    """The code, the reason and the field of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info = error_info(rich_status(caught.value))
    assert info is not None
    return caught.value.code().name, info.reason, info.metadata.get("field", "")


async def test_campaigns(channel):
    stub = campaign_pb2_grpc.CampaignServiceStub(channel)
    create = campaign_pb2.CreateCampaignRequest(campaign_id="x", request_id="r")
    create.campaign.display_name = "X"
    created = (await stub.CreateCampaign(create, **caller())).campaign
    assert (await stub.CreateCampaign(create, **caller())).campaign == created
    get = campaign_pb2.GetCampaignRequest(name="campaigns/x")
    assert (await stub.GetCampaign(get, **caller())).campaign == created
    update = campaign_pb2.UpdateCampaignRequest(
        campaign=campaign_pb2.Campaign(name="campaigns/x", status=4),
        update_mask={"paths": ["status"]},
    )
    assert (await stub.UpdateCampaign(update, **caller())).campaign.status == 4
    create.campaign_id = "y"
    await stub.CreateCampaign(create, **caller())
    first = campaign_pb2.ListCampaignsRequest(page_size=1)
    page = await stub.ListCampaigns(first, **caller())
    assert [each.name for each in page.campaigns] == ["campaigns/x"]
    second = campaign_pb2.ListCampaignsRequest(page_size=5, page_token=page.next_page_token)
    page = await stub.ListCampaigns(second, **caller())
    assert ([each.name for each in page.campaigns], page.next_page_token) == (["campaigns/y"], "")
    second.status = 4
    outcome = await refused(stub.ListCampaigns(second, **caller()))
    assert outcome == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN", "page_token")
    sent = await stub.ListCampaigns(campaign_pb2.ListCampaignsRequest(status=4), **caller())
    assert [each.name for each in sent.campaigns] == ["campaigns/x"]
    delete = campaign_pb2.DeleteCampaignRequest(name="campaigns/x", etag=created.etag)
    outcome = await refused(stub.DeleteCampaign(delete, **caller()))
    assert outcome == ("ABORTED", "ETAG_MISMATCH", "etag")
    delete.etag = ""
    await stub.DeleteCampaign(delete, **caller())
    outcome = await refused(stub.GetCampaign(get, **caller()))
    assert outcome == ("NOT_FOUND", "RESOURCE_NOT_FOUND", "name")


async def test_users(channel):
    stub = user_pb2_grpc.UserServiceStub(channel)
    create = user_pb2.CreateUserRequest(user_id="u", user=user_pb2.User(email="U@b.co"))
    created = (await stub.CreateUser(create, **caller())).user
    assert created.role == user_pb2.USER_ROLE_VIEWER
    get = user_pb2.GetUserRequest(name="users/u")
    assert (await stub.GetUser(get, **caller())).user == created
    listed = await stub.ListUsers(user_pb2.ListUsersRequest(email="u@B.co"), **caller())
    assert list(listed.users) == [created]
    update = user_pb2.UpdateUserRequest(user=user_pb2.User(name="users/u", display_name="U"))
    assert (await stub.UpdateUser(update, **caller())).user.display_name == "U"
    await stub.DeleteUser(user_pb2.DeleteUserRequest(name="users/u"), **caller())
    assert not (await stub.ListUsers(user_pb2.ListUsersRequest(), **caller())).users


async def test_recipient_lists(channel):
    stub = recipient_list_pb2_grpc.RecipientListServiceStub(channel)
    create = recipient_list_pb2.CreateRecipientListRequest(recipient_list_id="l")
    create.recipient_list.display_name = "L"
    create.recipient_list.recipients.add(email="a@b.co", attributes={"first": "A"})
    created = (await stub.CreateRecipientList(create, **caller())).recipient_list
    assert created.recipient_count == 1
    get = recipient_list_pb2.GetRecipientListRequest(name="lists/l")
    assert (await stub.GetRecipientList(get, **caller())).recipient_list == created
    update = recipient_list_pb2.UpdateRecipientListRequest(update_mask={"paths": ["recipients"]})
    update.recipient_list.name = "lists/l"
    updated = (await stub.UpdateRecipientList(update, **caller())).recipient_list
    assert updated.recipient_count == 0
    asked = recipient_list_pb2.ListRecipientListsRequest()
    assert list((await stub.ListRecipientLists(asked, **caller())).recipient_lists) == [updated]
    delete = recipient_list_pb2.DeleteRecipientListRequest(name="lists/l")
    await stub.DeleteRecipientList(delete, **caller())
    assert not (await stub.ListRecipientLists(asked, **caller())).recipient_lists


async def test_templates(channel, content):
    stub = template_pb2_grpc.TemplateServiceStub(channel)
    create = template_pb2.CreateTemplateRequest(template_id="t", content=b"<p>")
    create.template.display_name = "T"
    created = (await stub.CreateTemplate(create, **caller())).template
    get = template_pb2.GetTemplateRequest(name="templates/t")
    assert (await stub.GetTemplate(get, **caller())).template == created
    asked = template_pb2.ListTemplatesRequest()
    assert list((await stub.ListTemplates(asked, **caller())).templates) == [created]
    update = template_pb2.UpdateTemplateRequest(
        template=template_pb2.Template(name="templates/t", subject="S")
    )
    assert (await stub.UpdateTemplate(update, **caller())).template.subject == "S"
    update.content = b""
    outcome = await refused(stub.UpdateTemplate(update, **caller()))
    assert outcome == ("INVALID_ARGUMENT", "REQUIRED_FIELD", "content")
    update.content = b"<b>"
    await stub.UpdateTemplate(update, **caller())
    read = await stub.GetTemplateContent(
        template_pb2.GetTemplateContentRequest(name="templates/t"), **caller()
    )
    assert read.content == b"<b>"
    await stub.DeleteTemplate(template_pb2.DeleteTemplateRequest(name="templates/t"), **caller())
    assert content.objects == {}


async def test_settings(channel):
    stub = tenant_config_pb2_grpc.TenantConfigServiceStub(channel)
    update = tenant_config_pb2.UpdateTenantConfigRequest()
    update.tenant_config.time_zone = "Europe/Berlin"
    updated = (await stub.UpdateTenantConfig(update, **caller())).tenant_config
    asked = tenant_config_pb2.GetTenantConfigRequest()
    assert (await stub.GetTenantConfig(asked, **caller())).tenant_config == updated
    assert updated.display_name == "Tenant A"


async def test_counters(channel):
    stub = analytics_pb2_grpc.AnalyticsServiceStub(channel)
    request = analytics_pb2.IncrementCountersRequest(request_id="r")
    request.increments.add(date="2024-01-15", metric="OPENS", delta=3)
    assert not (await stub.IncrementCounters(request, **caller())).replayed
    assert (await stub.IncrementCounters(request, **caller())).replayed
    asked = analytics_pb2.GetAnalyticsReportRequest(
        start_date="2024-01-01", end_date="2024-01-31", metrics=["OPENS"]
    )
    report = await stub.GetAnalyticsReport(asked, **caller())
    assert [(each.metric, each.value) for each in report.totals] == [("OPENS", 3)]
    assert [each.date for each in report.counters] == ["2024-01-15"]


async def test_several_entities(channel):
    stub = entity_pb2_grpc.EntityServiceStub(channel)
    good, bad, gone = entity_pb2.Write(), entity_pb2.Write(), entity_pb2.Write()
    good.create.entity.user.name, good.create.entity.user.email = "users/u", "u@b.co"
    bad.create.entity.campaign.name = "campaigns/x"
    request = entity_pb2.BatchWriteEntitiesRequest(writes=[good, bad])
    results = (await stub.BatchWriteEntities(request, **caller())).results
    assert [each.status.code for each in results] == [0, grpc.StatusCode.INVALID_ARGUMENT.value[0]]
    assert results[0].entity.user.etag
    assert not results[1].HasField("entity")
    gone.delete.name = "users/u"
    transaction = entity_pb2.TransactEntitiesRequest(writes=[gone, bad])
    outcome = await refused(stub.TransactEntities(transaction, **caller()))
    assert outcome[2] == "writes[1].create.entity.campaign.display_name"
    bad.create.entity.campaign.display_name = "X"
    transaction = entity_pb2.TransactEntitiesRequest(writes=[gone, bad])
    entities = (await stub.TransactEntities(transaction, **caller())).entities
    assert [each.WhichOneof("entity") for each in entities] == [None, "campaign"]
    asked = entity_pb2.BatchGetEntitiesRequest(names=["users/u", "campaigns/x"])
    read = await stub.BatchGetEntities(asked, **caller())
    assert list(read.missing_names) == ["users/u"]
    assert read.entities[0].campaign == entities[1].campaign
