"""Partitions of the tenant directory, for the resolver alone.

The resolver reads a tenant's CONFIG item before a context for that tenant can exist, and keeps the slug
guards, which belong to no tenant, and the records of operations, which outlive the tenant that they are about.
The directory has a table of its own to name, and no region: it is where the resolver is. An import contract keeps
every other room away from this module.
"""

from __future__ import annotations

from boundary.ids import TenantId, TenantSlug, slug_of
from boundary.scope import _SEAL, Partition, TenantKey, key_name, partition_key

CONFIG_SORT_KEY = "CONFIG"
SLUG_SORT_KEY = "SLUG"
DIRECTORY_INDEX_KEY = "DIRECTORY#TENANTS"
OPERATION_SORT_KEY = "OPERATION"
HOLDERS_SORT_KEY = "HOLDERS"
OPERATIONS_INDEX_KEY = "DIRECTORY#OPERATIONS"


def config_partition(tenant_id: TenantId, *, table: str) -> Partition:
    """The partition of a tenant, for its CONFIG item."""
    return Partition(
        seal=_SEAL, tenant_id=tenant_id, region="", table=table, key=partition_key(tenant_id)
    )


def home_partition(tenant_id: TenantId, *, region: str, table: str) -> Partition:
    """The tenant's partition in the table that it is placed in, for the CONFIG item that its settings stand in."""
    return Partition(
        seal=_SEAL, tenant_id=tenant_id, region=region, table=table, key=partition_key(tenant_id)
    )


def tenant_key(tenant_id: TenantId, *, region: str) -> TenantKey:
    """The tenant's key, which the resolver makes, rotates and destroys."""
    return TenantKey(
        seal=_SEAL, tenant_id=tenant_id, region=region, name=key_name(slug_of(tenant_id))
    )


def slug_partition(slug: TenantSlug, *, table: str) -> Partition:
    """The partition of a slug's guard item."""
    return Partition(seal=_SEAL, tenant_id=TenantId(""), region="", table=table, key=f"SLUG#{slug}")


def directory_partition(*, table: str) -> Partition:
    """The index partition that lists every tenant."""
    return Partition(
        seal=_SEAL, tenant_id=TenantId(""), region="", table=table, key=DIRECTORY_INDEX_KEY
    )


def operation_partition(operation_id: str, *, table: str) -> Partition:
    """The partition of an operation's record."""
    return Partition(
        seal=_SEAL,
        tenant_id=TenantId(""),
        region="",
        table=table,
        key=f"OPERATION#{operation_id}",
    )


def holders_partition(tenant_id: TenantId, *, table: str) -> Partition:
    """The partition of the item that says which operations hold a tenant; outside of the tenant's own."""
    return Partition(
        seal=_SEAL,
        tenant_id=TenantId(""),
        region="",
        table=table,
        key=f"OPERATIONS#{tenant_id}",
    )


def operations_partition(*, table: str) -> Partition:
    """The index partitions that list operations: every one, and with a part, a tenant's and a state's."""
    return Partition(
        seal=_SEAL, tenant_id=TenantId(""), region="", table=table, key=OPERATIONS_INDEX_KEY
    )
