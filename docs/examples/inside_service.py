"""A platform service that calls data, storage and search from inside the network.

It uses the generated stubs and nothing else of Silo. Run it against a running suite:

    SILO_TOKEN=$(silo token --tenant A --subject newsletter --permissions '*') \
      python docs/examples/inside_service.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from google.rpc import error_details_pb2, status_pb2

from silo.data.v1 import campaign_pb2, campaign_pb2_grpc
from silo.resolver.v1 import context_pb2, context_pb2_grpc
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]

RENEW_BEFORE = 15.0
"""Seconds before its end at which a context is renewed: long enough for any one call to finish."""


class Contexts:
    """Tenant contexts for one caller: resolved once for each service, renewed before they end."""

    def __init__(self, resolver: grpc.Channel, token: str) -> None:
        self._stub = context_pb2_grpc.ContextServiceStub(resolver)
        self._authorization = (("authorization", f"Bearer {token}"),)
        self._held: dict[str, tuple[float, Metadata]] = {}

    def metadata(self, audience: str) -> Metadata:
        """The metadata to send with a call to a service: exactly one context, for that service alone."""
        renew_at, metadata = self._held.get(audience, (0.0, ()))
        if time.time() >= renew_at:
            response = self._stub.ResolveTenant(
                context_pb2.ResolveTenantRequest(audience=audience),
                metadata=self._authorization,
                timeout=2.0,
            )
            metadata = (("x-silo-context", response.context),)
            self._held[audience] = (response.expire_time.seconds - RENEW_BEFORE, metadata)
        return metadata

    def call(self, audience: str, attempt: Callable[[Metadata], T]) -> T:
        """Makes a call; once more with a fresh context where the tenant has changed in between.

        CONTEXT_STALE is the one refusal that a fresh context mends. The call was not served, so that it is safe
        to repeat whatever it does.
        """
        try:
            return attempt(self.metadata(audience))
        except grpc.RpcError as error:
            if reason_of(error) != "CONTEXT_STALE":
                raise
            self._held.pop(audience, None)
            return attempt(self.metadata(audience))


def reason_of(error: Any) -> str:
    """The stable reason of an error: the ErrorInfo in its rich status."""
    info = error_details_pb2.ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                if detail.Unpack(info):
                    return info.reason
    return ""


def main() -> None:
    """Counts a tenant's campaigns, objects and events, each at its own service."""
    address = os.environ.get
    with (
        grpc.insecure_channel(address("SILO_RESOLVER_ADDRESS", "127.0.0.1:50051")) as resolver,
        grpc.insecure_channel(address("SILO_DATA_ADDRESS", "127.0.0.1:50052")) as data,
        grpc.insecure_channel(address("SILO_STORAGE_ADDRESS", "127.0.0.1:50053")) as storage,
        grpc.insecure_channel(address("SILO_SEARCH_ADDRESS", "127.0.0.1:50054")) as search,
    ):
        contexts = Contexts(resolver, os.environ["SILO_TOKEN"])
        campaigns = campaign_pb2_grpc.CampaignServiceStub(data)
        objects = object_pb2_grpc.ObjectServiceStub(storage)
        events = event_pb2_grpc.EventServiceStub(search)
        listed = contexts.call(
            "data",
            lambda metadata: campaigns.ListCampaigns(
                campaign_pb2.ListCampaignsRequest(page_size=200), metadata=metadata, timeout=5.0
            ),
        )
        stored = contexts.call(
            "storage",
            lambda metadata: objects.ListObjects(
                object_pb2.ListObjectsRequest(prefix="templates/"), metadata=metadata, timeout=5.0
            ),
        )
        counted = contexts.call(
            "search",
            lambda metadata: events.CountEvents(
                event_pb2.CountEventsRequest(), metadata=metadata, timeout=5.0
            ),
        )
    print(f"campaigns on the first page: {len(listed.campaigns)}")
    print(f"template objects on the first page: {len(stored.objects)}")
    print(f"events: {counted.count}")


if __name__ == "__main__":
    main()
