"""Translates between protos and operations; decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf import timestamp_pb2

from boundary.errors import InvalidArgument
from boundary.ids import TenantId, parse_tenant_id
from boundary.interceptors.call import Call
from boundary.pages import PageSealer, page_size, query_of
from services.resolver.directory import Tenant
from services.resolver.lifecycle import reencryption
from services.resolver.lifecycle.control import Operations
from services.resolver.lifecycle.operation_servicer import operation_proto
from services.resolver.minting import Minted
from services.resolver.operations import NewTenant, Rotation, TenantChange, Tenants
from services.resolver.resolution import Resolution
from services.resolver.tenant_keys import require_encryption
from silo.resolver.v1 import context_pb2, signing_key_pb2, tenant_key_pb2, tenant_pb2

_COLLECTION = "tenants/"
_LIMITS = ("max_object_bytes", "counter_shards")
_ENCRYPTION = frozenset({"encryption", "encryption.enabled"})
_BACKUPS = {"backup_hours": "interval_hours", "backups_kept": "kept_count"}
"""By attribute, the fields of a tenant's backups."""

_MUTABLE = (
    frozenset({"display_name", "tier", "allowed_regions", "limits", "backups"})
    | {f"limits.{name}" for name in _LIMITS}
    | {f"backups.{name}" for name in _BACKUPS.values()}
    | _ENCRYPTION
)
_NO_TENANT = TenantId("")


class TenantServicer:
    """silo.resolver.v1.TenantService."""

    def __init__(self, tenants: Tenants, pages: PageSealer) -> None:
        self._tenants = tenants
        self._pages = pages

    async def create_tenant(
        self, request: tenant_pb2.CreateTenantRequest, _: Call
    ) -> tenant_pb2.CreateTenantResponse:
        """Creates a tenant."""
        tenant = await self._tenants.create(
            new_tenant_of(request.tenant_id, request.tenant, request_id=request.request_id)
        )
        return tenant_pb2.CreateTenantResponse(tenant=tenant_proto(tenant))

    async def get_tenant(
        self, request: tenant_pb2.GetTenantRequest, _: Call
    ) -> tenant_pb2.GetTenantResponse:
        """Reads a tenant."""
        tenant = await self._tenants.get(tenant_id_in(request.name, "name"))
        return tenant_pb2.GetTenantResponse(tenant=tenant_proto(tenant))

    async def list_tenants(
        self, request: tenant_pb2.ListTenantsRequest, call: Call
    ) -> tenant_pb2.ListTenantsResponse:
        """Lists tenants."""
        limit = page_size(request.page_size, default=50, maximum=200)
        query, method = query_of(request), call.method.name
        position = None
        if request.page_token:
            position = self._pages.open(
                request.page_token, tenant_id=_NO_TENANT, method=method, query=query
            )
        tenants, following = await self._tenants.page(limit=limit, position=position)
        response = tenant_pb2.ListTenantsResponse(
            tenants=[tenant_proto(tenant) for tenant in tenants]
        )
        if following is not None:
            response.next_page_token = self._pages.seal(
                following, tenant_id=_NO_TENANT, method=method, query=query
            )
        return response

    async def update_tenant(
        self, request: tenant_pb2.UpdateTenantRequest, _: Call
    ) -> tenant_pb2.UpdateTenantResponse:
        """Changes a tenant."""
        new = request.tenant
        paths = set(request.update_mask.paths) or _populated(new)
        for path in sorted(paths - _MUTABLE):
            raise InvalidArgument("update_mask", f"{path} cannot be changed here")
        limits = {
            name: getattr(new.limits, name) if paths & {"limits", f"limits.{name}"} else None
            for name in _LIMITS
        }
        backups = {
            name: getattr(new.backups, field) if paths & {"backups", f"backups.{field}"} else None
            for name, field in _BACKUPS.items()
        }
        tenant = await self._tenants.update(
            tenant_id_in(new.name, "tenant.name"),
            TenantChange(
                display_name=new.display_name if "display_name" in paths else None,
                tier=(_tier_of(new.tier) or "UNSPECIFIED") if "tier" in paths else None,
                encryption=new.encryption.enabled if paths & _ENCRYPTION else None,
                allowed_regions=new.allowed_regions if "allowed_regions" in paths else None,
                **limits,
                **backups,
            ),
            etag=new.etag,
        )
        return tenant_pb2.UpdateTenantResponse(tenant=tenant_proto(tenant))

    async def suspend_tenant(
        self, request: tenant_pb2.SuspendTenantRequest, _: Call
    ) -> tenant_pb2.SuspendTenantResponse:
        """Suspends a tenant."""
        tenant = await self._tenants.suspend(tenant_id_in(request.name, "name"), etag=request.etag)
        return tenant_pb2.SuspendTenantResponse(tenant=tenant_proto(tenant))

    async def resume_tenant(
        self, request: tenant_pb2.ResumeTenantRequest, _: Call
    ) -> tenant_pb2.ResumeTenantResponse:
        """Resumes a tenant."""
        tenant = await self._tenants.resume(tenant_id_in(request.name, "name"), etag=request.etag)
        return tenant_pb2.ResumeTenantResponse(tenant=tenant_proto(tenant))


