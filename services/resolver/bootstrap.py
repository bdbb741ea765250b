"""Wires the resolver; the only place that knows how its objects fit together."""

from __future__ import annotations

from boundary.audit import AuditLog
from boundary.catalog import methods_of
from boundary.channel import open_channel
from boundary.context import ContextVerifier
from boundary.http import HttpServer
from boundary.interceptors import stages
from boundary.interceptors.chain import Chain
from boundary.interceptors.shapes import handlers_of
from boundary.issuers import load_issuers
from boundary.key_files import load_or_create
from boundary.metrics import CallMetrics
from boundary.pages import PageSealer
from boundary.peers import PeerVerifier, read_peer_token
from boundary.regions import ByRegion
from boundary.server import Server, closing
from boundary.tls import load_tls
from boundary.tokens import TokenVerifier
from boundary.trail.metrics import TrailMetrics
from boundary.trail.opening import open_audit
from boundary.trail.shipping import Shipper
from services.aws.process_credentials import ProcessDynamoCredentials
from services.engines.settings import load_engines
from services.keys.opening import open_keys
from services.resolver.audit import AuditRetention, AuditTrail
from services.resolver.audit_servicer import AuditServicer
from services.resolver.certificates import Certificates
from services.resolver.changes import Changes
from services.resolver.directory import Directory
from services.resolver.following import Following
from services.resolver.guard import GuardedDirectoryTable
from services.resolver.lifecycle.archives.restore import Import
from services.resolver.lifecycle.archives.schedule import BackupSchedule
from services.resolver.lifecycle.archives.servicer import ArchiveServicer, TenantExportServicer
from services.resolver.lifecycle.move import Move
from services.resolver.lifecycle.offboarding import Offboarding
from services.resolver.lifecycle.onboarding import Onboarding
from services.resolver.lifecycle.opening import Kinds, open_lifecycle
from services.resolver.lifecycle.operation_servicer import (
    OperationServicer,
    TenantOperationServicer,
)
from services.resolver.lifecycle.reencryption import Reencryption
from services.resolver.lifecycle.runner import Pace
from services.resolver.lifecycle.servicer import TenantLifecycleServicer
from services.resolver.lifecycle.services import Services
from services.resolver.lifecycle.store import OperationStore
from services.resolver.lifecycle.subject_erasure import SubjectErasure
from services.resolver.lifecycle.subject_servicer import SubjectErasureServicer
from services.resolver.lifecycle.work import Tools
from services.resolver.local_keys import LocalKeys
from services.resolver.minting import ContextMinter
from services.resolver.monitoring import TenantMetrics
from services.resolver.operations import Rotation, Tenants
from services.resolver.placements import Placements, places_of
from services.resolver.resolution import AUDIENCES, Resolution
from services.resolver.servicer import (
    ContextServicer,
    SigningKeyServicer,
    TenantKeyServicer,
    TenantServicer,
)
from services.resolver.settings import ResolverSettings
from services.resolver.signing_keys import SigningKeys
from services.resolver.tenant_keys import Encryption
from services.table.capacity import CapacityMeter
from services.table.opening import open_tables
from silo.policy.v1 import policy_pb2

_NAME = "resolver"


