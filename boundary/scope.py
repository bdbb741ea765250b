"""The tenant's own partition, prefix, index and key: the only handles that the ports take.

A handle is made from a verified context, or, for the resolver's directory, in `boundary.directory_scope`.
Its constructor is sealed, so that no request field can become one.
"""

from __future__ import annotations

from dataclasses import dataclass

from boundary.ids import TenantId, TenantSlug

_SEAL = object()
"""Known to this module, boundary.context and boundary.directory_scope alone."""


def _require_seal(seal: object) -> None:
    if seal is not _SEAL:
        raise TypeError("tenant-scoped handles come from a verified TenantContext")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition of the table: every item of one tenant, or one item of the directory.

    Attributes:
        tenant_id: the tenant; empty for a directory partition that belongs to none.
        region: the region that the table is in, by placement.
        table: the table's name, by placement.
        key: the partition key, `TENANT#{tenantId}`.
    """

    seal: object
    tenant_id: TenantId
    region: str
    table: str
    key: str

    def __post_init__(self) -> None:
        _require_seal(self.seal)

    def index_key(self, *parts: str) -> str:
        """The partition key of a secondary index: `TENANT#{tenantId}#{part}#...`.

        Raises:
            ValueError: a part is empty or holds the separator.
        """
        if any(not part or "#" in part for part in parts):
            raise ValueError("the parts of an index key are not empty and hold no separator")
        return "#".join((self.key, *parts))

    def owns(self, partition_key: str) -> bool:
        """Whether a partition key, of the table or of an index, is this partition's own."""
        return partition_key == self.key or partition_key.startswith(self.key + "#")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPrefix:
    """A tenant's part of the bucket.

    Attributes:
        tenant_id: the tenant.
        region: the region that the bucket is in, by placement.
        bucket: the bucket's name, by placement.
        prefix: `tenant-{slug}/`, with its slash.
    """

    seal: object
    tenant_id: TenantId
    region: str
    bucket: str
    prefix: str

    def __post_init__(self) -> None:
        _require_seal(self.seal)

    def key(self, path: str) -> str:
        """The object key of a path below the prefix. The path's grammar is the storage service's."""
        return self.prefix + path

    def path(self, key: str) -> str:
        """The path below the prefix of an object key.

        Raises:
            ValueError: the key is not under the prefix.
        """
        if not self.owns(key):
            raise ValueError("the key is not under the tenant's prefix")
        return key[len(self.prefix) :]

    def owns(self, key: str) -> bool:
        """Whether an object key is under the prefix."""
        return key.startswith(self.prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchIndex:
    """A tenant's search index.

    Attributes:
        tenant_id: the tenant.
        region: the region that the cluster is in, by placement.
        cluster: the search cluster's name, by placement.
        name: `email-analytics-tenant-{slug}`.
        alias: `email-tenant-{slug}`.
    """

    seal: object
    tenant_id: TenantId
    region: str
    cluster: str
    name: str
    alias: str

    def __post_init__(self) -> None:
        _require_seal(self.seal)


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKey:
    """A tenant's key, under which its data keys are wrapped.

    Attributes:
        tenant_id: the tenant.
        region: the region that the key is in, by placement.
        name: `tenant-{slug}`.
    """

    seal: object
    tenant_id: TenantId
    region: str
    name: str

    def __post_init__(self) -> None:
        _require_seal(self.seal)


def partition_key(tenant_id: TenantId) -> str:
    """`TENANT#{tenantId}` (domain spec, partition key patterns)."""
    return f"TENANT#{tenant_id}"


def object_prefix(slug: TenantSlug) -> str:
    """`tenant-{slug}/` (domain spec, folder structure). The slash keeps neighbours apart."""
    return f"tenant-{slug}/"


def index_name(slug: TenantSlug) -> str:
    """`email-analytics-tenant-{slug}` (domain spec, index naming convention)."""
    return f"email-analytics-tenant-{slug}"


def index_alias(slug: TenantSlug) -> str:
    """`email-tenant-{slug}` (domain spec, component table)."""
    return f"email-tenant-{slug}"


def key_name(slug: TenantSlug) -> str:
    """`tenant-{slug}`, as in the object prefix."""
    return f"tenant-{slug}"