class TenantKeyServicer:
    """silo.resolver.v1.TenantKeyService."""

    def __init__(self, tenants: Tenants, operations: Operations) -> None:
        self._tenants = tenants
        self._operations = operations

    async def start_reencryption(
        self, request: tenant_key_pb2.StartReencryptionRequest, call: Call
    ) -> tenant_key_pb2.StartReencryptionResponse:
        """Begins to bring a tenant under its newest data keys."""
        tenant_id = tenant_id_in(request.name, "name")
        operation = await self._operations.repeated(
            reencryption.NAME, tenant_id, request.request_id
        )
        if operation is None:
            require_encryption(await self._tenants.get(tenant_id))
            operation = await self._operations.start(
                reencryption.NAME,
                tenant_id,
                principal=call.principal,
                parameters={},
                request_id=request.request_id,
            )
        return tenant_key_pb2.StartReencryptionResponse(operation=operation_proto(operation))

    async def rotate_tenant_key(
        self, request: tenant_key_pb2.RotateTenantKeyRequest, _: Call
    ) -> tenant_key_pb2.RotateTenantKeyResponse:
        """Gives a tenant's key a new version."""
        tenant = await self._tenants.rotate_key(
            tenant_id_in(request.name, "name"), etag=request.etag
        )
        return tenant_key_pb2.RotateTenantKeyResponse(tenant=tenant_proto(tenant))

    async def destroy_tenant_key(
        self, request: tenant_key_pb2.DestroyTenantKeyRequest, _: Call
    ) -> tenant_key_pb2.DestroyTenantKeyResponse:
        """Destroys a tenant's key for good."""
        tenant_id = tenant_id_in(request.name, "name")
        if request.confirmation != tenant_id:
            raise InvalidArgument("confirmation", "must be the tenant's id: this cannot be undone")
        tenant = await self._tenants.destroy_key(tenant_id)
        return tenant_key_pb2.DestroyTenantKeyResponse(tenant=tenant_proto(tenant))


class SigningKeyServicer:
    """silo.resolver.v1.SigningKeyService."""

    def __init__(self, rotation: Rotation) -> None:
        self._rotation = rotation

    async def rotate_signing_key(
        self, _: signing_key_pb2.RotateSigningKeyRequest, __: Call
    ) -> signing_key_pb2.RotateSigningKeyResponse:
        """Makes a new signing key."""
        return signing_key_pb2.RotateSigningKeyResponse(key_id=await self._rotation.rotate())


class ContextServicer:
    """silo.resolver.v1.ContextService."""

    def __init__(self, *, resolution: Resolution, rotation: Rotation, tenants: Tenants) -> None:
        self._resolution = resolution
        self._rotation = rotation
        self._tenants = tenants

    async def resolve_tenant(
        self, request: context_pb2.ResolveTenantRequest, call: Call
    ) -> context_pb2.ResolveTenantResponse:
        """Mints a context for the caller."""
        tenant, minted = await self._resolution.resolve(call.operator, request.audience)
        return context_pb2.ResolveTenantResponse(
            context=minted.token,
            expire_time=_seconds(minted),
            tenant_id=tenant.tenant_id,
            generation=tenant.generation,
        )

    async def delegate_context(
        self, request: context_pb2.DelegateContextRequest, call: Call
    ) -> context_pb2.DelegateContextResponse:
        """Mints a context for a platform service's own work."""
        subject = request.WhichOneof("subject")
        if subject == "context":
            minted = await self._resolution.delegate_call(
                call.peer_service, request.audience, request.context
            )
        elif subject == "tenant_id":
            minted = await self._resolution.delegate_work(
                call.peer_service, request.audience, request.tenant_id
            )
        else:
            raise InvalidArgument("subject", "must be set")
        return context_pb2.DelegateContextResponse(
            context=minted.token, expire_time=_seconds(minted)
        )

    async def get_key_set(
        self, _: context_pb2.GetKeySetRequest, __: Call
    ) -> context_pb2.GetKeySetResponse:
        """Publishes the verifying keys."""
        return context_pb2.GetKeySetResponse(jwks=self._rotation.jwks())

    async def watch_tenants(
        self, _: context_pb2.WatchTenantsRequest, __: Call
    ) -> AsyncIterator[context_pb2.WatchTenantsResponse]:
        """Streams the tenants' states and changes."""
        async for tenant in self._tenants.watch():
            if tenant is None:
                yield context_pb2.WatchTenantsResponse(synced=context_pb2.Synced())
            else:
                yield context_pb2.WatchTenantsResponse(tenant=_state(tenant))


