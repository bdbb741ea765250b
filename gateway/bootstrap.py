"""Wires the gateway. Nothing else knows how its parts fit together."""

from __future__ import annotations

from boundary.catalog import all_methods
from boundary.http import HttpServer
from boundary.interceptors import stages
from boundary.interceptors.chain import Chain
from boundary.issuers import load_issuers
from boundary.metrics import CallMetrics
from boundary.peers import read_peer_token
from boundary.resolver_client import TenantWatch
from boundary.server import EDGE_OPTIONS, Server
from boundary.tenants import LiveCalls, TenantStates
from boundary.tls import load_tls
from boundary.tokens import TokenVerifier
from boundary.trail.metrics import TrailMetrics
from boundary.trail.opening import open_audit
from boundary.trail.shipping import Shipper
from gateway.backends import Backends
from gateway.contexts import ContextCache
from gateway.resolution import Resolution
from gateway.routes import Routes
from gateway.settings import GatewaySettings
from silo.policy.v1 import policy_pb2


async def build(settings: GatewaySettings) -> Server:
    """The gateway's server. It is ready once the tenants' states are known.

    Raises:
        IssuersError: the issuers cannot be read, or must not be trusted in this environment.
        OSError: the peer token cannot be read.
        TlsError: a certificate or key cannot be read.
        PolicyError: a method's policy is missing or contradicts itself.
    """
    live_calls = LiveCalls()
    states = TenantStates(live_calls)
    tls = load_tls(settings.tls_folder)
    backends = Backends(settings.backend_addresses, tls=tls)
    resolver = backends.unary("resolver")
    peer_token = read_peer_token(settings.peers_folder, "gateway")
    watch = TenantWatch(resolver, peer_token=peer_token, states=states)
    audit = open_audit(settings, service="gateway", known=states.knows)
    shipper = Shipper(audit, settings, peer_token=peer_token, tls=tls)
    metrics = CallMetrics()
    metrics.registry.register(TrailMetrics(audit, shipper))
    by_token = stages.TokenAuthenticator(TokenVerifier(load_issuers(settings)))
    chain = Chain(
        [
            stages.Identify(),
            stages.Measure(metrics),
            stages.Audit(audit),
            # Callers have a JWT whatever the service behind takes; contexts are what the gateway adds.
            stages.Authenticate(
                {
                    policy_pb2.CREDENTIAL_CONTEXT: by_token,
                    policy_pb2.CREDENTIAL_TOKEN: by_token,
                }
            ),
            stages.Track(live_calls, states),
        ]
    )
    routes = Routes(
        all_methods(),
        backends=backends,
        contexts=ContextCache(Resolution(resolver), states),
        chain=chain,
    )
    return Server(
        name="gateway",
        listen=settings.gateway_listen,
        handler=routes,
        services=routes.services,
        http=HttpServer(settings.gateway_http_listen, metrics=metrics, ready=watch.synced.is_set),
        tls=load_tls(settings.gateway_tls_folder, mutual=False),
        drain_seconds=settings.drain_seconds,
        background=(watch.run, backends.hold_open, shipper.run),
        close=(audit.close,),
        options=EDGE_OPTIONS,
    )
