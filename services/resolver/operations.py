"""How tenants come and change, and the signing keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from boundary.context import ACTIVE, MOVING
from boundary.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Unavailable,
    etag_mismatch,
)
from boundary.ids import TenantId, parse_request_id, parse_tenant_id
from services.resolver.changes import Changes
from services.resolver.directory import (
    PURGED,
    SUSPENDED,
    Changed,
    Directory,
    IdTaken,
    SlugTaken,
    Tenant,
    new_etag,
    now_micros,
)
from services.resolver.placements import Placements
from services.resolver.signing_keys import SigningKeys
from services.resolver.tenant_fields import (
    MAX_NAME,
    backup_hours,
    backups_kept,
    counter_shards,
    display_name,
    max_object_bytes,
    tier,
)
from services.resolver.tenant_keys import Encryption, switched_on

_SNAPSHOT_PAGE = 200
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTenant:
    """What an operator says of a new tenant; empty fields take the deployment's defaults."""

    tenant_id: str
    display_name: str
    tier: str = ""
    region: str = ""
    table: str = ""
    bucket: str = ""
    search_cluster: str = ""
    max_object_bytes: int = 0
    counter_shards: int = 0
    encryption: bool = False
    allowed_regions: Sequence[str] = ()
    backup_hours: int = 0
    backups_kept: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantChange:
    """What an operator changes; None leaves a field as it is."""

    display_name: str | None = None
    tier: str | None = None
    max_object_bytes: int | None = None
    counter_shards: int | None = None
    encryption: bool | None = None
    allowed_regions: Sequence[str] | None = None
    backup_hours: int | None = None
    backups_kept: int | None = None


