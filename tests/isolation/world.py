"""Two tenants with a world each, and generic calls of any method found in the descriptors."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from boundary.catalog import Method, all_methods
from devstack.stack import Stack
from silo.data.v1 import (
    analytics_pb2,
    analytics_pb2_grpc,
    campaign_pb2,
    campaign_pb2_grpc,
    recipient_list_pb2,
    recipient_list_pb2_grpc,
    template_pb2,
    template_pb2_grpc,
    tenant_config_pb2,
    tenant_config_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)
from silo.resolver.v1 import context_pb2, context_pb2_grpc, tenant_pb2, tenant_pb2_grpc
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc

TIMEOUT = 10.0
COLLECTIONS = {
    "User": "users",
    "Campaign": "campaigns",
    "Template": "templates",
    "RecipientList": "lists",
}
SINGLETONS = {
    "TenantConfig": "config",
    "ObjectLifecycle": "objectLifecycle",
    "EventRetention": "eventRetention",
    "ItemRetention": "itemRetention",
}
EDGE_METHODS = [method for method in all_methods() if method.edge]
OPERATOR_METHODS = [m for m in EDGE_METHODS if m.permission.startswith("platform.")]
OWN_METHODS = [m for m in EDGE_METHODS if m.service == "resolver" and m not in OPERATOR_METHODS]
"""Methods of the resolver that a tenant calls with its JWT."""

TENANT_METHODS = [method for method in EDGE_METHODS if method.service != "resolver"]

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a call ended: its code, what was said, and every byte that came back."""

    code: grpc.StatusCode
    details: str
    status: status_pb2.Status
    responses: tuple[bytes, ...]
    request_id: str

    @property
    def reason(self) -> str:
        """The ErrorInfo reason, or empty."""
        return self._info().reason

    def without(self, identity: str) -> tuple[object, ...]:
        """What a caller can compare between two refusals, with the name that was asked for taken out."""
        info = self._info()
        metadata = {
            key: value.replace(identity, "*")
            for key, value in info.metadata.items()
            if key != "request_id"
        }
        kinds = [detail.type_url for detail in self.status.details]
        return (self.code, self.details.replace(identity, "*"), info.reason, metadata, kinds)

    def _info(self) -> error_details_pb2.ErrorInfo:
        info = error_details_pb2.ErrorInfo()
        for detail in self.status.details:
            if detail.Unpack(info):
                break
        return info


def call(channel: grpc.Channel, method: Method, request: Message, metadata: Metadata) -> Outcome:
    """Calls any method with one request message and collects what comes back."""
    serialize = method.request_type.SerializeToString
    requests = iter([request])
    try:
        if method.client_streaming and method.server_streaming:
            stream = channel.stream_stream(method.path, request_serializer=serialize)(
                requests, metadata=metadata, timeout=TIMEOUT
            )
            responses = tuple(stream)
        elif method.client_streaming:
            responses = (
                channel.stream_unary(method.path, request_serializer=serialize)(
                    requests, metadata=metadata, timeout=TIMEOUT
                ),
            )
        elif method.server_streaming:
            responses = tuple(
                channel.unary_stream(method.path, request_serializer=serialize)(
                    request, metadata=metadata, timeout=TIMEOUT
                )
            )
        else:
            responses = (
                channel.unary_unary(method.path, request_serializer=serialize)(
                    request, metadata=metadata, timeout=TIMEOUT
                ),
            )
    except grpc.RpcError as error:
        return _refusal(error)
    return Outcome(
        code=grpc.StatusCode.OK,
        details="",
        status=status_pb2.Status(),
        responses=responses,
        request_id="",
    )


def _refusal(error: Any) -> Outcome:
    status, request_id = status_pb2.Status(), ""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status = status_pb2.Status.FromString(value)
        if key == "x-request-id":
            request_id = value
    return Outcome(
        code=error.code(),
        details=error.details() or "",
        status=status,
        responses=(),
        request_id=request_id,
    )


