"""The platform's own methods, found in the descriptors, are attacked with every context but the one they are for.

Contexts are made with the resolver's own key: whatever the resolver might come to sign, no other opens them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import grpc
import jwt
import pytest
from google.protobuf.message import Message

from boundary.catalog import Method, all_methods
from boundary.context import CONTEXT_KEY, CONTEXT_LIFETIME, LIFECYCLE_PRINCIPAL
from boundary.metadata import PEER_KEY
from boundary.peers import read_peer_token
from devstack.onboarding import onboard
from services.resolver.resolution import DELEGATIONS
from services.resolver.signing_keys import SigningKeys
from silo.policy.v1 import policy_pb2
from silo.resolver.v1 import context_pb2, context_pb2_grpc
from tests.isolation.world import (
    TENANT_METHODS,
    TIMEOUT,
    World,
    bearer,
    call,
    fingerprint,
    forgeries,
    request_for,
)

BY_CONTEXT = [m for m in all_methods() if m.credential == policy_pb2.CREDENTIAL_CONTEXT]
OWN_METHODS = [method for method in BY_CONTEXT if method.permission.startswith("lifecycle.")]
OTHER_METHODS = [method for method in BY_CONTEXT if method not in OWN_METHODS]
PERMISSIONS = sorted({method.permission for method in OWN_METHODS})
ORDER = ("lifecycle.read", "lifecycle.write", "lifecycle.purge")

Direct = Mapping[str, grpc.Channel]
Contexts = Mapping[str, str]


class Signer:
    """Signs contexts as the resolver does, with its key."""

    def __init__(self, world: World) -> None:
        self._key = SigningKeys(world.stack.home / "resolver" / "signing-keys").current()
        self._callers = world.contexts()

    def sign(self, audience: str, **changes: Any) -> str:
        """A caller's context for the tenant with changed claims."""
        claims = jwt.decode(self._callers[audience], options={"verify_signature": False})
        return jwt.encode(
            {**claims, **changes},
            self._key.private,
            algorithm="EdDSA",
            headers={"kid": self._key.key_id},
        )

    def own(self, audience: str, *permissions: str, **changes: Any) -> str:
        """A context of the platform's own work."""
        platform = {"sub": LIFECYCLE_PRINCIPAL, "auth_issuer": "silo", "actor": "resolver"}
        claims = {**platform, "permissions": list(permissions), **changes}
        return self.sign(audience, **claims)


@pytest.fixture(scope="module")
def signers(worlds: tuple[World, World]) -> tuple[Signer, Signer]:
    return Signer(worlds[0]), Signer(worlds[1])


@pytest.fixture(scope="module")
def delegated(worlds: tuple[World, World], direct: Direct) -> list[tuple[str, str]]:
    """Every context that a platform service gets for its own work: its audience, and itself."""
    world = worlds[0]
    stub = context_pb2_grpc.ContextServiceStub(direct["resolver"])
    found = []
    for peer, audience in DELEGATIONS:
        token = read_peer_token(world.stack.home / "peers", peer)
        for subject in ({"tenant_id": world.tenant_id}, {"context": world.contexts()[peer]}):
            answer = stub.DelegateContext(
                context_pb2.DelegateContextRequest(audience=audience, **subject),
                metadata=((PEER_KEY, token),),
                timeout=TIMEOUT,
            )
            found.append((audience, answer.context))
    return found


def test_the_platform_has_methods_of_its_own_at_every_service() -> None:
    assert {method.service for method in OWN_METHODS} == {"data", "storage", "search"}
    assert set(PERMISSIONS) == set(ORDER)
    assert not any(method.edge for method in OWN_METHODS)


@pytest.mark.parametrize("method", OWN_METHODS, ids=lambda method: method.name)
def test_no_other_context_opens_the_platforms_methods(
    worlds: tuple[World, World],
    direct: Direct,
    signers: tuple[Signer, Signer],
    delegated: list[tuple[str, str]],
    method: Method,
) -> None:
    world, (signer, neighbour) = worlds[0], signers
    service, permission = method.service, method.permission
    elsewhere = "search" if service != "search" else "data"
    now = int(time.time())
    good = signer.own(service, permission)
    attempts: dict[str, list[tuple[str, ...]]] = {
        "CONTEXT_MISSING": [()],
        "CREDENTIAL_DOUBLED": [(good, good), (neighbour.own(service, permission), good)],
        "CONTEXT_AUDIENCE": [
            (signer.own(elsewhere, permission),),
            *((token,) for audience, token in delegated if audience != service),
        ],
        "CONTEXT_EXPIRED": [(signer.own(service, permission, iat=now - 90, exp=now - 30),)],
        "PERMISSION_MISSING": [
            (signer.sign(service),),
            (signer.sign(service, permissions=["*"], sub=LIFECYCLE_PRINCIPAL),),
            (signer.own(service, *(each for each in PERMISSIONS if each != permission)),),
            *((token,) for audience, token in delegated if audience == service),
        ],
        "CONTEXT_INVALID": [
            (signer.sign(service, permissions=[permission]),),
            (signer.sign(service, permissions=["lifecycle.*"]),),
            (signer.own(service, "*", permission),),
            (signer.own(service, permission, sub="service:data"),),
            (signer.own(service, permission, exp=now + 2 * int(CONTEXT_LIFETIME)),),
            (signer.own(service, permission, tid=worlds[1].tenant_id),),
            (signer.own(service, permission, partition=f"TENANT#{worlds[1].tenant_id}"),),
            (signer.own(service, permission, object_prefix=f"tenant-{worlds[1].tenant_id}/"),),
            *((forged,) for forged in forgeries(good)),
        ],
    }
    before = fingerprint(world.stack.home)
    for reason, credentials in attempts.items():
        for number, tokens in enumerate(credentials):
            metadata = tuple((CONTEXT_KEY, token) for token in tokens)
            outcome = call(direct[service], method, request_for(method, world), metadata)
            assert outcome.reason == reason, (reason, number, outcome)
            assert outcome.code is _CODES.get(reason, grpc.StatusCode.UNAUTHENTICATED)
            assert not outcome.responses
    with_jwt = call(direct[service], method, request_for(method, world), world.metadata)
    assert with_jwt.reason == "CONTEXT_MISSING"
    assert fingerprint(world.stack.home) == before


