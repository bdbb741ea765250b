"""Onboarding and offboarding as an operator asks for them, and a tenant with something of everything."""

from __future__ import annotations

import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import duration_pb2

from devstack.stack import Stack
from services.resolver.lifecycle.kinds import Kind
from services.resolver.lifecycle.offboarding import Offboarding
from services.resolver.lifecycle.onboarding import Onboarding
from silo.data.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    campaign_pb2,
    campaign_pb2_grpc,
    recipient_list_pb2,
    recipient_list_pb2_grpc,
    template_pb2,
    template_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from silo.resolver.v1 import (
    operation_pb2,
    operation_pb2_grpc,
    tenant_lifecycle_pb2,
    tenant_lifecycle_pb2_grpc,
    tenant_pb2,
    tenant_pb2_grpc,
)
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc

ENVIRONMENT = {
    "SILO_SETTLE_SECONDS": "0.3",
    "SILO_OPERATION_LEASE_SECONDS": "0.6",
    "SILO_AUDIT_SEGMENT_SECONDS": "3600",
}
"""What makes operations fast enough for tests, and keeps the audit trail out of the bucket meanwhile."""

_PARTS: dict[str, Any] = dict.fromkeys(("directory", "tenants", "encryption", "certificates"), None)
KINDS: tuple[Kind, ...] = (
    Onboarding(
        directory=_PARTS["directory"], tenants=_PARTS["tenants"], encryption=_PARTS["encryption"]
    ).kind(),
    Offboarding(**_PARTS, settle_seconds=0).kind(),
)
"""The kinds, for their steps' names."""


def moments(*kinds: Kind) -> list[str]:
    """Of every step, the moment at which its beginning is recorded, and that at which its end is not yet."""
    return [
        f"{kind.name}/{step.name}:{moment}"
        for kind in kinds
        for step in kind.steps
        for moment in ("begun", "worked")
    ]


OVER = (
    operation_pb2.OPERATION_STATE_SUCCEEDED,
    operation_pb2.OPERATION_STATE_CANCELLED,
    operation_pb2.OPERATION_STATE_FAILED,
)


class Operator:
    """A platform operator at the gateway."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.channel = grpc.insecure_channel(stack.gateway)
        self.lifecycle = tenant_lifecycle_pb2_grpc.TenantLifecycleServiceStub(self.channel)
        self.operations = operation_pb2_grpc.OperationServiceStub(self.channel)
        self.tenants = tenant_pb2_grpc.TenantServiceStub(self.channel)
        self.common: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {stack.operator_token()}"),),
            "timeout": 30,
        }

    def onboard(self, tenant_id: str, **fields: Any) -> Any:
        request = tenant_lifecycle_pb2.StartOnboardingRequest(
            tenant_id=tenant_id,
            tenant=tenant_pb2.Tenant(display_name=f"Tenant {tenant_id}", **fields),
            request_id=secrets.token_hex(8),  # a resolver may end before it answers
        )
        return self.patient(
            lambda: self.lifecycle.StartOnboarding(request, **self.common)
        ).operation

    def offboard(self, tenant_id: str, *, grace: int = 0) -> Any:
        request = tenant_lifecycle_pb2.StartOffboardingRequest(
            name=f"tenants/{tenant_id}",
            grace_period=duration_pb2.Duration(seconds=grace),
            request_id=secrets.token_hex(8),
        )
        return self.patient(
            lambda: self.lifecycle.StartOffboarding(request, **self.common)
        ).operation

    def tenant(self, tenant_id: str) -> tenant_pb2.Tenant:
        request = tenant_pb2.GetTenantRequest(name=f"tenants/{tenant_id}")
        return self.patient(lambda: self.tenants.GetTenant(request, **self.common).tenant)

    def over(self, operation: Any, *, seconds: float = 60) -> Any:
        """The operation once it is over or has failed, whatever happens to the resolver meanwhile."""
        return self.until(operation, lambda now: now.state in OVER, seconds=seconds)

    def until(self, operation: Any, holds: Any, *, seconds: float = 60) -> Any:
        request = operation_pb2.GetOperationRequest(name=operation.name)
        deadline = time.monotonic() + seconds
        while True:
            now = self.patient(
                lambda: self.operations.GetOperation(request, **self.common).operation
            )
            if holds(now):
                return now
            assert time.monotonic() < deadline, now
            time.sleep(0.05)

    def removing(self, operation: Any, step: str, *, some: bool) -> None:
        """Returns as soon as a step is said to run, and, if so asked, to have done some of its work."""
        request = operation_pb2.WatchOperationRequest(name=operation.name)
        watched = self.operations.WatchOperation(request, **self.common)
        for told in watched:
            assert told.operation.state not in OVER, told.operation
            (found,) = [each for each in told.operation.steps if each.name == step]
            running = found.state == operation_pb2.STEP_STATE_RUNNING
            if running and (found.done or not some):
                watched.cancel()
                return
        raise AssertionError(f"the watch ended before {step}")

    def patient(self, ask: Any, *, seconds: float = 30) -> Any:
        """The answer, also where the resolver is just being started again."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except grpc.RpcError as error:
                gone = error.code() is grpc.StatusCode.UNAVAILABLE
                if not gone or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def certificate(self, operation: Any) -> str:
        name = f"certificates/{operation.name.partition('/')[2]}"
        request = tenant_lifecycle_pb2.GetErasureCertificateRequest(name=name)
        answer = self.lifecycle.GetErasureCertificate(request, **self.common)
        return str(answer.certificate)

    def jwks(self) -> str:
        request = tenant_lifecycle_pb2.GetCertificateKeySetRequest()
        return str(self.lifecycle.GetCertificateKeySet(request, **self.common).jwks)