class World:
    """A tenant with something of every kind, each marked with a canary that nobody else may ever see."""

    def __init__(self, stack: Stack, channel: grpc.Channel, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.own = f"only-{tenant_id}"
        self.canary = f"CANARY{hashlib.sha256(tenant_id.encode()).hexdigest()[:16].upper()}"
        self.stack = stack
        self.channel = channel
        self.metadata: Metadata = bearer(stack.token(tenant_id))

    @property
    def path(self) -> str:
        """The tenant's own object."""
        return f"secret-{self.own}/file.txt"

    def names(self) -> list[str]:
        """The resource names of what the tenant owns."""
        return [f"{collection}/{self.own}" for collection in COLLECTIONS.values()]

    def populate(self) -> None:
        """Creates one of everything."""
        common: dict[str, Any] = {"metadata": self.metadata, "timeout": TIMEOUT}
        channel, own, canary = self.channel, self.own, self.canary
        user_pb2_grpc.UserServiceStub(channel).CreateUser(
            user_pb2.CreateUserRequest(
                user_id=own, user=user_pb2.User(email=f"{canary}@example.com", display_name=canary)
            ),
            **common,
        )
        campaign_pb2_grpc.CampaignServiceStub(channel).CreateCampaign(
            campaign_pb2.CreateCampaignRequest(
                campaign_id=own, campaign=campaign_pb2.Campaign(display_name=canary, subject=canary)
            ),
            **common,
        )
        recipient_list_pb2_grpc.RecipientListServiceStub(channel).CreateRecipientList(
            recipient_list_pb2.CreateRecipientListRequest(
                recipient_list_id=own,
                recipient_list=recipient_list_pb2.RecipientList(display_name=canary),
            ),
            **common,
        )
        template_pb2_grpc.TemplateServiceStub(channel).CreateTemplate(
            template_pb2.CreateTemplateRequest(
                template_id=own,
                template=template_pb2.Template(display_name=canary),
                content=canary.encode(),
            ),
            **common,
        )
        tenant_config_pb2_grpc.TenantConfigServiceStub(channel).UpdateTenantConfig(
            tenant_config_pb2.UpdateTenantConfigRequest(
                tenant_config=tenant_config_pb2.TenantConfig(
                    name="config", default_from_name=canary
                )
            ),
            **common,
        )
        analytics_pb2_grpc.AnalyticsServiceStub(channel).IncrementCounters(
            analytics_pb2.IncrementCountersRequest(
                request_id=own,
                increments=[
                    analytics_pb2.CounterIncrement(date="2024-01-15", metric=canary, delta=7)
                ],
            ),
            **common,
        )
        object_pb2_grpc.ObjectServiceStub(channel).UploadObject(
            iter(
                [
                    object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path=self.path)),
                    object_pb2.UploadObjectRequest(chunk=canary.encode()),
                ]
            ),
            **common,
        )
        list(
            event_pb2_grpc.EventServiceStub(channel).IngestEvents(
                iter([event_pb2.IngestEventsRequest(events=[self.event()])]), **common
            )
        )

    def event(self) -> event_pb2.Event:
        """The tenant's own event."""
        event = event_pb2.Event(
            event_id=self.own,
            event_type=event_pb2.EVENT_TYPE_OPEN,
            campaign_id=self.own,
            recipient=f"{self.canary}@example.com",
            subject=self.canary,
        )
        event.timestamp.FromSeconds(1_700_000_000)
        return event

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        """Everything that the tenant can read, to compare before and after an attack."""
        seen = {}
        for method in TENANT_METHODS:
            if method.permission.endswith(".read") and not method.descriptor.name.startswith(
                "Sign"
            ):
                outcome = call(self.channel, method, request_for(method, self), self.metadata)
                seen[method.name] = (outcome.code, outcome.responses)
        return seen

    def contexts(self) -> dict[str, str]:
        """A context token for each service, as a platform service inside the network would get it."""
        with grpc.insecure_channel(self.stack.addresses.dial("resolver")) as channel:
            stub = context_pb2_grpc.ContextServiceStub(channel)
            return {
                audience: stub.ResolveTenant(
                    context_pb2.ResolveTenantRequest(audience=audience),
                    metadata=self.metadata,
                    timeout=TIMEOUT,
                ).context
                for audience in ("data", "storage", "search")
            }


def bearer(token: str) -> Metadata:
    """Metadata with a caller's JWT."""
    return (("authorization", f"Bearer {token}"),)


def encrypt(channel: grpc.Channel, tenant_id: str, *, operator: Metadata) -> None:
    """Switches a tenant's encryption on."""
    tenant = tenant_pb2.Tenant(name=f"tenants/{tenant_id}")
    tenant.encryption.enabled = True
    tenant_pb2_grpc.TenantServiceStub(channel).UpdateTenant(
        tenant_pb2.UpdateTenantRequest(tenant=tenant), metadata=operator, timeout=TIMEOUT
    )


def request_for(method: Method, world: World, *, own: str | None = None) -> Message:
    """A request of any method that names what world owns, as well as its fields' names and types allow.

    A method that nobody thought of gets a request, too: every string field gets the best guess, and messages
    are filled to the second level.
    """
    request = method.request_type()
    _fill(request, method, world, own or world.own, depth=0)
    return request


