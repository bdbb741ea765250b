"""What a creation, a change or a deletion of a resource makes of its item.

These decide and validate and touch no table; single writes, batches, transactions and templates share
them.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf.message import Message

from boundary import masks
from boundary.context import TenantContext
from boundary.errors import InvalidArgument
from boundary.ids import EntityId, parse_request_id
from services.data.codec import Codec
from services.data.resources import Kind
from services.table.ports import MAX_ITEM_BYTES, Condition, Delete, Item

M = TypeVar("M", bound=Message)
Clock = Callable[[], int]
"""Nanoseconds since the epoch."""

CREATION = "creation"
"""The attribute that holds which request created an item."""

_MAX_MESSAGE_BYTES = 3 * MAX_ITEM_BYTES
"""No message this large fits an item: map entries, which shrink the most, do so to three eighths."""


def now() -> int:
    """The time, in nanoseconds since the epoch."""
    return time.time_ns()


def new_etag() -> str:
    """An etag that no earlier state had, so that one of a deleted namesake never matches."""
    return secrets.token_hex(8)


def requester(tenant: TenantContext) -> str:
    """Who asks, as a digest: request ids of different principals have nothing to do with each other."""
    identity = f"{tenant.issuer}\0{tenant.principal}"
    return hashlib.sha256(identity.encode()).hexdigest()[:32]


def creation_mark(
    tenant: TenantContext,
    message: Message,
    request_id: str,
    *,
    fixed: Sequence[str],
    more: str = "",
) -> Item:
    """What tells a retry of a creation from another one (AIP-155): who, which request, which content.

    Args:
        tenant: whose call it is.
        message: the resource as asked for.
        request_id: the request's id; empty where it has none, and then there is no mark.
        fixed: the fields of the message that a creation passes over.
        more: what else the request holds.

    Raises:
        InvalidArgument: the request id is out of grammar.
    """
    if not request_id:
        return {}
    parse_request_id(request_id)
    content = type(message)()
    content.CopyFrom(message)
    for name in fixed:
        content.ClearField(name)
    digest = hashlib.sha256(content.SerializeToString(deterministic=True) + more.encode())
    return {
        CREATION: {
            "requester": requester(tenant),
            "request_id": request_id,
            "digest": digest.hexdigest(),
        }
    }


def created_item(
    kind: Kind[M], tenant: TenantContext, entity_id: EntityId, message: M, *, path: str, at: int
) -> Item:
    """The item of a new resource.

    Raises:
        InvalidArgument: a field breaks its rule.
    """
    _require_size(message, path)
    for name, rule in kind.rules.items():
        rule(getattr(message, name), f"{path}.{name}")
    item = {**kind.defaults, **kind.codec.encode(message, path=path), "create_time": at}
    return finished_item(kind, tenant, entity_id, item, at=at)


def changed_item(
    kind: Kind[M],
    tenant: TenantContext,
    entity_id: EntityId,
    existing: Item,
    message: M,
    *,
    mask: Sequence[str],
    path: str,
    at: int,
) -> Item:
    """The item of a changed resource.

    Args:
        kind: the resource's kind.
        tenant: whose it is.
        entity_id: its id.
        existing: its item as it is.
        message: the new values.
        mask: the fields to change, from `mask_fields`.
        path: the request field that holds the message, for errors.
        at: the time of the change.

    Raises:
        InvalidArgument: a field breaks its rule.
    """
    _require_size(message, path)
    for name in mask:
        rule = kind.rules.get(name)
        if rule is not None:
            rule(getattr(message, name), f"{path}.{name}")
    kept = {name: value for name, value in existing.items() if name not in mask}
    item = {**kind.defaults, **kept, **kind.codec.encode(message, path=path, fields=mask)}
    return finished_item(kind, tenant, entity_id, item, at=at)


def mask_fields(
    codec: Codec[M], message: M, paths: Sequence[str], *, path: str = "update_mask"
) -> tuple[str, ...]:
    """The fields that an update changes (AIP-134).

    Args:
        codec: the resource's codec.
        message: the new values.
        paths: the mask's paths: every populated settable field where empty, every settable one for `*`.
        path: the request field that holds the mask, for errors.

    Raises:
        InvalidArgument: a path names no field, or one that callers do not set.
    """
    return masks.mask_fields(
        paths,
        settable=codec.settable,
        populated=codec.populated(message),
        fixed=codec.fixed,
        path=path,
    )


def deletion(kind: Kind[M], entity_id: EntityId, etag: str) -> Delete:
    """The write that deletes a resource; an etag, where set, must be the current one."""
    return Delete(sort_key=kind.sort_key(entity_id), condition=current(etag))


def current(etag: str) -> Condition:
    """That there is an item, with this etag where it is not empty."""
    return Condition(exists=True, equals={"etag": etag} if etag else {})


def too_large(path: str) -> InvalidArgument:
    """The error for an item that the table does not hold."""
    return InvalidArgument(path, "is larger than 400 KB as an item", reason="ITEM_TOO_LARGE")


def _require_size(message: Message, path: str) -> None:
    """Spares a walk through a message that no item can hold."""
    if message.ByteSize() > _MAX_MESSAGE_BYTES:
        raise too_large(path)


def finished_item(
    kind: Kind[M], tenant: TenantContext, entity_id: EntityId, item: Item, *, at: int
) -> Item:
    """The item as changed, with what follows from its attributes: time, etag, counts, index entries."""
    item["update_time"] = at
    item["etag"] = new_etag()
    item.pop("recipient_count", None)
    item |= kind.derived(item)
    return item | kind.index_entries(tenant.partition, entity_id, item)
