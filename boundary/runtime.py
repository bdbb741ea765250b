"""What data, storage and search have in common when they are wired: the resolver, and the chain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from aiohttp import web

from boundary.catalog import methods_of
from boundary.channel import open_channel
from boundary.context import ContextVerifier
from boundary.http import HttpServer
from boundary.interceptors import stages
from boundary.interceptors.chain import Chain
from boundary.interceptors.shapes import handlers_of
from boundary.key_files import load_or_create
from boundary.metrics import CallMetrics
from boundary.pages import PageSealer
from boundary.peers import PeerVerifier, read_peer_token
from boundary.resolver_client import ResolverContexts, ResolverKeys, TenantWatch
from boundary.server import Server
from boundary.settings import ProcessSettings
from boundary.tenants import LiveCalls, TenantStates
from boundary.tls import load_tls
from boundary.trail.metrics import TrailMetrics
from boundary.trail.opening import open_audit
from boundary.trail.shipping import Shipper
from silo.policy.v1 import policy_pb2


class ServiceRuntime:
    """The parts that every tenant-facing service needs.

    Attributes:
        states: the tenants' states, as the resolver tells them.
        live_calls: the calls under way, which a suspension ends.
        verifier: verifies contexts for this service.
        contexts: contexts for this service's own work.
        audit: the audit trail.
        metrics: what is counted.
        pages: seals page tokens.
        tls: what this process proves itself with to the others, or None.
    """

    def __init__(
        self, settings: ProcessSettings, *, service: str, regions: Collection[str] = ()
    ) -> None:
        """Takes the settings, and the regions that are served; the settings' own where there are none."""
        self._settings = settings
        self._regions = tuple(regions) or (settings.region,)
        self._service = service
        self.tls = load_tls(settings.tls_folder)
        self._channel = open_channel(settings.resolver_address, tls=self.tls)
        peer_token = read_peer_token(settings.peers_folder, service)
        self._peers = settings.peers_folder
        self.live_calls = LiveCalls()
        self.states = TenantStates(self.live_calls)
        self.verifier = ContextVerifier(audience=service, keys=ResolverKeys(self._channel))
        self.contexts = ResolverContexts(self._channel, peer_token=peer_token, states=self.states)
        self._watch = TenantWatch(self._channel, peer_token=peer_token, states=self.states)
        self.audit = open_audit(settings, service=service, known=self.states.knows)
        self._shipper = Shipper(self.audit, settings, peer_token=peer_token, tls=self.tls)
        self.metrics = CallMetrics()
        self.metrics.registry.register(TrailMetrics(self.audit, self._shipper))
        self.pages = PageSealer(load_or_create(settings.keys_folder, f"{service}-pages"))

    def chain(
        self, authenticator: stages.Authenticator | None = None, *, peers: bool = False
    ) -> Chain:
        """The chain of a tenant-facing service: it takes contexts, or what authenticator takes instead.

        Args:
            peers: whether it takes platform services' own tokens, too, for methods that ask for one.
        """
        authenticator = authenticator or stages.ContextAuthenticator(self.verifier)
        by_credential: dict[policy_pb2.Credential.ValueType, stages.Authenticator] = {
            policy_pb2.CREDENTIAL_CONTEXT: authenticator
        }
        if peers:
            verifier = PeerVerifier(self._peers)
            by_credential[policy_pb2.CREDENTIAL_PEER] = stages.PeerAuthenticator(verifier)
        return Chain(
            [
                stages.Identify(),
                stages.Measure(self.metrics),
                stages.Audit(self.audit),
                stages.Authenticate(by_credential),
                stages.Reside(*self._regions),
                stages.Track(self.live_calls, self.states),
                stages.Authorise(),
            ]
        )

    def server(
        self,
        *,
        listen: str,
        http_listen: str,
        servicers: Mapping[str, object],
        routes: Sequence[web.RouteDef] = (),
        background: Sequence[Callable[[], Awaitable[None]]] = (),
        close: Sequence[Callable[[], object]] = (),
        peers: bool = False,
    ) -> Server:
        """The server over servicers, by proto service name. It is ready once the tenants' states are known."""
        methods = methods_of(self._service)
        return Server(
            name=self._service,
            listen=listen,
            handler=handlers_of(methods, servicers, self.chain(peers=peers)),
            services=tuple(servicers),
            http=HttpServer(
                http_listen, metrics=self.metrics, ready=self._watch.synced.is_set, routes=routes
            ),
            tls=self.tls,
            drain_seconds=self._settings.drain_seconds,
            background=(self._watch.run, self._shipper.run, *background),
            close=(*close, self.audit.close),
        )
