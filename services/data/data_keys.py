"""Wrapped data keys of a tenant's fields, as items of its own partition."""

from __future__ import annotations

import base64
import binascii

from boundary.context import TenantContext
from services.keys.refusals import damaged
from services.table.ports import ABSENT, ConditionFailed, Delete, Item, Put, Range, Table

FIELDS = "fields"
"""The purpose of the data keys that encrypt fields."""

INDEX = "index"
"""The purpose of the one that makes index keys of what fields hold."""

INDEX_VERSION = 1
"""There is one version of it for good: with another one, what is in the index would not be found."""

OWN = "DATAKEY#"
"""What begins so are data keys; above the layer that encrypts nobody sees them."""

_PAGE = 100


class ItemKeyRecords:
    """See services.keys.ring.DataKeyRecords."""

    def __init__(self, table: Table) -> None:
        """Takes the guarded table, below the layer that encrypts."""
        self._table = table

    async def find(self, tenant: TenantContext, *, purpose: str, version: int) -> bytes | None:
        """See DataKeyRecords.find."""
        item = await self._table.get(tenant.partition, _sort_key(purpose, version))
        return None if item is None else _wrapped(item, _sort_key(purpose, version))

    async def add(
        self, tenant: TenantContext, wrapped: bytes, *, purpose: str, version: int
    ) -> bytes:
        """See DataKeyRecords.add."""
        item: Item = {"wrapped": base64.b64encode(wrapped).decode()}
        put = Put(sort_key=_sort_key(purpose, version), item=item, condition=ABSENT)
        try:
            await self._table.write(tenant.partition, put)
        except ConditionFailed as error:
            return _wrapped(error.existing or {}, put.sort_key)
        return wrapped

    async def drop(self, tenant: TenantContext, *, purpose: str, before: int) -> int:
        """See DataKeyRecords.drop."""
        page = await self._table.query(
            tenant.partition,
            keys=Range(low=_sort_key(purpose, 0), high=_sort_key(purpose, before - 1)),
            limit=_PAGE,
        )
        for stored in page.items:
            await self._table.write(tenant.partition, Delete(sort_key=stored.sort_key))
        return len(page.items)


def _sort_key(purpose: str, version: int) -> str:
    return f"{OWN}{purpose}#{version:010d}"


def _wrapped(item: Item, place: str) -> bytes:
    try:
        return base64.b64decode(str(item.get("wrapped")), validate=True)
    except binascii.Error as error:
        raise damaged("DATA_KEY_INVALID", "a data key of the tenant is damaged", place) from error
