"""Creating, reading, listing, changing and deleting one resource: the same for every kind.

Templates, whose content stands outside of the table, have their own in `templates.py`; reading their
records is the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from boundary.context import TenantContext
from boundary.errors import Aborted, AlreadyExists, InvalidArgument, NotFound, etag_mismatch
from boundary.ids import parse_entity_id
from boundary.pages import PageSealer, page_size
from services.data import changes
from services.data.changes import CREATION, Clock
from services.data.resources import Kind, is_visible
from services.table.ports import (
    ABSENT,
    Condition,
    ConditionFailed,
    ItemTooLarge,
    Put,
    Range,
    Table,
)

M = TypeVar("M", bound=Message)

DEFAULT_PAGE = 50
MAX_PAGE = 200
ATTEMPTS = 8
"""How often a change without an etag is tried while others change the same resource."""

_BY_ID, _BY_TIME = "id", "create_time"
_ORDERS = {
    "": (_BY_ID, False),
    "id": (_BY_ID, False),
    "id asc": (_BY_ID, False),
    "id desc": (_BY_ID, True),
    "create_time": (_BY_TIME, False),
    "create_time asc": (_BY_TIME, False),
    "create_time desc": (_BY_TIME, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a list request asks for.

    Attributes:
        method: the method's full name, which page tokens are bound to.
        query: the request's other fields, which page tokens are bound to.
        page_size: as the request says.
        page_token: as the request says.
        order_by: as the request says.
        filter_value: only resources whose filter attribute has this value; any where unset.
    """

    method: str
    query: bytes
    page_size: int
    page_token: str
    order_by: str
    filter_value: str | int = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Generic[M]):
    """A page of resources."""

    resources: Sequence[M]
    next_page_token: str


