"""A gateway of a few lines on a real loopback server, and `silo` run against it."""

# ruff: noqa: N802 - methods are named as their protos name them

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from typer.testing import CliRunner

from boundary.catalog import all_methods
from boundary.errors import InvalidArgument, NotFound, SiloError, status_of
from boundary.metadata import STATUS_KEY
from cli.main import app
from devstack.issuer import ensure_dev_issuer
from silo.data.v1 import campaign_pb2
from silo.resolver.v1 import tenant_pb2
from silo.search.v1 import event_pb2
from silo.storage.v1 import object_pb2


def abort(context: grpc.ServicerContext, error: SiloError) -> None:
    """Ends a call as the suite does."""
    status = status_of(error, "r-1")
    context.set_trailing_metadata(((STATUS_KEY, status.SerializeToString()),))
    context.abort(getattr(grpc.StatusCode, error.code), error.message)


class FakeGateway(grpc.GenericRpcHandler):
    """Remembers what it was asked and answers as it is told.

    A method that the class does not have answers with what `answers` holds for it, or else emptily.
    """

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.methods = {method.path: method for method in all_methods() if method.edge}
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.error: SiloError | None = None
        self.objects: dict[str, bytes] = {}
        self.damaged = False
        self.rejects: dict[str, str] = {}
        self.events: dict[str, event_pb2.Event] = {}
        self.fail_after_batches: int | None = None

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = self.methods.get(details.method)
        if method is None:
            return None
        shapes = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        name = method.descriptor.name

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            self.took(request, context)
            return self.answers.get(name) or method.response_type()

        return shapes[method.client_streaming, method.server_streaming](
            getattr(self, name, answer),
            request_deserializer=method.request_type.FromString,
            response_serializer=method.response_type.SerializeToString,
        )

    def took(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.error is not None:
            abort(context, self.error)
        return request

    def CreateCampaign(self, request, context):
        self.took(request, context)
        campaign = campaign_pb2.Campaign(etag="1")
        campaign.MergeFrom(request.campaign)
        campaign.name = f"campaigns/{request.campaign_id}"
        return campaign_pb2.CreateCampaignResponse(campaign=campaign)

    def GetCampaign(self, request, context):
        self.took(request, context)
        return campaign_pb2.GetCampaignResponse(
            campaign=campaign_pb2.Campaign(
                name=request.name, display_name="Spring [bold]sale[/bold]"
            )
        )

    def UpdateCampaign(self, request, context):
        self.took(request, context)
        return campaign_pb2.UpdateCampaignResponse(campaign=request.campaign)

    def DeleteCampaign(self, request, context):
        self.took(request, context)
        return campaign_pb2.DeleteCampaignResponse()

    def ListCampaigns(self, request, context):
        self.took(request, context)
        first = int(request.page_token or 0)
        names = [f"campaigns/{number}" for number in range(first, min(first + 2, 5))]
        return campaign_pb2.ListCampaignsResponse(
            campaigns=[campaign_pb2.Campaign(name=name) for name in names],
            next_page_token=str(first + 2) if first + 2 < 5 else "",
        )

    def ListTenants(self, request, context):
        self.took(request, context)
        return tenant_pb2.ListTenantsResponse(
            tenants=[tenant_pb2.Tenant(tenant_id="A", status=tenant_pb2.TENANT_STATUS_ACTIVE)]
        )

    def SuspendTenant(self, request, context):
        self.took(request, context)
        return tenant_pb2.SuspendTenantResponse(tenant=tenant_pb2.Tenant(name=request.name))

    def UploadObject(self, requests, context):
        spec = self.took(next(requests), context).spec
        chunks = [request.chunk for request in requests]
        assert all(len(chunk) <= 1024 * 1024 for chunk in chunks)
        content = self.objects[spec.path] = b"".join(chunks)
        return object_pb2.UploadObjectResponse(object=self.describe(spec.path, content))

    def DownloadObject(self, request, context):
        self.took(request, context)
        if request.path not in self.objects:
            abort(context, NotFound(request.path, field="path"))
        content = self.objects[request.path]
        yield object_pb2.DownloadObjectResponse(object=self.describe(request.path, content))
        chosen = content[request.offset :]
        chosen = chosen[: request.length] if request.length else chosen
        for start in range(0, len(chosen), 1024 * 1024):
            yield object_pb2.DownloadObjectResponse(chunk=chosen[start : start + 1024 * 1024])

    def describe(self, path: str, content: bytes) -> object_pb2.Object:
        digest = hashlib.sha256(b"other" if self.damaged else content).hexdigest()
        return object_pb2.Object(path=path, size=len(content), sha256=digest, etag="e1")

    def IngestEvents(self, requests, context):
        self.metadata.append(dict(context.invocation_metadata()))
        for index, request in enumerate(requests):
            self.requests.append(request)
            if index == self.fail_after_batches:
                abort(context, InvalidArgument("events", "are not wanted"))
            answer = event_pb2.IngestEventsResponse(batch_index=index)
            for place, event in enumerate(request.events):
                if event.recipient in self.rejects:
                    answer.rejected_events.add(
                        index=place, field="recipient", description=self.rejects[event.recipient]
                    )
                elif event.event_id in self.events:
                    answer.duplicate_count += 1
                else:
                    self.events[event.event_id] = event
                    answer.accepted_count += 1
            yield answer

    def SearchEvents(self, request, context):
        self.took(request, context)
        return event_pb2.SearchEventsResponse(events=self.events.values())

    def CountEvents(self, request, context):
        self.took(request, context)
        return event_pb2.CountEventsResponse(count=len(self.events))

    def AggregateEvents(self, request, context):
        self.took(request, context)
        answer = event_pb2.AggregateEventsResponse()
        for aggregation in request.aggregations:
            result = answer.results.add()
            kind = aggregation.WhichOneof("kind")
            if kind == "terms":
                campaigns = aggregation.terms.field == event_pb2.TERMS_FIELD_CAMPAIGN_ID
                value = "spring" if campaigns else "EVENT_TYPE_OPEN"
                result.terms.buckets.add(value=value, count=1234)
            elif kind == "histogram":
                for day in ("2024-03-09", "2024-03-10"):
                    result.histogram.buckets.add(
                        local_start_time=f"{day}T00:00:00-05:00", count=617
                    )
            elif kind == "unique_recipients":
                result.unique_recipients.count = 900
                result.unique_recipients.event_types.add(value="EVENT_TYPE_OPEN", count=900)
            else:
                result.rates.CopyFrom(
                    event_pb2.RatesResult(sent_count=2000, delivered_count=1000, open_rate=0.125)
                )
        return answer


class Silo:
    """Runs `silo`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._runner = CliRunner()

    def __call__(self, *arguments: str, stdin: str | bytes = "") -> Any:
        result = self._runner.invoke(app, list(arguments), input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result


@pytest.fixture
def silo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Silo:
    """`silo` beside a development issuer, where nothing listens."""
    home = tmp_path / "home"
    ensure_dev_issuer(home)
    monkeypatch.setenv("SILO_HOME", str(home))
    monkeypatch.setenv("SILO_GATEWAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.delenv("SILO_TOKEN", raising=False)
    monkeypatch.delenv("SILO_OPERATOR_TOKEN", raising=False)
    return Silo(home)


@pytest.fixture
def gateway(silo: Silo, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    """A gateway that `silo` finds."""
    fake = FakeGateway()
    options = (("grpc.max_receive_message_length", 4 * 1024 * 1024),)
    with ThreadPoolExecutor(4) as executor:
        server = grpc.server(executor, options=options)
        server.add_generic_rpc_handlers((fake,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        monkeypatch.setenv("SILO_GATEWAY_ADDRESS", f"127.0.0.1:{port}")
        yield fake
        server.stop(None).wait()
