"""A tenant's own people who lack the permissions for backups attack one through every method of the edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from boundary.catalog import Method
from devstack.onboarding import onboard
from devstack.stack import Stack
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.isolation.world import (
    OWN_METHODS,
    TENANT_METHODS,
    TIMEOUT,
    Metadata,
    World,
    bearer,
    call,
    request_for,
)

TENANT = "hoarder"
BACKUP = "backups/20240115T083000Z-0123abcd/items-00001.jsonl"
CONTENT = b"CANARY-OF-A-BACKUP"
DECLARED = sorted({method.permission for method in (*TENANT_METHODS, *OWN_METHODS)} - {""})
"""All that methods declare. Whatever of it a caller holds, backups stay out of reach."""

PLACES = {
    "path": BACKUP,
    "source_path": BACKUP,
    "destination_path": BACKUP,
    "prefix": "backups/",
    "folder": "backups/",
}
"""What request fields are called that name a place in the bucket, and one there that is a backup's."""


def _names_a_place(message: Descriptor) -> bool:
    return any(
        field.name in PLACES
        if field.message_type is None
        else not field.message_type.GetOptions().map_entry and _names_a_place(field.message_type)
        for field in message.fields
    )


LISTING = {"ListObjects"}
"""Methods that tell of backups all the same: their names, and no content."""

NAMES_A_PLACE = [
    method
    for method in TENANT_METHODS
    if method.service == "storage"
    and method.descriptor.name not in LISTING
    and _names_a_place(method.request_type.DESCRIPTOR)
]


class Owner:
    """Somebody of the tenant who may do everything, and sees whether its backup is harmed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._stub = object_pb2_grpc.ObjectServiceStub(world.channel)
        self._common: dict[str, Any] = {"metadata": world.metadata, "timeout": TIMEOUT}

    def back_up(self) -> None:
        """Puts the backup where it belongs."""
        requests = [
            object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path=BACKUP)),
            object_pb2.UploadObjectRequest(chunk=CONTENT),
        ]
        self._stub.UploadObject(iter(requests), **self._common)

    def backups(self) -> list[bytes]:
        """All that there is of backups, to compare before and after an attack."""
        request = object_pb2.ListObjectsRequest(prefix="backups/")
        found = self._stub.ListObjects(request, **self._common).objects
        return [each.SerializeToString(deterministic=True) for each in found]


@pytest.fixture(scope="module")
def owner(stack: Stack, gateway: grpc.Channel) -> Owner:
    """Of a tenant of its own: the attacks are allowed to harm what is no backup."""
    onboard(stack.gateway, token=stack.operator_token(), tenants=(TENANT,))
    world = World(stack, gateway, TENANT)
    world.populate()
    return Owner(world)


@pytest.fixture
def before(owner: Owner) -> list[bytes]:
    """What there is of backups before an attack, whatever an earlier one did."""
    owner.back_up()
    return owner.backups()


@pytest.fixture(scope="module")
def insider(owner: Owner) -> Metadata:
    """Somebody of the same tenant who holds everything that a method declares."""
    return bearer(owner.world.stack.token(TENANT, subject="mallory", permissions=DECLARED))


def _strings(message: Message) -> list[tuple[Message, FieldDescriptor]]:
    """Every single string field in a message, and which message has it."""
    found = []
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None:
            if field.message_type.GetOptions().map_entry:
                continue
            for child in value if field.is_repeated else [value]:
                found += _strings(child)
        elif field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated:
            found.append((message, field))
    return found


def _requests(method: Method, world: World, place: str) -> Iterator[tuple[str, Message]]:
    """Requests of a method, each with a place in another of its string fields, and that field's name."""
    for index in range(len(_strings(request_for(method, world)))):
        request = request_for(method, world)
        holder, field = _strings(request)[index]
        setattr(holder, field.name, place)
        yield field.name, request


@pytest.mark.parametrize("place", [BACKUP, "backups/", "backups", "b"])
@pytest.mark.parametrize("method", TENANT_METHODS, ids=lambda method: method.name)
def test_no_method_gives_or_takes_anything_of_a_backup(
    owner: Owner, before: list[bytes], insider: Metadata, method: Method, place: str
) -> None:
    for _, request in _requests(method, owner.world, place):
        outcome = call(owner.world.channel, method, request, insider)
        assert outcome.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), outcome
        assert CONTENT not in b"".join(outcome.responses)
    assert owner.backups() == before


@pytest.mark.parametrize("method", NAMES_A_PLACE, ids=lambda method: method.name)
def test_a_backups_place_is_refused_for_the_permission_that_is_missing(
    owner: Owner, insider: Metadata, method: Method
) -> None:
    asked = [
        (name, request)
        for place in sorted(set(PLACES.values()))
        for name, request in _requests(method, owner.world, place)
        if PLACES.get(name) == place
    ]
    assert asked
    for name, request in asked:
        outcome = call(owner.world.channel, method, request, insider)
        assert (outcome.code, outcome.reason) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "PERMISSION_MISSING",
        ), (name, outcome)
        assert "backups." in outcome.details


def test_deleting_everything_is_refused_as_a_whole(
    owner: Owner, before: list[bytes], insider: Metadata
) -> None:
    (method,) = [m for m in NAMES_A_PLACE if m.descriptor.name == "DeleteObjects"]
    request = object_pb2.DeleteObjectsRequest(all=True)
    outcome = call(owner.world.channel, method, request, insider)
    assert outcome.reason == "PERMISSION_MISSING"
    assert "backups.write" in outcome.details
    assert owner.backups() == before
