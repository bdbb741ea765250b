"""The tenants' own keys: made with a tenant's encryption, rotated, and destroyed for good.

A key is rotated or destroyed at its keeper first and in the directory after it, so that a call that was cut off is
made again and finishes. A tenant whose key could not be made yet is refused what it would encrypt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping

from boundary.directory_scope import tenant_key
from boundary.errors import (
    FailedPrecondition,
    InvalidArgument,
    ResourceExhausted,
    SiloError,
    key_destroyed,
)
from boundary.scope import TenantKey
from services.keys.ports import KeyDescription, KeyMissing, TenantKeys
from services.keys.refusals import told
from services.resolver.directory import Tenant

MAX_VERSIONS = 1_000_000
"""More rotations than any tenant makes; it bounds what stands in keys and labels."""


class Encryption:
    """What becomes of tenants' keys. Each method may be repeated.

    Raises what the key port's refusals tell (services.keys.refusals), and where the tenant's region has no keeper
    FailedPrecondition (`ENCRYPTION_UNAVAILABLE`); PermissionDenied where it may not have data there.
    """

    def __init__(self, keepers: Mapping[str, TenantKeys], *, always: Collection[str] = ()) -> None:
        """Takes the keepers by region, and the regions whose buckets want a key of every tenant."""
        self._keepers = dict(keepers)
        self._always = frozenset(always)

    def check(self, tenant: Tenant) -> None:
        """Returns where the tenant needs no key or its region has a keeper."""
        if self._needs_key(tenant):
            self._keeper(tenant)

    async def provide(self, tenant: Tenant) -> None:
        """Makes the tenant's key where it needs one and there is none."""
        if not self._needs_key(tenant):
            return
        keeper, key = self._keeper(tenant)
        with told():
            await keeper.create(key)

    async def rotate(self, tenant: Tenant) -> int:
        """Gives the tenant's key a new version; the version of the data keys that goes with it."""
        require_encryption(tenant)
        if tenant.key_version >= MAX_VERSIONS:
            raise ResourceExhausted("KEY_VERSIONS", "the tenant's key has been rotated too often")
        keeper, key = self._keeper(tenant)
        with told():
            await keeper.rotate(key)
        return tenant.key_version + 1

    async def destroy(self, tenant: Tenant) -> None:
        """Ends the tenant's key for good."""
        if not tenant.key_version:
            raise _off()
        keeper, key = self._keeper(tenant)
        with told():
            await keeper.destroy(key)

    async def end(self, tenant: Tenant) -> KeyDescription | None:
        """Ends whatever keys the tenant has, in its region and in those that it has moved out of.

        Returns:
            the key of its region as it is then, or None where there was none.
        """
        ended: dict[str, KeyDescription] = {}
        for region, keeper in self._keepers.items():
            with contextlib.suppress(KeyMissing):
                key = tenant_key(tenant.tenant_id, region=region)
                ended[region] = await keeper.destroy(key)
        return ended.get(tenant.placement.region)

    def _needs_key(self, tenant: Tenant) -> bool:
        return bool(tenant.key_version) or tenant.placement.region in self._always

    def _keeper(self, tenant: Tenant) -> tuple[TenantKeys, TenantKey]:
        tenant.require_region()
        region = tenant.placement.region
        keeper = self._keepers.get(region)
        if keeper is None:
            raise FailedPrecondition(
                "ENCRYPTION_UNAVAILABLE", f"the region {region} has no keeper of tenants' keys"
            )
        return keeper, tenant_key(tenant.tenant_id, region=region)


def require_encryption(tenant: Tenant) -> None:
    """Returns where the tenant has encryption and its key.

    Raises:
        FailedPrecondition: it has none (`ENCRYPTION_OFF`), or its key is destroyed (`KEY_DESTROYED`).
    """
    if not tenant.key_version:
        raise _off()
    if tenant.key_destroyed:
        raise key_destroyed()


def switched_on(tenant: Tenant, enabled: bool) -> int:
    """The version of the data keys of a tenant whose encryption is asked to be on or off.

    Raises:
        InvalidArgument: it is on and cannot be switched off.
        FailedPrecondition: the tenant's key is destroyed.
    """
    if tenant.key_destroyed:
        raise key_destroyed()
    if tenant.key_version and not enabled:
        raise InvalidArgument("tenant.encryption.enabled", "cannot be switched off")
    return tenant.key_version or int(enabled)


def _off() -> SiloError:
    return FailedPrecondition("ENCRYPTION_OFF", "the tenant has no encryption")
