from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc
import pytest

from devstack.onboarding import onboard
from devstack.stack import Stack
from tests.isolation.world import World, bearer, encrypt


@pytest.fixture(scope="session")
def gateway(stack: Stack) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(stack.gateway) as channel:
        yield channel


@pytest.fixture(scope="session")
def worlds(stack: Stack, gateway: grpc.Channel) -> tuple[World, World]:
    """Two tenants of which one's id begins like the other's: neighbours by prefix. One of them has encryption."""
    tenants = ("umbra", "umbra-corp")
    onboard(stack.gateway, token=stack.operator_token(), tenants=tenants)
    encrypt(gateway, tenants[1], operator=bearer(stack.operator_token()))
    made = tuple(World(stack, gateway, tenant_id) for tenant_id in tenants)
    for world in made:
        world.populate()
    return made[0], made[1]


@pytest.fixture(scope="session")
def direct(stack: Stack) -> Iterator[Mapping[str, grpc.Channel]]:
    """A channel to each service, past the gateway."""
    channels = {
        name: grpc.insecure_channel(stack.addresses.dial(name))
        for name in ("resolver", "data", "storage", "search")
    }
    yield channels
    for channel in channels.values():
        channel.close()