def new_tenant_of(tenant_id: str, tenant: tenant_pb2.Tenant, *, request_id: str) -> NewTenant:
    """What a message says of a new tenant."""
    placement = tenant.placement
    return NewTenant(
        tenant_id=tenant_id,
        display_name=tenant.display_name,
        tier=_tier_of(tenant.tier) or "",
        region=placement.region,
        table=placement.table,
        bucket=placement.bucket,
        search_cluster=placement.search_cluster,
        max_object_bytes=tenant.limits.max_object_bytes,
        counter_shards=tenant.limits.counter_shards,
        encryption=tenant.encryption.enabled,
        allowed_regions=tuple(tenant.allowed_regions),
        backup_hours=tenant.backups.interval_hours,
        backups_kept=tenant.backups.kept_count,
        request_id=request_id,
    )


def tenant_id_in(name: str, field: str) -> TenantId:
    """The tenant id in a resource name.

    Raises:
        InvalidArgument: the name is none.
    """
    if not name.startswith(_COLLECTION):
        raise InvalidArgument(field, "must be tenants/{tenant_id}")
    return parse_tenant_id(name.removeprefix(_COLLECTION), field=field)


def _populated(tenant: tenant_pb2.Tenant) -> set[str]:
    """The mutable fields that are set: what an update without a mask changes (AIP-134)."""
    return {field.name for field, _ in tenant.ListFields()} & _MUTABLE


def _tier_of(tier: tenant_pb2.TenantTier.ValueType) -> str | None:
    """The tier's name; None where unset, and a name that is none of ours where it is unknown."""
    if tier == tenant_pb2.TENANT_TIER_UNSPECIFIED:
        return None
    if tier not in tenant_pb2.TenantTier.values():
        return "UNKNOWN"
    return tenant_pb2.TenantTier.Name(tier).removeprefix("TENANT_TIER_")


def tenant_proto(tenant: Tenant) -> tenant_pb2.Tenant:
    """The message that tells of a tenant."""
    placement = tenant.placement
    return tenant_pb2.Tenant(
        name=_COLLECTION + tenant.tenant_id,
        tenant_id=tenant.tenant_id,
        slug=tenant.slug,
        display_name=tenant.display_name,
        status=tenant_pb2.TenantStatus.Value(f"TENANT_STATUS_{tenant.status}"),
        tier=tenant_pb2.TenantTier.Value(f"TENANT_TIER_{tenant.tier}"),
        placement=tenant_pb2.Placement(
            region=placement.region,
            table=placement.table,
            bucket=placement.bucket,
            search_cluster=placement.search_cluster,
        ),
        limits=tenant_pb2.TenantLimits(
            max_object_bytes=tenant.max_object_bytes, counter_shards=tenant.counter_shards
        ),
        generation=tenant.generation,
        create_time=_micros(tenant.created_at),
        update_time=_micros(tenant.updated_at),
        etag=tenant.etag,
        encryption=_encryption(tenant),
        legal_hold=tenant.legal_hold,
        allowed_regions=tenant.allowed_regions,
        backups=_backups(tenant),
    )


def _backups(tenant: Tenant) -> tenant_pb2.TenantBackups | None:
    if not tenant.backup_hours and not tenant.backups_kept:
        return None
    return tenant_pb2.TenantBackups(
        interval_hours=tenant.backup_hours, kept_count=tenant.backups_kept
    )


def _encryption(tenant: Tenant) -> tenant_pb2.TenantEncryption | None:
    if not tenant.key_version:
        return None
    return tenant_pb2.TenantEncryption(
        enabled=True,
        key_version=tenant.key_version,
        key_state=(
            tenant_pb2.TENANT_KEY_STATE_DESTROYED
            if tenant.key_destroyed
            else tenant_pb2.TENANT_KEY_STATE_ENABLED
        ),
    )


def _state(tenant: Tenant) -> context_pb2.TenantState:
    return context_pb2.TenantState(
        tenant_id=tenant.tenant_id,
        generation=tenant.generation,
        status=tenant_pb2.TenantStatus.Value(f"TENANT_STATUS_{tenant.status}"),
        tier=tenant_pb2.TenantTier.Value(f"TENANT_TIER_{tenant.tier}"),
        key_destroyed=tenant.key_destroyed,
    )


def _micros(value: int) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromMicroseconds(value)
    return timestamp


def _seconds(minted: Minted) -> timestamp_pb2.Timestamp:
    return timestamp_pb2.Timestamp(seconds=minted.expires_at)
