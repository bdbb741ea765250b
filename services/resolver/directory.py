"""The tenant directory: a CONFIG item for each tenant and a guard item for each slug, in the one table."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from boundary.context import ACTIVE, MOVING, WORKING, Placement
from boundary.directory_scope import (
    CONFIG_SORT_KEY,
    SLUG_SORT_KEY,
    config_partition,
    directory_partition,
    home_partition,
    slug_partition,
)
from boundary.ids import TenantId, TenantSlug, slug_of
from boundary.regions import require_allowed
from boundary.scope import Partition
from services.resolver.ports import (
    ABSENT,
    PRESENT,
    Condition,
    ConditionFailed,
    Delete,
    Item,
    Put,
    Range,
    Table,
    Update,
    Value,
    Write,
)

SUSPENDED = "SUSPENDED"
ONBOARDING = "ONBOARDING"
OFFBOARDING = "OFFBOARDING"
PURGED = "PURGED"
"""The statuses of a tenant whose callers are not served; boundary.context has the others."""

_CHANGED_PAGE = 200

_FOUND = 20_000
"""How many tenants are remembered to have been found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant as the directory has it. Times are in microseconds since the epoch.

    Attributes:
        standing: the status, but for whether it may be written to: `ACTIVE`, or what keeps its callers out.
        read_only: whether an operation keeps it from being written to. Operators suspend and resume it meanwhile.
        legal_hold: why nothing of the tenant may be purged; empty where it may.
        monitored: whether the resolver's metrics name the tenant.
        allowed_regions: where its data may be; anywhere where empty.
        backup_hours: every how many hours it is backed up; never where 0.
        backups_kept: how many of the newest backups are kept; all where 0.
    """

    tenant_id: TenantId
    display_name: str
    standing: str
    tier: str
    placement: Placement
    max_object_bytes: int
    counter_shards: int
    generation: int
    created_at: int
    updated_at: int
    etag: str
    create_request_id: str
    read_only: bool = False
    key_version: int = 0
    key_destroyed: bool = False
    legal_hold: str = ""
    monitored: bool = False
    allowed_regions: Sequence[str] = ()
    backup_hours: int = 0
    backups_kept: int = 0

    @property
    def slug(self) -> TenantSlug:
        """The lower-cased id."""
        return slug_of(self.tenant_id)

    @property
    def status(self) -> str:
        """What everyone is told."""
        return MOVING if self.read_only and self.standing == ACTIVE else self.standing

    @property
    def active(self) -> bool:
        """Whether the tenant's callers are served."""
        return self.status in WORKING

    @property
    def has_data(self) -> bool:
        """Whether the tenant has anything that is not on its way in or out."""
        return self.status not in (ONBOARDING, OFFBOARDING, PURGED)

    def require_region(self) -> None:
        """Returns where the tenant's data may be in the region that it is placed in.

        Raises:
            PermissionDenied: it may not (`REGION_NOT_ALLOWED`).
        """
        require_allowed(self.placement.region, self.allowed_regions)

    def changed(self, **changes: object) -> Tenant:
        """The tenant with changes, in its next generation."""
        return replace(
            self,
            **changes,  # type: ignore[arg-type]  # the names are this module's callers'
            generation=self.generation + 1,
            updated_at=now_micros(),
            etag=new_etag(),
        )


class IdTaken(Exception):
    """The tenant id is in use.

    Attributes:
        existing: the tenant that has it.
    """

    def __init__(self, existing: Tenant) -> None:
        super().__init__(existing.tenant_id)
        self.existing = existing


class SlugTaken(Exception):
    """The slug is in use by a tenant whose id differs in case only."""


class Changed(Exception):
    """The tenant has changed since it was read."""


Placed = tuple[Partition, Write]
"""A write and where it is made."""