class Tenants:
    """Creates and governs tenants, and tells of every change."""

    def __init__(
        self,
        *,
        directory: Directory,
        changes: Changes,
        placements: Placements,
        encryption: Encryption | None = None,
    ) -> None:
        """Takes the parts; without encryption, no region has a keeper of keys."""
        self._directory = directory
        self._changes = changes
        self._placements = placements
        self._encryption = encryption or Encryption({})

    async def create(self, new: NewTenant) -> Tenant:
        """The new tenant; or the one that a first call with the same request_id created.

        Raises:
            InvalidArgument: a field is out of grammar.
            AlreadyExists: the id or the slug is taken.
            FailedPrecondition: the key that encryption needs cannot be made; the tenant is there, and the same
                call or switching encryption on makes it.
        """
        tenant = self.checked(new)
        try:
            await self._directory.add(tenant)
        except IdTaken as error:
            if new.request_id and error.existing.create_request_id == new.request_id:
                await self._encryption.provide(error.existing)
                return error.existing
            raise id_taken(error.existing) from error
        except SlugTaken as error:
            raise slug_taken(tenant) from error
        await self._encryption.provide(tenant)
        self._changes.publish(tenant)
        return tenant

    async def get(self, tenant_id: TenantId) -> Tenant:
        """The tenant.

        Raises:
            NotFound: there is none.
        """
        tenant = await self._directory.find(tenant_id)
        if tenant is None:
            raise NotFound(f"tenants/{tenant_id}", field="name")
        return tenant

    async def page(
        self, *, limit: int, position: bytes | None
    ) -> tuple[Sequence[Tenant], bytes | None]:
        """A page of tenants by id, and the position of the next one."""
        return await self._directory.page(limit=limit, position=position)

    async def update(self, tenant_id: TenantId, change: TenantChange, *, etag: str) -> Tenant:
        """The changed tenant.

        Raises:
            NotFound, InvalidArgument, Aborted: nothing was changed.
        """
        changes: dict[str, object] = {}
        if change.display_name is not None:
            changes["display_name"] = display_name(change.display_name)
        if change.tier is not None:
            changes["tier"] = tier(change.tier)
        if change.max_object_bytes is not None:
            changes["max_object_bytes"] = max_object_bytes(change.max_object_bytes)
        if change.counter_shards is not None:
            changes["counter_shards"] = counter_shards(change.counter_shards)
        if change.backup_hours is not None:
            changes["backup_hours"] = backup_hours(change.backup_hours)
        if change.backups_kept is not None:
            changes["backups_kept"] = backups_kept(change.backups_kept)
        allowed = change.allowed_regions and self._placements.regions(change.allowed_regions)
        if allowed is not None:
            changes["allowed_regions"] = tuple(allowed)
        if change.encryption is not None:
            tenant = await self.get(tenant_id)
            changes["key_version"] = switched_on(tenant, change.encryption)
            await self._encryption.provide(tenant.changed(**changes))

        def require_home(tenant: Tenant) -> None:
            if allowed is not None:
                _require_home(tenant, allowed)

        return await self._change(
            tenant_id, changes, etag=etag, field="tenant.etag", check=require_home
        )

    async def suspend(self, tenant_id: TenantId, *, etag: str) -> Tenant:
        """The tenant, suspended. Everyone who watches has been told when this returns.

        Raises:
            NotFound, Aborted: nothing was changed.
        """
        return await self._set_standing(tenant_id, SUSPENDED, etag=etag)

    async def resume(self, tenant_id: TenantId, *, etag: str) -> Tenant:
        """The tenant, active; to be read alone while an operation keeps it from being written to.

        Raises:
            NotFound, Aborted: nothing was changed.
        """
        return await self._set_standing(tenant_id, ACTIVE, etag=etag)

    async def hold(self, tenant_id: TenantId, *, why: str) -> Tenant:
        """The tenant, of which nothing is purged until the hold is released; with no reason, released.

        Raises:
            NotFound, InvalidArgument: nothing was changed.
            FailedPrecondition: the tenant is purged already.
        """
        if len(why) > MAX_NAME or not (why.isprintable()):
            raise InvalidArgument("reason", f"must be at most {MAX_NAME} characters")

        def require_something_left(tenant: Tenant) -> None:
            if tenant.status == PURGED:
                raise FailedPrecondition("TENANT_PURGED", "nothing is left to hold")

        return await self._change(
            tenant_id, {"legal_hold": why}, etag="", field="", check=require_something_left
        )

    async def rotate_key(self, tenant_id: TenantId, *, etag: str) -> Tenant:
        """The tenant, whose data is written under new data keys from now on.

        Raises:
            NotFound, Aborted, FailedPrecondition: nothing was changed.
        """
        tenant = await self.get(tenant_id)
        if etag and tenant.etag != etag:
            raise etag_mismatch(f"tenants/{tenant_id}", field="etag")
        version = await self._encryption.rotate(tenant)
        changes: dict[str, object] = {"key_version": version}
        return await self._change(tenant_id, changes, etag=tenant.etag, field="etag")

    async def destroy_key(self, tenant_id: TenantId) -> Tenant:
        """The tenant without its key. Everyone who watches has been told when this returns.

        Raises:
            NotFound, FailedPrecondition: nothing was changed.
        """
        tenant = await self.get(tenant_id)
        if tenant.legal_hold:
            raise held(tenant)
        await self._encryption.destroy(tenant)
        return await self._change(tenant_id, {"key_destroyed": True}, etag="", field="")

    def tell(self, tenant: Tenant) -> None:
        """Tells everyone who watches what an operation has made of a tenant."""
        self._changes.publish(tenant)

    def forget(self, tenant: Tenant) -> None:
        """Tells everyone that a tenant which never worked is gone: for them, as one that may not work."""
        self._changes.publish(tenant.changed(standing=PURGED))

    async def watch(self) -> AsyncIterator[Tenant | None]:
        """Every tenant, then None, then each tenant that changes, until the process stops.

        Changes are listened to before the first tenant is read, so that none falls between.
        """
        with self._changes.subscribe() as subscription:
            position: bytes | None = None
            while True:
                tenants, position = await self._directory.page(
                    limit=_SNAPSHOT_PAGE, position=position
                )
                for tenant in tenants:
                    yield tenant
                if position is None:
                    break
            yield None
            async for tenant in subscription.changes():
                yield tenant

    async def _set_standing(self, tenant_id: TenantId, standing: str, *, etag: str) -> Tenant:
        """The tenant with a standing that operators give; what operations give is theirs to take back.

        Raises:
            FailedPrecondition: an operation has the tenant (`TENANT_STATUS`).
        """

        def require_operators(tenant: Tenant) -> None:
            if tenant.standing not in (ACTIVE, SUSPENDED):
                raise FailedPrecondition("TENANT_STATUS", f"the tenant is {tenant.status}")

        return await self._change(
            tenant_id, {"standing": standing}, etag=etag, field="etag", check=require_operators
        )

    async def _change(
        self,
        tenant_id: TenantId,
        changes: dict[str, object],
        *,
        etag: str,
        field: str,
        check: Callable[[Tenant], None] = lambda _: None,
    ) -> Tenant:
        """The changed tenant.

        Args:
            check: raises where the tenant may not be changed so; it sees the version that is replaced.
        """
        for _ in range(_ATTEMPTS):
            tenant = await self.get(tenant_id)
            if etag and tenant.etag != etag:
                raise etag_mismatch(f"tenants/{tenant_id}", field=field)
            if tenant.status == PURGED:
                raise FailedPrecondition("TENANT_PURGED", "nothing is left of the tenant")
            check(tenant)
            if all(getattr(tenant, name) == value for name, value in changes.items()):
                return tenant
            changed = tenant.changed(**changes)
            try:
                await self._directory.replace(changed, etag=tenant.etag)
            except Changed:
                continue
            self._changes.publish(changed)
            return changed
        raise Unavailable("TENANT_BUSY", "the tenant is being changed by others")

    def checked(self, new: NewTenant) -> Tenant:
        """The tenant that is asked for, which is nowhere yet.

        Raises:
            InvalidArgument: a field is out of grammar.
            FailedPrecondition: its region has no keeper of keys, and it needs one.
            PermissionDenied: its data may not be where it is to be placed.
        """
        if new.request_id:
            parse_request_id(new.request_id)
        now = now_micros()
        tenant = Tenant(
            tenant_id=parse_tenant_id(new.tenant_id),
            display_name=display_name(new.display_name),
            standing=ACTIVE,
            tier=tier(new.tier or "STANDARD"),
            placement=self._placements.place(
                region=new.region,
                table=new.table,
                bucket=new.bucket,
                search_cluster=new.search_cluster,
            ),
            max_object_bytes=max_object_bytes(new.max_object_bytes),
            counter_shards=counter_shards(new.counter_shards),
            # Above that of any earlier tenant of this id, which may have gone while it was coming: to whoever has
            # heard of that one, a lower generation would be old news.
            generation=now,
            created_at=now,
            updated_at=now,
            etag=new_etag(),
            create_request_id=new.request_id,
            key_version=int(new.encryption),
            allowed_regions=self._placements.regions(new.allowed_regions),
            backup_hours=backup_hours(new.backup_hours),
            backups_kept=backups_kept(new.backups_kept),
        )
        tenant.require_region()
        self._encryption.check(tenant)
        return tenant