@pytest.mark.parametrize("service", ["data", "storage", "search"])
def test_every_service_refuses_by_itself_where_a_tenant_may_not_be(
    worlds: tuple[World, World], direct: Direct, signers: tuple[Signer, Signer], service: str
) -> None:
    """Callers' contexts and the platform's own, but for those that remove and do nothing else."""
    world, signer = worlds[0], signers[0]
    own = [method for method in OWN_METHODS if method.service == service]
    callers = [method for method in TENANT_METHODS if method.service == service]
    for method in (*callers, *own):
        if method.permission == "lifecycle.purge":
            continue
        token = (
            signer.own(service, method.permission, regions=["elsewhere"])
            if method in own
            else signer.sign(service, regions=["elsewhere"])
        )
        outcome = call(direct[service], method, request_for(method, world), ((CONTEXT_KEY, token),))
        assert outcome.code is grpc.StatusCode.PERMISSION_DENIED, method.name
        assert outcome.reason == "REGION_NOT_ALLOWED", method.name


_CODES = {"PERMISSION_MISSING": grpc.StatusCode.PERMISSION_DENIED}


@pytest.mark.parametrize("permission", [*PERMISSIONS, "lifecycle.*"])
def test_a_callers_token_cannot_hold_the_platforms_permissions(
    worlds: tuple[World, World], direct: Direct, permission: str
) -> None:
    world = worlds[0]
    for permissions in ([permission], ["*", permission]):
        metadata = bearer(world.stack.token(world.tenant_id, permissions=permissions))
        for channel, method in (
            (world.channel, TENANT_METHODS[0]),
            (direct["resolver"], _resolve_tenant()),
        ):
            outcome = call(channel, method, request_for(method, world), metadata)
            assert (outcome.code, outcome.reason) == (
                grpc.StatusCode.UNAUTHENTICATED,
                "TOKEN_CLAIMS",
            )


def _resolve_tenant() -> Method:
    (method,) = [m for m in all_methods() if m.descriptor.name == "ResolveTenant"]
    return method


@pytest.mark.parametrize("method", OTHER_METHODS, ids=lambda method: method.name)
def test_the_platforms_contexts_open_nothing_else(
    worlds: tuple[World, World], direct: Direct, signers: tuple[Signer, Signer], method: Method
) -> None:
    world = worlds[0]
    metadata = ((CONTEXT_KEY, signers[0].own(method.service, *PERMISSIONS, "lifecycle.*")),)
    outcome = call(direct[method.service], method, request_for(method, world), metadata)
    assert (outcome.code, outcome.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PERMISSION_MISSING",
    )


def test_the_platforms_work_on_one_tenant_leaves_its_neighbour_alone(
    worlds: tuple[World, World], direct: Direct
) -> None:
    """Every method is called for a tenant with requests that name another, removals last; both had something."""
    stack, gateway = worlds[0].stack, worlds[0].channel
    onboard(stack.gateway, token=stack.operator_token(), tenants=("walk", "walk-on"))
    walked, neighbour = (World(stack, gateway, name) for name in ("walk", "walk-on"))
    for world in (walked, neighbour):
        world.populate()
    seen = neighbour.snapshot()
    surveys = [method for method in OWN_METHODS if method.descriptor.name in _SURVEYS]
    assert all(_left(direct, method, walked) for method in surveys)
    signer = Signer(walked)
    for method in sorted(OWN_METHODS, key=lambda each: ORDER.index(each.permission)):
        request = _aimed_at(neighbour, method)
        metadata = ((CONTEXT_KEY, signer.own(method.service, method.permission)),)
        outcome = call(direct[method.service], method, request, metadata)
        assert outcome.code not in (
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNKNOWN,
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.UNAUTHENTICATED,
        ), (method.name, outcome)
        assert neighbour.canary.encode() not in b"".join(outcome.responses), method.name
    assert neighbour.snapshot() == seen
    for method in surveys:
        assert not _left(direct, method, walked), method.name
        assert _left(direct, method, neighbour), method.name


_SURVEYS = {"SurveyItems", "SurveyObjects", "SurveyIndex"}


def _aimed_at(world: World, method: Method) -> Message:
    """A request that names what a tenant owns, its address among it."""
    request = request_for(method, world)
    if "email" in request.DESCRIPTOR.fields_by_name:
        request.email = f"{world.canary}@example.com"  # type: ignore[attr-defined]
    return request


def _left(direct: Direct, method: Method, world: World) -> dict[str, Any]:
    """What a survey finds of a tenant, but for the word that it has ended."""
    metadata = ((CONTEXT_KEY, Signer(world).own(method.service, method.permission)),)
    outcome = call(direct[method.service], method, method.request_type(), metadata)
    assert outcome.code is grpc.StatusCode.OK, outcome
    last = method.response_type.FromString(outcome.responses[-1])
    return {
        field.name: value
        for field, value in last.ListFields()
        if field.name != "complete" and not (isinstance(value, Message) and not value.ByteSize())
    }