class Directory:
    """The directory over the table port.

    A tenant's settings stand in its CONFIG item. Where the tenant is placed in the directory's own table, that is
    its record in the directory; elsewhere it has a CONFIG item of its own in the table that it is placed in, its
    home, written before the record: a tenant that can be found has one.
    """

    def __init__(self, table: Table, *, table_name: str, region: str) -> None:
        """Takes the table port, and which table of which region the directory is in."""
        self._table = table
        self._name = table_name
        self._region = region
        self._found: OrderedDict[TenantId, None] = OrderedDict()

    async def find(self, tenant_id: TenantId) -> Tenant | None:
        """The tenant as last written, or None."""
        partition = config_partition(tenant_id, table=self._name)
        item = await self._table.get(partition, CONFIG_SORT_KEY)
        if item is None:
            return None
        self._found[tenant_id] = None
        if len(self._found) > _FOUND:
            self._found.popitem(last=False)
        return _tenant_of(item)

    def knows(self, tenant_id: TenantId) -> bool:
        """Whether the tenant was found here not long ago; for the audit trail, which cannot wait for an answer."""
        return tenant_id in self._found

    async def page(
        self, *, limit: int, position: bytes | None = None
    ) -> tuple[Sequence[Tenant], bytes | None]:
        """A page of tenants by id, and the position of the next one."""
        partition = directory_partition(table=self._name)
        page = await self._table.query(
            partition,
            keys=Range(),
            limit=limit,
            position=position,
            index="GSI1",
            index_key=partition.key,
        )
        return [_tenant_of(stored.item) for stored in page.items], page.position

    async def changed_since(self, moment: int) -> Sequence[Tenant]:
        """The tenants that were changed at a moment or later, by the clock of who changed them.

        An index lags a little behind. A tenant that was last changed by a resolver that did not list changes yet
        is found by its next change.

        Args:
            moment: microseconds since the epoch.
        """
        partition = directory_partition(table=self._name)
        found: list[Tenant] = []
        position: bytes | None = None
        while True:
            page = await self._table.query(
                partition,
                keys=Range(low=_moment(moment)),
                limit=_CHANGED_PAGE,
                position=position,
                index="GSI2",
                index_key=partition.key,
            )
            found += [_tenant_of(stored.item) for stored in page.items]
            position = page.position
            if position is None:
                return found

    async def add(self, tenant: Tenant, *, checks: Sequence[Placed] = ()) -> None:
        """Writes a new tenant and claims its slug, in one transaction.

        Args:
            checks: what must hold besides, in the same transaction.

        Raises:
            IdTaken, SlugTaken: nothing was written.
            Changed: a check failed; nothing was written.
        """
        config = config_partition(tenant.tenant_id, table=self._name)
        slug = slug_partition(tenant.slug, table=self._name)
        item = {**_item_of(tenant), **self._listed(tenant)}
        guard: Item = {"tenant_id": tenant.tenant_id}
        made_home = await self._make_home(tenant)
        try:
            await self._table.transact(
                [
                    (config, Put(sort_key=CONFIG_SORT_KEY, item=item, condition=ABSENT)),
                    (slug, Put(sort_key=SLUG_SORT_KEY, item=guard, condition=ABSENT)),
                    *checks,
                ]
            )
        except ConditionFailed as error:
            existing = await self.find(tenant.tenant_id)
            if existing is not None:
                raise IdTaken(existing) from error
            if made_home:
                await self._table.write(self._home(tenant), Delete(sort_key=CONFIG_SORT_KEY))
            if await self.claimed_by(tenant.slug) is None:
                raise Changed from error
            raise SlugTaken from error

    async def claimed_by(self, slug: TenantSlug) -> TenantId | None:
        """The tenant that has claimed a slug, for good; None where nobody has."""
        item = await self._table.get(slug_partition(slug, table=self._name), SLUG_SORT_KEY)
        return None if item is None else TenantId(str(item["tenant_id"]))

    async def replace(self, tenant: Tenant, *, etag: str, checks: Sequence[Placed] = ()) -> None:
        """Writes a tenant's changed attributes over the version with etag.

        Only the directory's own attributes are set: the tenant's settings stand in the same item and are the
        data service's.

        Args:
            checks: what must hold besides, in the same transaction.

        Raises:
            Changed: the stored version is another, or a check failed; nothing was written.
        """
        update = Update(
            sort_key=CONFIG_SORT_KEY,
            set={**_item_of(tenant), **self._listed(tenant)},
            condition=Condition(exists=True, equals={"etag": etag}),
        )
        await self._exchange(tenant.tenant_id, update, checks)
        if not self._at_home(tenant) and tenant.status != PURGED:
            name = Update(
                sort_key=CONFIG_SORT_KEY,
                set={"display_name": tenant.display_name},
                condition=PRESENT,
            )
            with contextlib.suppress(ConditionFailed):  # it was purged meanwhile
                await self._table.write(self._home(tenant), name)

    async def bury(self, tombstone: Tenant, *, etag: str, checks: Sequence[Placed] = ()) -> None:
        """Puts what is left of a purged tenant in the place of its record; nothing else of that item stays.

        The slug's guard stays as it is: neither id nor slug is ever used again. A home elsewhere goes.

        Raises:
            Changed: the stored version is another, or a check failed; nothing was written.
        """
        put = Put(
            sort_key=CONFIG_SORT_KEY,
            item={**_item_of(tombstone), **self._listed(tombstone)},
            condition=Condition(exists=True, equals={"etag": etag}),
        )
        if not self._at_home(tombstone):
            await self._table.write(self._home(tombstone), Delete(sort_key=CONFIG_SORT_KEY))
        await self._exchange(tombstone.tenant_id, put, checks)

    async def remove(self, tenant: Tenant, *, checks: Sequence[Placed] = ()) -> None:
        """Removes a tenant that never worked, and gives its slug back.

        Raises:
            Changed: the stored version is another, or a check failed; nothing was removed.
        """
        if not self._at_home(tenant):
            await self._table.write(self._home(tenant), Delete(sort_key=CONFIG_SORT_KEY))
        slug = slug_partition(tenant.slug, table=self._name)
        owned = Condition(exists=True, equals={"tenant_id": tenant.tenant_id})
        delete = Delete(
            sort_key=CONFIG_SORT_KEY, condition=Condition(exists=True, equals={"etag": tenant.etag})
        )
        await self._exchange(
            tenant.tenant_id,
            delete,
            [(slug, Delete(sort_key=SLUG_SORT_KEY, condition=owned)), *checks],
        )
        self._found.pop(tenant.tenant_id, None)

    async def make_home(self, tenant: Tenant, placement: Placement) -> None:
        """Sees that the tenant has a CONFIG item in a place that it does not live in yet."""
        await self._make_home(replace(tenant, placement=placement))

    async def drop_home(self, tenant: Tenant, placement: Placement) -> None:
        """Removes the CONFIG item from a place that the tenant does not live in, nor the directory."""
        elsewhere = replace(tenant, placement=placement)
        if self._at_home(elsewhere) or self._home(elsewhere) == self._home(tenant):
            return
        await self._table.write(self._home(elsewhere), Delete(sort_key=CONFIG_SORT_KEY))

    async def _exchange(self, tenant_id: TenantId, write: Write, others: Sequence[Placed]) -> None:
        config = config_partition(tenant_id, table=self._name)
        try:
            if others:
                await self._table.transact([(config, write), *others])
            else:
                await self._table.write(config, write)
        except ConditionFailed as error:
            raise Changed from error

    def _listed(self, tenant: Tenant) -> Item:
        """The keys under which indexes have a tenant: by id, and by when it was changed."""
        key = directory_partition(table=self._name).key
        return {
            "GSI1PK": key,
            "GSI1SK": tenant.tenant_id,
            "GSI2PK": key,
            "GSI2SK": _moment(tenant.updated_at),
        }

    def _at_home(self, tenant: Tenant) -> bool:
        placement = tenant.placement
        return (placement.region, placement.table) == (self._region, self._name)

    def _home(self, tenant: Tenant) -> Partition:
        placement = tenant.placement
        return home_partition(tenant.tenant_id, region=placement.region, table=placement.table)

    async def _make_home(self, tenant: Tenant) -> bool:
        """Whether the tenant has a home now that it had not."""
        if self._at_home(tenant):
            return False
        item: Item = {"tenant_id": tenant.tenant_id, "display_name": tenant.display_name}
        home = Put(sort_key=CONFIG_SORT_KEY, item=item, condition=ABSENT)
        try:
            await self._table.write(self._home(tenant), home)
        except ConditionFailed:
            return False
        return True