class Rotation:
    """Rotates the signing keys."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    def jwks(self) -> str:
        """The verifying keys as a JSON Web Key Set."""
        return self._keys.jwks()

    async def rotate(self) -> str:
        """The id of a new signing key, which signs from now on."""
        key = await asyncio.to_thread(self._keys.rotate)
        return key.key_id


def held(tenant: Tenant) -> FailedPrecondition:
    """Why nothing of a tenant may go (`LEGAL_HOLD`)."""
    return FailedPrecondition("LEGAL_HOLD", f"the tenant is held: {tenant.legal_hold}")


def id_taken(existing: Tenant) -> AlreadyExists:
    """The refusal of an id that is in use, or was by a tenant that is purged."""
    purged = existing.status == PURGED
    return AlreadyExists(
        f"tenants/{existing.tenant_id}",
        reason="TENANT_PURGED" if purged else "TENANT_EXISTS",
        field="tenant_id",
    )


def slug_taken(tenant: Tenant) -> AlreadyExists:
    """The refusal of an id whose slug another tenant has."""
    return AlreadyExists(f"the slug {tenant.slug}", reason="SLUG_EXISTS", field="tenant_id")


def _require_home(tenant: Tenant, allowed: Sequence[str]) -> None:
    """Returns where a tenant may have these regions: while it is moved, neither end of the way is taken away."""
    if tenant.read_only:
        raise FailedPrecondition("TENANT_STATUS", f"the tenant is {MOVING}")
    if allowed and tenant.placement.region not in allowed:
        raise InvalidArgument(
            "tenant.allowed_regions",
            f"the tenant lives in {tenant.placement.region}; move it first",
            reason="REGION_IN_USE",
        )