async def build(settings: ResolverSettings) -> Server:
    """The resolver's server."""
    engines = load_engines(settings.engines, region=settings.region)
    credentials = ProcessDynamoCredentials()
    metrics = CallMetrics()
    tables = await open_tables(
        engines,
        credentials=credentials,
        on_capacity=CapacityMeter(on_action=metrics.consumed).consumed,
        path=settings.table_path,
    )
    by_region = ByRegion({**tables.by_region, "": tables.by_region[settings.region]})
    keys = SigningKeys(settings.signing_keys_folder)
    guarded = GuardedDirectoryTable(by_region)
    directory = Directory(guarded, table_name=settings.table, region=settings.region)
    changes = Changes()
    placements = Placements(
        places_of(engines.regions, embedded=settings.default_placement),
        default_region=settings.region,
    )
    keepers = await open_keys(engines, folder=settings.tenant_keys_folder)
    encryption = Encryption(
        keepers.by_region,
        always=[
            name
            for name, region in engines.regions.items()
            if region.objects is not None and region.objects.tenant_keys
        ],
    )
    tenants = Tenants(
        directory=directory, changes=changes, placements=placements, encryption=encryption
    )
    rotation = Rotation(keys)
    resolution = Resolution(
        directory=directory,
        minter=ContextMinter(keys),
        verifiers={
            audience: ContextVerifier(audience=audience, keys=LocalKeys(keys))
            for audience in AUDIENCES
        },
    )
    pages = PageSealer(load_or_create(settings.keys_folder, "resolver-pages"))
    audit = open_audit(settings, service=_NAME, known=directory.knows)
    tls, peer_token = load_tls(settings.tls_folder), read_peer_token(settings.peers_folder, _NAME)
    storage = open_channel(settings.storage_address, tls=tls)
    trail = AuditTrail(storage, peer_token=peer_token, directory=directory)
    services = Services(
        {
            "data": open_channel(settings.data_address, tls=tls),
            "storage": storage,
            "search": open_channel(settings.search_address, tls=tls),
        },
        minter=ContextMinter(keys),
    )
    certificates = Certificates(
        SigningKeys(settings.certificate_keys_folder, prefix="cert", for_good=True)
    )
    kinds = Kinds(
        onboarding=Onboarding(directory=directory, tenants=tenants, encryption=encryption),
        offboarding=Offboarding(
            directory=directory,
            tenants=tenants,
            encryption=encryption,
            certificates=certificates,
            settle_seconds=settings.settle_seconds,
        ),
        reencryption=Reencryption(settle_seconds=settings.key_settle_seconds),
        subject_erasure=SubjectErasure(
            certificates=certificates,
            key=load_or_create(settings.keys_folder, "resolver-subjects"),
        ),
        move=Move(
            directory=directory,
            placements=placements,
            encryption=encryption,
            settle_seconds=settings.settle_seconds,
        ),
        imports=Import(certificates, settle_seconds=settings.settle_seconds),
        certificates=certificates,
    )
    store = OperationStore(guarded, table_name=settings.table)
    lifecycle = open_lifecycle(
        Tools(store=store, directory=directory, changes=changes, services=services),
        kinds=kinds,
        crash=settings.crash_point,
        pace=Pace(lease_seconds=settings.operation_lease_seconds),
    )
    shipper = Shipper(audit, settings, peer_token=peer_token, tls=tls)
    metrics.registry.register(TrailMetrics(audit, shipper))
    monitoring = TenantMetrics(tenants)
    metrics.registry.register(monitoring)
    servicers: dict[str, object] = {
        "silo.audit.v1.AuditService": AuditServicer(trail, pages),
        "silo.resolver.v1.TenantService": TenantServicer(tenants, pages),
        "silo.resolver.v1.TenantKeyService": TenantKeyServicer(tenants, lifecycle.operations),
        "silo.resolver.v1.TenantLifecycleService": TenantLifecycleServicer(
            operations=lifecycle.operations,
            tenants=tenants,
            onboarding=kinds.onboarding,
            offboarding=kinds.offboarding,
            move=kinds.move,
            certificates=certificates,
            grace_seconds=settings.offboarding_grace_days * 24 * 3600,
        ),
        "silo.resolver.v1.OperationService": OperationServicer(lifecycle.operations, pages),
        "silo.resolver.v1.TenantOperationService": TenantOperationServicer(
            lifecycle.operations, directory, pages
        ),
        "silo.resolver.v1.ArchiveService": ArchiveServicer(
            operations=lifecycle.operations,
            tenants=tenants,
            services=services,
            certificates=certificates,
        ),
        "silo.resolver.v1.TenantExportService": TenantExportServicer(
            operations=lifecycle.operations, directory=directory
        ),
        "silo.resolver.v1.SubjectErasureService": SubjectErasureServicer(
            operations=lifecycle.operations, directory=directory, erasure=kinds.subject_erasure
        ),
        "silo.resolver.v1.SigningKeyService": SigningKeyServicer(rotation),
        "silo.resolver.v1.ContextService": ContextServicer(
            resolution=resolution, rotation=rotation, tenants=tenants
        ),
    }
    return Server(
        name="resolver",
        listen=settings.resolver_listen,
        handler=handlers_of(
            methods_of("resolver"), servicers, _chain(settings, audit=audit, metrics=metrics)
        ),
        services=tuple(servicers),
        http=HttpServer(settings.resolver_http_listen, metrics=metrics, ready=lambda: True),
        tls=tls,
        drain_seconds=settings.drain_seconds,
        drain=(changes.close, lifecycle.feed.close),
        background=(
            *tables.background,
            shipper.run,
            AuditRetention(trail, directory, settings.audit_days).run,
            lifecycle.runner.run,
            Following(directory, changes).run,
            BackupSchedule(directory=directory, operations=lifecycle.operations).run,
            monitoring.run,
            closing(services.close),
        ),
        close=(*tables.close, *keepers.close, credentials.close, audit.close),
    )


def _chain(settings: ResolverSettings, *, audit: AuditLog, metrics: CallMetrics) -> Chain:
    """The resolver's chain: callers' tokens and peers' tokens, and no contexts."""
    return Chain(
        [
            stages.Identify(),
            stages.Measure(metrics),
            stages.Audit(audit),
            stages.Authenticate(
                {
                    policy_pb2.CREDENTIAL_TOKEN: stages.TokenAuthenticator(
                        TokenVerifier(load_issuers(settings))
                    ),
                    policy_pb2.CREDENTIAL_PEER: stages.PeerAuthenticator(
                        PeerVerifier(settings.peers_folder)
                    ),
                }
            ),
            stages.Authorise(),
        ]
    )
