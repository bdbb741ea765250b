"""A real loopback gRPC server over any servicers, behind a service's chain, for tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from boundary.accepting import accepting_server
from boundary.audit import AuditLog
from boundary.catalog import methods_of
from boundary.channel import open_channel
from boundary.context import CONTEXT_KEY, ContextVerifier
from boundary.errors import error_info
from boundary.interceptors import stages
from boundary.interceptors.chain import Chain
from boundary.interceptors.shapes import handlers_of
from boundary.metrics import CallMetrics
from boundary.resolver_client import rich_status
from boundary.tenants import LiveCalls, TenantStates
from services.resolver.local_keys import LocalKeys
from silo.policy.v1 import policy_pb2
from tests.audit_records import Record, records_in
from tests.contexts import mint_token, signing_keys


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A server that runs, a channel to it, and what stands around it."""

    channel: grpc.aio.Channel
    address: str
    states: TenantStates
    audit: AuditLog
    audit_folder: Path
    service: str

    def records(self, *, phase: str = "") -> list[Record]:
        """The audit records so far: those of calls that ended, or of a phase."""
        self.audit.flush()
        return records_in(self.audit_folder, phase=phase)

    def metadata(self, tenant_id: str, **claims: object) -> tuple[tuple[str, str], ...]:
        """Metadata with a context for the service."""
        claims = {"audience": self.service, **claims}
        return ((CONTEXT_KEY, mint_token(tenant_id, **claims)),)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(
    service: str,
    servicers: Mapping[str, object],
    folder: Path,
    *,
    region: str = "local",
    strict: bool = False,
) -> AsyncIterator[Serving]:
    """Serves servicers as a service of the suite would, with contexts of the tests' own key."""
    live_calls = LiveCalls()
    states = TenantStates(live_calls)
    audit = AuditLog(folder, service=service, keys=folder / "keys", strict=strict)
    verifier = ContextVerifier(audience=service, keys=LocalKeys(signing_keys()))
    authenticator = stages.ContextAuthenticator(verifier)
    chain = Chain(
        [
            stages.Identify(),
            stages.Measure(CallMetrics()),
            stages.Audit(audit),
            stages.Authenticate({policy_pb2.CREDENTIAL_CONTEXT: authenticator}),
            stages.Reside(region),
            stages.Track(live_calls, states),
            stages.Authorise(),
        ]
    )
    methods = [
        method
        for method in methods_of(service)
        if method.descriptor.containing_service.full_name in servicers
    ]
    handlers = handlers_of(methods, servicers, chain)
    options = (("grpc.max_receive_message_length", 16 * 1024 * 1024),)
    server = accepting_server(handlers.handlers, options=options)
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = open_channel(f"127.0.0.1:{port}")
    try:
        yield Serving(
            channel=channel,
            address=f"127.0.0.1:{port}",
            states=states,
            audit=audit,
            audit_folder=folder,
            service=service,
        )
    finally:
        await channel.close()
        await server.stop(0)
        audit.close()


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """The ErrorInfo reason of an error; there must be exactly one ErrorInfo."""
    status = rich_status(error)
    infos = [detail for detail in status.details if detail.type_url.endswith("ErrorInfo")]
    assert len(infos) == 1, f"{error.code()} {error.details()} has {len(infos)} ErrorInfos"
    info = error_info(status)
    assert info is not None
    assert info.domain == "silo"
    return info.reason
