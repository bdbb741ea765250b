"""A tenant's world whose contexts come from the inside, for the resolver is reached from nowhere else."""

from __future__ import annotations

import json
import time

import grpc

from devstack.onboarding import onboard
from tests.compose.suite import ComposeSuite
from tests.isolation.world import World

_KEPT_SECONDS = 30.0

RESOLVE = """
import grpc, json, pathlib
from silo.resolver.v1 import context_pb2, context_pb2_grpc
folder = pathlib.Path('/run/silo/tls')
ca, cert, key = ((folder / name).read_bytes() for name in ('ca.pem', 'cert.pem', 'key.pem'))
channel = grpc.secure_channel('resolver:50051', grpc.ssl_channel_credentials(ca, key, cert))
stub = context_pb2_grpc.ContextServiceStub(channel)
print(json.dumps({
    audience: stub.ResolveTenant(
        context_pb2.ResolveTenantRequest(audience=audience), metadata={metadata}, timeout=10
    ).context
    for audience in ('data', 'storage', 'search')
}))
"""


class InsideWorld(World):
    """A world of a suite in containers."""

    stack: ComposeSuite
    _contexts: dict[str, str]
    _resolved_at = -_KEPT_SECONDS

    def contexts(self) -> dict[str, str]:
        """A genuine context for each service, at most half as old as it may be."""
        if time.monotonic() - self._resolved_at >= _KEPT_SECONDS:
            program = RESOLVE.replace("{metadata}", repr(self.metadata))
            self._contexts = json.loads(self.stack.inside(program))
            self._resolved_at = time.monotonic()
        return self._contexts


def inside_worlds(stack: ComposeSuite, gateway: grpc.Channel) -> tuple[World, World]:
    """Two tenants of which one's id begins like the other's: neighbours by prefix."""
    tenants = ("umbra", "umbra-corp")
    onboard(stack.gateway, token=stack.operator_token(), tenants=tenants)
    made = tuple(InsideWorld(stack, gateway, tenant_id) for tenant_id in tenants)
    for world in made:
        world.populate()
    return made[0], made[1]
