"""The methods of the suite, read from their descriptors.

A method's policy is part of its contract. Servers, the gateway, the audit trail and the isolation tests all
read it here, so that a new method is routed, guarded, audited and attacked without anyone remembering it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from google.protobuf import message_factory
from google.protobuf.descriptor import (
    Descriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.message import Message

from silo.audit.v1 import audit_pb2
from silo.data.v1 import (
    analytics_pb2,
    campaign_pb2,
    entity_pb2,
    item_retention_pb2,
    recipient_list_pb2,
    reencryption_pb2,
    template_pb2,
    tenant_config_pb2,
    user_pb2,
)
from silo.data.v1 import lifecycle_pb2 as data_lifecycle_pb2
from silo.data.v1 import transport_pb2 as data_transport_pb2
from silo.policy.v1 import policy_pb2
from silo.resolver.v1 import (
    archive_pb2,
    context_pb2,
    operation_pb2,
    signing_key_pb2,
    subject_erasure_pb2,
    tenant_key_pb2,
    tenant_lifecycle_pb2,
    tenant_pb2,
)
from silo.search.v1 import event_pb2, event_retention_pb2
from silo.search.v1 import lifecycle_pb2 as search_lifecycle_pb2
from silo.search.v1 import transport_pb2 as search_transport_pb2
from silo.storage.v1 import audit_archive_pb2, object_lifecycle_pb2, object_pb2
from silo.storage.v1 import lifecycle_pb2 as storage_lifecycle_pb2
from silo.storage.v1 import reencryption_pb2 as object_reencryption_pb2
from silo.storage.v1 import transport_pb2 as storage_transport_pb2

_PERMISSION = re.compile(r"[a-z]+(?:\.[a-z]+)+")

FILES: dict[str, tuple[FileDescriptor, ...]] = {
    "resolver": (
        archive_pb2.DESCRIPTOR,
        tenant_pb2.DESCRIPTOR,
        signing_key_pb2.DESCRIPTOR,
        context_pb2.DESCRIPTOR,
        operation_pb2.DESCRIPTOR,
        tenant_lifecycle_pb2.DESCRIPTOR,
        subject_erasure_pb2.DESCRIPTOR,
        tenant_key_pb2.DESCRIPTOR,
        audit_pb2.DESCRIPTOR,
    ),
    "data": (
        tenant_config_pb2.DESCRIPTOR,
        user_pb2.DESCRIPTOR,
        campaign_pb2.DESCRIPTOR,
        template_pb2.DESCRIPTOR,
        recipient_list_pb2.DESCRIPTOR,
        entity_pb2.DESCRIPTOR,
        analytics_pb2.DESCRIPTOR,
        item_retention_pb2.DESCRIPTOR,
        data_lifecycle_pb2.DESCRIPTOR,
        reencryption_pb2.DESCRIPTOR,
        data_transport_pb2.DESCRIPTOR,
    ),
    "storage": (
        object_pb2.DESCRIPTOR,
        object_lifecycle_pb2.DESCRIPTOR,
        object_reencryption_pb2.DESCRIPTOR,
        audit_archive_pb2.DESCRIPTOR,
        storage_lifecycle_pb2.DESCRIPTOR,
        storage_transport_pb2.DESCRIPTOR,
    ),
    "search": (
        event_pb2.DESCRIPTOR,
        event_retention_pb2.DESCRIPTOR,
        search_lifecycle_pb2.DESCRIPTOR,
        search_transport_pb2.DESCRIPTOR,
    ),
}
"""The proto files of each service of the suite."""


class PolicyError(Exception):
    """A method's policy is missing or contradicts itself; the service must not start."""


@dataclass(frozen=True, kw_only=True)
class Called:
    """What is called, as far as the chain needs to know it.

    Attributes:
        service: the service of the suite that serves it, for example `data`; contexts have it as audience.
        name: `silo.data.v1.CampaignService/GetCampaign`.
        permission: what the caller must hold; empty where any permission will do.
        credential: what the caller proves itself with.
    """

    service: str
    name: str
    permission: str
    credential: policy_pb2.Credential.ValueType


