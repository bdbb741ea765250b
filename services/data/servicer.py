"""The proto services for users, campaigns and recipient lists: proto to operation and back."""

from __future__ import annotations

from typing import Protocol, cast

from google.protobuf.message import Message

from boundary.interceptors.call import Call
from boundary.pages import query_of
from services.data.operations import Entities, Listing
from services.data.resources import CAMPAIGNS, LISTS, USERS
from silo.data.v1 import campaign_pb2, recipient_list_pb2, user_pb2


class ListRequest(Protocol):
    """The fields that every list request has."""

    page_size: int
    page_token: str
    order_by: str


def listing_of(request: ListRequest, call: Call, *, filter_value: str | int = "") -> Listing:
    """What a list request asks for."""
    return Listing(
        method=call.method.name,
        query=query_of(cast("Message", request)),
        page_size=request.page_size,
        page_token=request.page_token,
        order_by=request.order_by,
        filter_value=filter_value,
    )


class UserServicer:
    """silo.data.v1.UserService."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    async def create_user(
        self, request: user_pb2.CreateUserRequest, call: Call
    ) -> user_pb2.CreateUserResponse:
        """Creates a user."""
        user = await self._entities.create(
            call.tenant,
            USERS,
            entity_id=request.user_id,
            message=request.user,
            request_id=request.request_id,
        )
        return user_pb2.CreateUserResponse(user=user)

    async def get_user(
        self, request: user_pb2.GetUserRequest, call: Call
    ) -> user_pb2.GetUserResponse:
        """Reads one user."""
        user = await self._entities.get(call.tenant, USERS, name=request.name)
        return user_pb2.GetUserResponse(user=user)

    async def list_users(
        self, request: user_pb2.ListUsersRequest, call: Call
    ) -> user_pb2.ListUsersResponse:
        """Lists users."""
        asked = listing_of(request, call, filter_value=request.email)
        listed = await self._entities.list(call.tenant, USERS, asked)
        return user_pb2.ListUsersResponse(
            users=listed.resources, next_page_token=listed.next_page_token
        )

    async def update_user(
        self, request: user_pb2.UpdateUserRequest, call: Call
    ) -> user_pb2.UpdateUserResponse:
        """Changes a user."""
        user = await self._entities.update(
            call.tenant, USERS, message=request.user, paths=request.update_mask.paths
        )
        return user_pb2.UpdateUserResponse(user=user)

    async def delete_user(
        self, request: user_pb2.DeleteUserRequest, call: Call
    ) -> user_pb2.DeleteUserResponse:
        """Deletes a user."""
        await self._entities.delete(call.tenant, USERS, name=request.name, etag=request.etag)
        return user_pb2.DeleteUserResponse()


class CampaignServicer:
    """silo.data.v1.CampaignService."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    async def create_campaign(
        self, request: campaign_pb2.CreateCampaignRequest, call: Call
    ) -> campaign_pb2.CreateCampaignResponse:
        """Creates a campaign."""
        campaign = await self._entities.create(
            call.tenant,
            CAMPAIGNS,
            entity_id=request.campaign_id,
            message=request.campaign,
            request_id=request.request_id,
        )
        return campaign_pb2.CreateCampaignResponse(campaign=campaign)

    async def get_campaign(
        self, request: campaign_pb2.GetCampaignRequest, call: Call
    ) -> campaign_pb2.GetCampaignResponse:
        """Reads one campaign."""
        campaign = await self._entities.get(call.tenant, CAMPAIGNS, name=request.name)
        return campaign_pb2.GetCampaignResponse(campaign=campaign)

    async def list_campaigns(
        self, request: campaign_pb2.ListCampaignsRequest, call: Call
    ) -> campaign_pb2.ListCampaignsResponse:
        """Lists campaigns."""
        asked = listing_of(request, call, filter_value=request.status)
        listed = await self._entities.list(call.tenant, CAMPAIGNS, asked)
        return campaign_pb2.ListCampaignsResponse(
            campaigns=listed.resources, next_page_token=listed.next_page_token
        )

    async def update_campaign(
        self, request: campaign_pb2.UpdateCampaignRequest, call: Call
    ) -> campaign_pb2.UpdateCampaignResponse:
        """Changes a campaign."""
        campaign = await self._entities.update(
            call.tenant, CAMPAIGNS, message=request.campaign, paths=request.update_mask.paths
        )
        return campaign_pb2.UpdateCampaignResponse(campaign=campaign)

    async def delete_campaign(
        self, request: campaign_pb2.DeleteCampaignRequest, call: Call
    ) -> campaign_pb2.DeleteCampaignResponse:
        """Deletes a campaign."""
        await self._entities.delete(call.tenant, CAMPAIGNS, name=request.name, etag=request.etag)
        return campaign_pb2.DeleteCampaignResponse()


class RecipientListServicer:
    """silo.data.v1.RecipientListService."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities

    async def create_recipient_list(
        self, request: recipient_list_pb2.CreateRecipientListRequest, call: Call
    ) -> recipient_list_pb2.CreateRecipientListResponse:
        """Creates a recipient list."""
        recipient_list = await self._entities.create(
            call.tenant,
            LISTS,
            entity_id=request.recipient_list_id,
            message=request.recipient_list,
            request_id=request.request_id,
        )
        return recipient_list_pb2.CreateRecipientListResponse(recipient_list=recipient_list)

    async def get_recipient_list(
        self, request: recipient_list_pb2.GetRecipientListRequest, call: Call
    ) -> recipient_list_pb2.GetRecipientListResponse:
        """Reads one recipient list."""
        recipient_list = await self._entities.get(call.tenant, LISTS, name=request.name)
        return recipient_list_pb2.GetRecipientListResponse(recipient_list=recipient_list)

    async def list_recipient_lists(
        self, request: recipient_list_pb2.ListRecipientListsRequest, call: Call
    ) -> recipient_list_pb2.ListRecipientListsResponse:
        """Lists recipient lists."""
        listed = await self._entities.list(call.tenant, LISTS, listing_of(request, call))
        return recipient_list_pb2.ListRecipientListsResponse(
            recipient_lists=listed.resources, next_page_token=listed.next_page_token
        )

    async def update_recipient_list(
        self, request: recipient_list_pb2.UpdateRecipientListRequest, call: Call
    ) -> recipient_list_pb2.UpdateRecipientListResponse:
        """Changes a recipient list."""
        recipient_list = await self._entities.update(
            call.tenant, LISTS, message=request.recipient_list, paths=request.update_mask.paths
        )
        return recipient_list_pb2.UpdateRecipientListResponse(recipient_list=recipient_list)

    async def delete_recipient_list(
        self, request: recipient_list_pb2.DeleteRecipientListRequest, call: Call
    ) -> recipient_list_pb2.DeleteRecipientListResponse:
        """Deletes a recipient list."""
        await self._entities.delete(call.tenant, LISTS, name=request.name, etag=request.etag)
        return recipient_list_pb2.DeleteRecipientListResponse()