class Inhabitant:
    """Somebody of a tenant, who leaves a mark in everything that the tenant has."""

    def __init__(
        self, stack: Stack, tenant_id: str, *, mark: str, permissions: Sequence[str] = ("*",)
    ) -> None:
        self.tenant_id, self.mark = tenant_id, mark
        self.channel = grpc.insecure_channel(stack.gateway)
        token = stack.token(tenant_id, permissions=permissions)
        self.common: dict[str, Any] = {
            "metadata": (("authorization", f"Bearer {token}"),),
            "timeout": 30,
        }

    def furnish(self, count: int = 3) -> None:
        """Writes users, campaigns, templates, lists, counters, objects and events that carry the mark."""
        for number in range(count):
            self._entities(number)
            self._upload(f"exports/{self.mark}-{number}")
        events = [self._event(number) for number in range(count)]
        stub = event_pb2_grpc.EventServiceStub(self.channel)
        requests = iter([event_pb2.IngestEventsRequest(events=events)])
        assert sum(r.accepted_count for r in stub.IngestEvents(requests, **self.common)) == count

    def mention(self, address: str) -> None:
        """Writes a user, a list, an object's metadata and an event that are about somebody."""
        name = address.partition("@")[0].replace(".", "-").lower()
        user_pb2_grpc.UserServiceStub(self.channel).CreateUser(
            user_pb2.CreateUserRequest(
                user_id=name, user=user_pb2.User(email=address, display_name="Somebody")
            ),
            **self.common,
        )
        recipients = [
            recipient_list_pb2.Recipient(email=email) for email in (address, "kept@example.com")
        ]
        recipient_list_pb2_grpc.RecipientListServiceStub(self.channel).CreateRecipientList(
            recipient_list_pb2.CreateRecipientListRequest(
                recipient_list_id=name,
                recipient_list=recipient_list_pb2.RecipientList(
                    display_name="Everyone", recipients=recipients
                ),
            ),
            **self.common,
        )
        self._upload(f"exports/{name}", to=address)
        event = self._event(0)
        event.event_id, event.recipient = name, address
        stub = event_pb2_grpc.EventServiceStub(self.channel)
        list(
            stub.IngestEvents(iter([event_pb2.IngestEventsRequest(events=[event])]), **self.common)
        )

    def inventory(self) -> tuple[int, int, int]:
        """How many campaigns, objects and events there are."""
        campaigns = campaign_pb2_grpc.CampaignServiceStub(self.channel).ListCampaigns(
            campaign_pb2.ListCampaignsRequest(page_size=200), **self.common
        )
        objects = object_pb2_grpc.ObjectServiceStub(self.channel).ListObjects(
            object_pb2.ListObjectsRequest(prefix="exports/", page_size=200), **self.common
        )
        events = event_pb2_grpc.EventServiceStub(self.channel).CountEvents(
            event_pb2.CountEventsRequest(), **self.common
        )
        return len(campaigns.campaigns), len(objects.objects), events.count

    def refusal(self) -> str:
        """How a call is refused, or nothing where it is served."""
        try:
            self.inventory()
        except grpc.RpcError as error:
            return str(error.code().name)
        return ""

    def _entities(self, number: int) -> None:
        name, mark = f"{self.mark.lower()}-{number}", self.mark
        user_pb2_grpc.UserServiceStub(self.channel).CreateUser(
            user_pb2.CreateUserRequest(
                user_id=name,
                user=user_pb2.User(email=f"{name}@example.com", display_name=mark),
            ),
            **self.common,
        )
        campaign_pb2_grpc.CampaignServiceStub(self.channel).CreateCampaign(
            campaign_pb2.CreateCampaignRequest(
                campaign_id=name,
                campaign=campaign_pb2.Campaign(
                    display_name=mark, subject=mark, from_address="a@example.com"
                ),
            ),
            **self.common,
        )
        template_pb2_grpc.TemplateServiceStub(self.channel).CreateTemplate(
            template_pb2.CreateTemplateRequest(
                template_id=name,
                template=template_pb2.Template(display_name=mark),
                content=mark.encode() * 50,
            ),
            **self.common,
        )
        recipient_list_pb2_grpc.RecipientListServiceStub(self.channel).CreateRecipientList(
            recipient_list_pb2.CreateRecipientListRequest(
                recipient_list_id=name,
                recipient_list=recipient_list_pb2.RecipientList(
                    display_name=mark,
                    recipients=[recipient_list_pb2.Recipient(email=f"{name}@example.com")],
                ),
            ),
            **self.common,
        )
        analytics_pb2_grpc.AnalyticsServiceStub(self.channel).IncrementCounters(
            analytics_pb2.IncrementCountersRequest(
                request_id=name,
                increments=[
                    analytics_pb2.CounterIncrement(date="2024-01-15", metric="OPENS", delta=1)
                ],
            ),
            **self.common,
        )

    def _upload(self, path: str, **metadata: str) -> None:
        def parts() -> Iterator[object_pb2.UploadObjectRequest]:
            spec = object_pb2.UploadSpec(path=path, metadata=metadata)
            yield object_pb2.UploadObjectRequest(spec=spec)
            yield object_pb2.UploadObjectRequest(chunk=self.mark.encode() * 100)

        object_pb2_grpc.ObjectServiceStub(self.channel).UploadObject(parts(), **self.common)

    def _event(self, number: int) -> event_pb2.Event:
        event = event_pb2.Event(
            event_id=f"{self.mark}-{number}",
            event_type=event_pb2.EVENT_TYPE_OPEN,
            recipient=f"{self.mark.lower()}@example.com",
        )
        event.timestamp.FromSeconds(1_700_000_000 + number)
        return event


def files_with(home: Path, mark: str) -> list[str]:
    """The files of the engines that hold a mark; the audit trail is kept, and is none of them."""
    needle = mark.encode()
    files = [
        path
        for engine in ("table", "objects", "search")
        for path in sorted((home / engine).rglob("*"))
        if path.is_file()
    ]
    archived = _archived_trail(home / "objects" / "objects.sqlite")
    return [
        str(path.relative_to(home))
        for path in files
        if path.name not in archived and needle in path.read_bytes()
    ]


def rows_of(home: Path, tenant_id: str) -> int:
    """How many items the embedded table holds for a tenant."""
    path = home / "table" / "table.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT count(*) FROM items WHERE pk = ?", (f"TENANT#{tenant_id}",)
        )
        return int(rows.fetchone()[0])


def _archived_trail(index: Path) -> set[str]:
    """The content files of the audit trail, which a process archives when it starts again."""
    if not index.exists():
        return set()
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        rows = connection.execute(
            "SELECT content FROM objects WHERE CAST(key AS TEXT) LIKE 'audit/%'"
        )
        return {name for (name,) in rows}