class Entities:
    """Resources that are one item of the table each."""

    def __init__(self, *, table: Table, pages: PageSealer, clock: Clock = changes.now) -> None:
        self._table = table
        self._pages = pages
        self._clock = clock

    async def create(
        self,
        tenant: TenantContext,
        kind: Kind[M],
        *,
        entity_id: str,
        message: M,
        request_id: str = "",
        id_path: str = "",
        path: str = "",
    ) -> M:
        """The resource as created, or as it is where this very request had created it before.

        Args:
            tenant: whose it is.
            kind: its kind.
            entity_id: its id.
            message: its settable fields; the others are passed over.
            request_id: makes a retry safe (AIP-155).
            id_path: the request field that holds the id, for errors; by default `campaign_id`.
            path: the request field that holds the message, for errors; by default `campaign`.

        Raises:
            InvalidArgument: a field breaks its rule, or the item is larger than 400 KB.
            AlreadyExists: the id is taken.
        """
        id_path = id_path or f"{kind.singular}_id"
        path = path or kind.singular
        key = parse_entity_id(entity_id, field=id_path)
        mark = changes.creation_mark(tenant, message, request_id, fixed=tuple(kind.codec.fixed))
        item = changes.created_item(kind, tenant, key, message, path=path, at=self._clock())
        put = Put(sort_key=kind.sort_key(key), item=item | mark, condition=ABSENT)
        name = kind.name(key)
        try:
            await self._table.write(tenant.partition, put)
        except ConditionFailed as error:
            if mark and error.existing and error.existing.get(CREATION) == mark[CREATION]:
                return kind.codec.decode(name, error.existing)
            raise AlreadyExists(name, field=id_path) from error
        except ItemTooLarge as error:
            raise changes.too_large(path) from error
        return kind.codec.decode(name, item)

    async def get(
        self, tenant: TenantContext, kind: Kind[M], *, name: str, path: str = "name"
    ) -> M:
        """The resource.

        Raises:
            InvalidArgument: the name is none of this kind.
            NotFound: it is not there.
        """
        sort_key = kind.sort_key(kind.parse_name(name, path=path))
        item = await self._table.get(tenant.partition, sort_key)
        if item is None:
            raise NotFound(name, field=path)
        return kind.codec.decode(name, item)

    async def list(self, tenant: TenantContext, kind: Kind[M], asked: Listing) -> Listed[M]:
        """A page of resources. It may be shorter than asked for, and empty, and not be the last.

        Raises:
            InvalidArgument: the order, the page size or the page token is none.
        """
        limit = page_size(asked.page_size, default=DEFAULT_PAGE, maximum=MAX_PAGE)
        order, descending = _order(asked.order_by)
        index, index_key = _index(tenant, kind, order, asked.filter_value)
        position = self._position(tenant, asked) if asked.page_token else None
        page = await self._table.query(
            tenant.partition,
            keys=Range(prefix=kind.prefix) if index is None else Range(),
            limit=limit,
            position=position,
            index=index,
            index_key=index_key,
            descending=descending,
        )
        return Listed(
            resources=[
                kind.codec.decode(kind.name_at(stored.sort_key), stored.item)
                for stored in page.items
                if is_visible(stored.item)
            ],
            next_page_token=self._page_token(tenant, asked, page.position),
        )

    async def update(
        self,
        tenant: TenantContext,
        kind: Kind[M],
        *,
        message: M,
        paths: Sequence[str],
        path: str = "",
        mask_path: str = "update_mask",
    ) -> M:
        """The resource as changed.

        Args:
            tenant: whose it is.
            kind: its kind.
            message: the new values, with the name and, where it must be the current one, the etag.
            paths: the mask's paths.
            path: the request field that holds the message, for errors; by default `campaign`.
            mask_path: the request field that holds the mask, for errors.

        Raises:
            InvalidArgument: the name, the mask or a field is out of order, or the item too large.
            NotFound: it is not there.
            Aborted: the etag is stale, or others keep changing it.
        """
        path = path or kind.singular
        name, etag = name_and_etag(message)
        key = kind.parse_name(name, path=f"{path}.name")
        mask = changes.mask_fields(kind.codec, message, paths, path=mask_path)
        for _ in range(ATTEMPTS):
            existing = await self._table.get(tenant.partition, kind.sort_key(key))
            if existing is None:
                raise NotFound(name, field=f"{path}.name")
            if etag and existing["etag"] != etag:
                raise etag_mismatch(name, field=f"{path}.etag")
            item = changes.changed_item(
                kind, tenant, key, existing, message, mask=mask, path=path, at=self._clock()
            )
            unchanged = Condition(exists=True, equals={"etag": existing["etag"]})
            put = Put(sort_key=kind.sort_key(key), item=item, condition=unchanged)
            try:
                await self._table.write(tenant.partition, put)
            except ConditionFailed:
                continue
            except ItemTooLarge as error:
                raise changes.too_large(path) from error
            return kind.codec.decode(name, item)
        raise contended(name)

    async def delete(
        self,
        tenant: TenantContext,
        kind: Kind[M],
        *,
        name: str,
        etag: str,
        path: str = "name",
        etag_path: str = "etag",
    ) -> None:
        """Deletes the resource.

        Raises:
            InvalidArgument: the name is none of this kind.
            NotFound: it is not there.
            Aborted: the etag is stale.
        """
        key = kind.parse_name(name, path=path)
        try:
            await self._table.write(tenant.partition, changes.deletion(kind, key, etag))
        except ConditionFailed as error:
            if error.existing is None:
                raise NotFound(name, field=path) from error
            raise etag_mismatch(name, field=etag_path) from error

    def _position(self, tenant: TenantContext, asked: Listing) -> bytes:
        return self._pages.open(
            asked.page_token, tenant_id=tenant.tenant_id, method=asked.method, query=asked.query
        )

    def _page_token(self, tenant: TenantContext, asked: Listing, position: bytes | None) -> str:
        if position is None:
            return ""
        return self._pages.seal(
            position, tenant_id=tenant.tenant_id, method=asked.method, query=asked.query
        )


def name_and_etag(message: Message) -> tuple[str, str]:
    """The name and the etag that every resource has."""
    return getattr(message, "name"), getattr(message, "etag")  # noqa: B009 - Message has none


def contended(name: str) -> Aborted:
    """The error for a resource that others keep changing."""
    return Aborted(
        "CONTENTION",
        f"{name} is being changed by others; try again",
        retry_after=0.1,
        metadata={"resource": name},
    )


def _order(order_by: str) -> tuple[str, bool]:
    order = _ORDERS.get(" ".join(order_by.split()))
    if order is None:
        raise InvalidArgument(
            "order_by", "must be id or create_time, with desc for the reverse order"
        )
    return order


def _index(
    tenant: TenantContext, kind: Kind[M], order: str, filter_value: str | int
) -> tuple[str | None, str]:
    """The index that serves a listing, and its key."""
    if filter_value and kind.filter is not None:
        name = kind.filter.attribute
        if name in kind.rules:
            kind.rules[name](filter_value, name)
        value = kind.codec.attribute(name, filter_value, path=name)
        index_key = kind.filter_key(tenant.partition, str(value))
        return ("GSI1" if order == _BY_ID else "GSI3"), index_key
    if order == _BY_TIME:
        return "GSI2", tenant.partition.index_key(kind.entity)
    return None, ""
