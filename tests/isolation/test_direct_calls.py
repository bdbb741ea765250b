"""Every service, called directly: as safe without the gateway as behind it."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest

from boundary.catalog import Method, all_methods
from boundary.context import CONTEXT_KEY
from silo.policy.v1 import policy_pb2
from tests.isolation.world import (
    TENANT_METHODS,
    Outcome,
    World,
    bearer,
    call,
    fingerprint,
    forgeries,
    request_for,
)

RESOLVER_METHODS = [method for method in all_methods() if method.service == "resolver"]


@pytest.fixture(scope="module")
def contexts(worlds: tuple[World, World]) -> dict[str, dict[str, str]]:
    return {world.tenant_id: world.contexts() for world in worlds}


def test_contexts_that_are_none_leave_no_trace_in_any_engine(
    worlds: tuple[World, World], direct: Any
) -> None:
    victim, attacker = worlds
    good, other = victim.contexts(), attacker.contexts()
    home = victim.stack.home
    before = fingerprint(home)
    for method in TENANT_METHODS:
        service = method.service
        foreign = good["search" if service != "search" else "data"]
        attempts: dict[str, tuple[str, ...]] = {
            "CONTEXT_MISSING": (),
            "CONTEXT_AUDIENCE": (foreign,),
            "CREDENTIAL_DOUBLED": (other[service], good[service]),
        }
        for forged in forgeries(good[service]):
            _refused(direct, method, victim, (forged,), "CONTEXT_INVALID")
        for reason, tokens in attempts.items():
            _refused(direct, method, victim, tokens, reason)
        jwt_alone = call(direct[service], method, request_for(method, victim), victim.metadata)
        assert jwt_alone.reason == "CONTEXT_MISSING"
    assert fingerprint(home) == before


def _refused(
    direct: Any, method: Method, world: World, tokens: tuple[str, ...], reason: str
) -> None:
    metadata = tuple((CONTEXT_KEY, token) for token in tokens)
    outcome = call(direct[method.service], method, request_for(method, world), metadata)
    assert (outcome.code, outcome.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason), method.name


@pytest.mark.parametrize("method", TENANT_METHODS, ids=lambda method: method.name)
def test_a_borrowed_context_reaches_only_its_own_tenant(
    worlds: tuple[World, World], direct: Any, contexts: Any, method: Method
) -> None:
    victim, attacker = worlds
    metadata = ((CONTEXT_KEY, attacker.contexts()[method.service]),)
    outcome = call(direct[method.service], method, request_for(method, victim), metadata)
    assert outcome.code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    request = request_for(method, victim).SerializeToString()
    if victim.canary.encode() not in request:
        assert victim.canary.encode() not in b"".join(outcome.responses)


def test_an_expired_context_is_refused(worlds: tuple[World, World], direct: Any) -> None:
    world = worlds[0]
    short = World(world.stack, world.channel, world.tenant_id)
    short.metadata = bearer(world.stack.token(world.tenant_id, ttl=2))
    tokens = short.contexts()
    time.sleep(3)
    for method in TENANT_METHODS:
        metadata = ((CONTEXT_KEY, tokens[method.service]),)
        outcome = call(direct[method.service], method, request_for(method, world), metadata)
        assert (outcome.code, outcome.reason) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "CONTEXT_EXPIRED",
        )


@pytest.mark.parametrize("method", RESOLVER_METHODS, ids=lambda method: method.name)
def test_the_resolver_takes_no_credential_but_the_declared_one(
    worlds: tuple[World, World], direct: Any, method: Method
) -> None:
    world = worlds[0]
    request = request_for(method, world)
    wrong: list[tuple[tuple[str, str], ...]] = [
        (),
        ((CONTEXT_KEY, world.contexts()["data"]),),
        (("x-silo-peer", "data.guess"),),
        bearer("x.y.z"),
    ]
    if method.credential != policy_pb2.CREDENTIAL_NONE:
        for metadata in wrong:
            outcome: Outcome = call(direct["resolver"], method, request, metadata)
            assert outcome.code is grpc.StatusCode.UNAUTHENTICATED, (method.name, outcome)
    if method.permission.startswith("platform."):
        outcome = call(direct["resolver"], method, request, world.metadata)
        assert (outcome.code, outcome.reason) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "PERMISSION_MISSING",
        )


def test_internal_methods_do_not_exist_at_the_edge(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    for method in all_methods():
        if not method.edge:
            outcome = call(world.channel, method, request_for(method, world), world.metadata)
            assert outcome.code is grpc.StatusCode.UNIMPLEMENTED, method.name