def new_etag() -> str:
    """An etag that no version had before."""
    return uuid4().hex


def now_micros() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def _moment(micros: int) -> str:
    """A moment as keys have it: in the order of time."""
    return f"{max(0, micros):020d}"


def _item_of(tenant: Tenant) -> dict[str, Value]:
    return {
        "tenant_id": tenant.tenant_id,
        "slug": tenant.slug,
        "display_name": tenant.display_name,
        "status": tenant.status,
        "read_only": tenant.read_only,
        "tier": tenant.tier,
        "region": tenant.placement.region,
        "table": tenant.placement.table,
        "bucket": tenant.placement.bucket,
        "search_cluster": tenant.placement.search_cluster,
        "max_object_bytes": tenant.max_object_bytes,
        "counter_shards": tenant.counter_shards,
        "generation": tenant.generation,
        "created_at": tenant.created_at,
        "updated_at": tenant.updated_at,
        "etag": tenant.etag,
        "create_request_id": tenant.create_request_id,
        "key_version": tenant.key_version,
        "key_destroyed": tenant.key_destroyed,
        "legal_hold": tenant.legal_hold,
        "monitored": tenant.monitored,
        "allowed_regions": list(tenant.allowed_regions),
        "backup_hours": tenant.backup_hours,
        "backups_kept": tenant.backups_kept,
    }


def _tenant_of(item: Item) -> Tenant:
    def text(name: str) -> str:
        return str(item[name])

    def number(name: str) -> int:
        value = item[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} is not an integer")
        return value

    def texts(name: str) -> tuple[str, ...]:
        value = item.get(name, [])
        if not isinstance(value, list):
            raise TypeError(f"{name} is not a list")
        return tuple(str(part) for part in value)

    return Tenant(
        tenant_id=TenantId(text("tenant_id")),
        display_name=text("display_name"),
        standing=ACTIVE if text("status") == MOVING else text("status"),
        read_only=bool(item.get("read_only", text("status") == MOVING)),
        tier=text("tier"),
        placement=Placement(
            region=text("region"),
            table=text("table"),
            bucket=text("bucket"),
            search_cluster=text("search_cluster"),
        ),
        max_object_bytes=number("max_object_bytes"),
        counter_shards=number("counter_shards") if "counter_shards" in item else 0,
        generation=number("generation"),
        created_at=number("created_at"),
        updated_at=number("updated_at"),
        etag=text("etag"),
        create_request_id=text("create_request_id"),
        key_version=number("key_version") if "key_version" in item else 0,
        key_destroyed=bool(item.get("key_destroyed", False)),
        legal_hold=str(item.get("legal_hold", "")),
        monitored=bool(item.get("monitored", False)),
        allowed_regions=texts("allowed_regions"),
        backup_hours=number("backup_hours") if "backup_hours" in item else 0,
        backups_kept=number("backups_kept") if "backups_kept" in item else 0,
    )