UNKNOWN = Called(service="", name="unknown", permission="", credential=policy_pb2.CREDENTIAL_NONE)
"""Stands for every path that no method has. Calls of it are counted, recorded and refused."""


@dataclass(frozen=True, kw_only=True)
class Method(Called):
    """One RPC and its guard.

    Attributes:
        descriptor: the method's descriptor.
        edge: whether the gateway exposes it.
        resource: the request field, as a path of names, that names the resource in the audit record.
    """

    descriptor: MethodDescriptor
    edge: bool
    resource: tuple[str, ...]

    @cached_property
    def path(self) -> str:
        """The name as gRPC's `:path`."""
        return "/" + self.name

    @cached_property
    def request_type(self) -> type[Message]:
        """The request's message class."""
        return message_factory.GetMessageClass(self.descriptor.input_type)

    @cached_property
    def response_type(self) -> type[Message]:
        """The response's message class."""
        return message_factory.GetMessageClass(self.descriptor.output_type)

    @cached_property
    def client_streaming(self) -> bool:
        """Whether the client sends a stream."""
        return self.descriptor.client_streaming

    @cached_property
    def server_streaming(self) -> bool:
        """Whether the server sends a stream."""
        return self.descriptor.server_streaming

    def resource_of(self, request: Message) -> str:
        """What the request names as its resource; empty where it names none."""
        value: object = request
        for part in self.resource:
            value = getattr(value, part)
        return value if isinstance(value, str) else ""


def methods_of(service: str) -> tuple[Method, ...]:
    """Every method of a service of the suite.

    Raises:
        PolicyError: a method's policy is missing or contradicts itself.
    """
    return tuple(
        _method(service, descriptor)
        for proto_service in services_of(FILES[service])
        for descriptor in proto_service.methods
    )


def all_methods() -> tuple[Method, ...]:
    """Every method of the suite.

    Raises:
        PolicyError: a method's policy is missing or contradicts itself.
    """
    return tuple(method for service in FILES for method in methods_of(service))


def services_of(files: Iterable[FileDescriptor]) -> Iterator[ServiceDescriptor]:
    """The proto services that files declare."""
    for file in files:
        yield from file.services_by_name.values()


def _method(service: str, descriptor: MethodDescriptor) -> Method:
    options = descriptor.GetOptions()
    if not options.HasExtension(policy_pb2.method):
        raise PolicyError(f"{descriptor.full_name} declares no policy")
    policy = options.Extensions[policy_pb2.method]
    _check(descriptor, policy)
    return Method(
        service=service,
        name=f"{descriptor.containing_service.full_name}/{descriptor.name}",
        descriptor=descriptor,
        permission=policy.permission,
        edge=policy.exposure == policy_pb2.EXPOSURE_EDGE,
        credential=policy.credential,
        resource=_resource_path(descriptor, policy.resource),
    )


def _check(descriptor: MethodDescriptor, policy: policy_pb2.MethodPolicy) -> None:
    name = descriptor.full_name
    tokenless = (policy_pb2.CREDENTIAL_PEER, policy_pb2.CREDENTIAL_NONE)
    if not policy.exposure or not policy.credential:
        raise PolicyError(f"{name} leaves exposure or credential unspecified")
    if policy.any_permission == bool(policy.permission):
        raise PolicyError(f"{name} declares both a permission and any_permission, or neither")
    if policy.permission and _PERMISSION.fullmatch(policy.permission) is None:
        raise PolicyError(f"{name} declares a permission out of grammar")
    if policy.any_permission and policy.credential == policy_pb2.CREDENTIAL_CONTEXT:
        raise PolicyError(f"{name} takes a context and asks for no permission")
    if policy.exposure == policy_pb2.EXPOSURE_EDGE and policy.credential in tokenless:
        raise PolicyError(f"{name} is exposed at the edge without a caller's credential")


def _resource_path(descriptor: MethodDescriptor, dotted: str) -> tuple[str, ...]:
    if not dotted:
        return ()
    message: Descriptor | None = descriptor.input_type
    parts = tuple(dotted.split("."))
    for part in parts:
        if message is None or part not in message.fields_by_name:
            raise PolicyError(f"{descriptor.full_name} names a resource field that is not there")
        message = message.fields_by_name[part].message_type
    return parts
