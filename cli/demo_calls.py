"""The calls that `silo demo` makes: each says in a few words what came back.

Each raises Failure where it is refused or nobody answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cli.client import Client
from cli.failures import Failure
from silo.data.v1 import campaign_pb2, campaign_pb2_grpc
from silo.resolver.v1 import tenant_pb2, tenant_pb2_grpc
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc


def get_campaign(client: Client, campaign: str) -> str:
    """Reads a campaign; its display name."""
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    request = campaign_pb2.GetCampaignRequest(name=f"campaigns/{campaign}")
    return client.call(stub.GetCampaign, request).campaign.display_name


def rename_campaign(client: Client, campaign: str) -> str:
    """Gives a campaign another display name."""
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    request = campaign_pb2.UpdateCampaignRequest()
    request.campaign.name = f"campaigns/{campaign}"
    request.campaign.display_name = "Taken over"
    return client.call(stub.UpdateCampaign, request).campaign.display_name


def delete_campaign(client: Client, campaign: str) -> str:
    """Deletes a campaign."""
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    client.call(
        stub.DeleteCampaign, campaign_pb2.DeleteCampaignRequest(name=f"campaigns/{campaign}")
    )
    return "deleted"


def list_campaigns(client: Client, page_token: str) -> str:
    """The ids on a page of campaigns; of one campaign after a page token."""
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    size = 1 if page_token else 200
    request = campaign_pb2.ListCampaignsRequest(page_size=size, page_token=page_token)
    page = client.call(stub.ListCampaigns, request)
    return ", ".join(campaign.name.partition("/")[2] for campaign in page.campaigns)


def stat(client: Client, path: str) -> str:
    """Describes an object; its path."""
    stub = client.stub(object_pb2_grpc.ObjectServiceStub)
    return client.call(stub.GetObject, object_pb2.GetObjectRequest(path=path)).object.path


def suspend(client: Client, tenant_id: str) -> str:
    """Suspends a tenant."""
    stub = client.stub(tenant_pb2_grpc.TenantServiceStub)
    request = tenant_pb2.SuspendTenantRequest(name=f"tenants/{tenant_id}")
    client.call(stub.SuspendTenant, request)
    return "suspended"


def resume(client: Client, tenant_id: str) -> str:
    """Resumes a tenant."""
    stub = client.stub(tenant_pb2_grpc.TenantServiceStub)
    request = tenant_pb2.ResumeTenantRequest(name=f"tenants/{tenant_id}")
    client.call(stub.ResumeTenant, request)
    return "resumed"


def gone(attempt: Callable[[], object], *, patience: float) -> None:
    """Deletes something; that it is not there is as good, and a tenant just resumed is waited for.

    Raises:
        Failure: the call was refused for another reason.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            attempt()
            return
        except Failure as failure:
            if failure.code == "NOT_FOUND":
                return
            if failure.reason != "TENANT_UNAVAILABLE" or time.monotonic() >= deadline:
                raise
            time.sleep(0.01)


def create_campaign(client: Client, campaign: str, *, name: str) -> str:
    """Creates a campaign; its display name."""
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    request = campaign_pb2.CreateCampaignRequest(campaign_id=campaign)
    request.campaign.display_name = name
    return client.call(stub.CreateCampaign, request).campaign.display_name


def put(client: Client, path: str, *, content: str) -> str:
    """Stores an object; its size."""
    stub = client.stub(object_pb2_grpc.ObjectServiceStub)
    spec = object_pb2.UploadSpec(path=path, content_type="text/plain")
    requests = [
        object_pb2.UploadObjectRequest(spec=spec),
        object_pb2.UploadObjectRequest(chunk=content.encode()),
    ]
    return f"{client.upload(stub.UploadObject, requests).object.size} bytes"


def read(client: Client, path: str) -> str:
    """Reads an object's content."""
    stub = client.stub(object_pb2_grpc.ObjectServiceStub)
    request = object_pb2.DownloadObjectRequest(path=path)
    messages = client.download(stub.DownloadObject, request)
    return b"".join(message.chunk for message in messages).decode()


def delete_object(client: Client, path: str) -> str:
    """Deletes an object."""
    stub = client.stub(object_pb2_grpc.ObjectServiceStub)
    client.call(stub.DeleteObject, object_pb2.DeleteObjectRequest(path=path))
    return "deleted"


def ingest(client: Client, event_id: str, *, subject: str) -> str:
    """Takes an event outside campaigns, whose recipient has the same id; how many were new."""
    stub = client.stub(event_pb2_grpc.EventServiceStub)
    event = event_pb2.Event(
        event_id=event_id,
        event_type=event_pb2.EVENT_TYPE_OPEN,
        recipient=f"{event_id}@example.com",
        subject=subject,
    )
    event.timestamp.GetCurrentTime()
    batch = event_pb2.IngestEventsRequest(events=[event])
    answers = list(client.converse(stub.IngestEvents, iter([batch])))
    return f"{sum(answer.accepted_count for answer in answers)} accepted"


def subjects_of(client: Client, event_id: str) -> str:
    """The subjects of the events whose recipient has this id."""
    stub = client.stub(event_pb2_grpc.EventServiceStub)
    request = event_pb2.SearchEventsRequest()
    request.filter.recipient = f"{event_id}@example.com"
    found = client.call(stub.SearchEvents, request).events
    return ", ".join(event.subject for event in found)


def first_page_token(client: Client) -> str:
    """The token for the page after the first campaign."""
    stub = client.stub(campaign_pb2_grpc.CampaignServiceStub)
    page = client.call(stub.ListCampaigns, campaign_pb2.ListCampaignsRequest(page_size=1))
    return page.next_page_token