def _fill(message: Message, method: Method, world: World, own: str, *, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and field.containing_oneof.fields[0] is not field:
            continue  # the first of each oneof
        if _is_map(field):
            continue
        if field.message_type is not None:
            if depth < 2 and not field.message_type.full_name.startswith("google."):
                target = getattr(message, field.name)
                child = target.add() if field.is_repeated else target
                _fill(child, method, world, own, depth=depth + 1)
                if not field.is_repeated:
                    child.SetInParent()
            continue
        value = _guess(field, message.DESCRIPTOR, method, world, own)
        if value is None:
            continue
        if field.is_repeated:
            getattr(message, field.name).extend(value if isinstance(value, list) else [value])
        else:
            setattr(message, field.name, value)
    timestamp = getattr(message, "timestamp", None)
    if timestamp is not None:
        timestamp.FromSeconds(1_700_000_000)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _guess(
    field: FieldDescriptor, holder: Descriptor, method: Method, world: World, own: str
) -> Any:
    name = field.name
    if name in {"page_token", "etag", "if_match", "source_if_match", "sha256", "order_by", "text"}:
        return None
    if name in {"delimiter", "time_zone", "content_type", "update_mask", "download_name"}:
        return None
    if name == "name":
        return _name(holder, method, own)
    if name == "names":
        return [f"{collection}/{own}" for collection in COLLECTIONS.values()]
    if name in {"path", "source_path", "destination_path"}:
        return world.path.replace(world.own, own)
    if name == "prefix":
        return f"secret-{own}/"
    if name == "folder":
        return f"secret-{own}/"
    if name == "expire_days":
        return 1
    if name in {"days", "counter_days"}:
        return 3_650
    if name == "email":
        return f"{world.canary}@example.com" if holder.name == "ListUsersRequest" else "b@x.example"
    if name.endswith("_address"):
        return "c@example.com"
    if name in {"start_date", "end_date", "date"}:
        return "2024-01-15"
    if name in {"metric", "metrics"}:
        return "OPENS"
    if name == "template":
        return f"templates/{own}"
    if name == "recipient_list":
        return f"lists/{own}"
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"x" if field.type == FieldDescriptor.TYPE_BYTES else own
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return 1
    if name == "delta":
        return 1
    return None


def _name(holder: Descriptor, method: Method, own: str) -> str:
    if holder.name in SINGLETONS:
        return SINGLETONS[holder.name]
    for kind, collection in COLLECTIONS.items():
        if holder.name == kind or re.fullmatch(
            rf"(Create|Get|Update|Delete){kind}(Content)?Request", holder.name
        ):
            return f"{collection}/{own}"
    return f"campaigns/{own}"


def forgeries(token: str) -> list[str]:
    """Contexts that look like token and are not signed by the resolver."""
    header = jwt.get_unverified_header(token)
    claims = jwt.decode(token, options={"verify_signature": False})
    stranger = Ed25519PrivateKey.generate()
    signed = jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": header["kid"]})
    unknown = jwt.encode(claims, stranger, algorithm="EdDSA", headers={"kid": "../../etc/passwd"})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": header["kid"]})
    hmac = jwt.encode(claims, "s" * 64, algorithm="HS256", headers={"kid": header["kid"]})
    head, _, signature = token.split(".")
    changed = {**claims, "tid": "umbra-corp", "exp": int(time.time()) + 3600}
    body = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()
    return [signed, unknown, unsigned, hmac, f"{head}.{body}.{signature}", "x", ".."]


def fingerprint(home: Path) -> str:
    """A digest of every engine's content: table rows, object files and their index, search databases."""
    digest = hashlib.sha256()
    for path in _settled(home):
        digest.update(path.encode())
    return digest.hexdigest()


def _settled(home: Path) -> Iterator[str]:
    for folder in ("table", "objects", "search"):
        for path in sorted((home / folder).rglob("*")):
            if path.suffix in {".db", ".sqlite"}:
                yield from _rows(path)
            elif path.is_file() and not path.name.endswith(("-wal", "-shm")):
                yield f"{path}:{path.stat().st_size}"


def _rows(path: Path) -> Iterator[str]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%fts%' "
            "AND name NOT LIKE 'sqlite_%' ORDER BY name"
        ).fetchall():
            for row in connection.execute(f"SELECT * FROM {table}"):
                yield f"{path}:{table}:{row!r}"
    finally:
        connection.close()
