"""Several entities at once: batch reads, batches of writes each for itself, transactions.

A caller needs the permission of every kind that the request touches, whatever becomes of the rest; it is
asked for before anything else of the request is looked at in depth.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from boundary.context import TenantContext
from boundary.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    SiloError,
    etag_mismatch,
)
from boundary.ids import EntityId
from services.data import changes
from services.data.changes import Clock
from services.data.operations import ATTEMPTS, Entities, contended, name_and_etag
from services.data.resources import BY_SINGULAR, TEMPLATES, Kind, is_visible, kind_of
from services.table.ports import (
    ABSENT,
    MAX_TRANSACTION,
    ConditionFailed,
    Item,
    ItemTooLarge,
    Put,
    Table,
    TransactionTooLarge,
)
from services.table.ports import Write as TableWrite
from silo.data.v1.entity_pb2 import Entity, Write

_log = logging.getLogger(__name__)

MAX_READ_BYTES = 3 * 1024 * 1024
"""The most that a batch read returns: what a message of the suite carries, with room for framing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRead:
    """What a batch read found, in the order asked, and the names of what is not there."""

    entities: Sequence[Entity]
    missing: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """One write as asked for.

    Attributes:
        operation: `create`, `update` or `delete`.
        kind: of which kind.
        key: the entity's id.
        name: its resource name.
        path: the request field of the operation.
        body: the operation's message.
    """

    operation: str
    kind: Kind[Any]
    key: EntityId
    name: str
    path: str
    body: Any

    @property
    def message(self) -> Any:
        """The entity in the operation, which is no deletion."""
        return getattr(self.body.entity, self.kind.singular)

    @property
    def message_path(self) -> str:
        """The request field of the entity, for errors."""
        return f"{self.path}.entity.{self.kind.singular}"

    @property
    def name_path(self) -> str:
        """The request field of the name, for errors."""
        return f"{self.path}.name" if self.operation == "delete" else f"{self.message_path}.name"

    @property
    def etag(self) -> str:
        """The etag that must be the current one; empty where any will do."""
        if self.operation == "create":
            return ""
        return str(self.body.etag if self.operation == "delete" else self.message.etag)

    @property
    def etag_path(self) -> str:
        """The request field of the etag, for errors."""
        return f"{self.path}.etag" if self.operation == "delete" else f"{self.message_path}.etag"

    @property
    def sort_key(self) -> str:
        """Where the entity stands."""
        return self.kind.sort_key(self.key)


class Batches:
    """Work on several entities of a tenant at once."""

    def __init__(self, *, table: Table, entities: Entities, clock: Clock = changes.now) -> None:
        self._table = table
        self._entities = entities
        self._clock = clock

    async def read(self, tenant: TenantContext, names: Sequence[str]) -> BatchRead:
        """The entities of these names.

        Raises:
            InvalidArgument: there are none or too many names, or one is out of grammar or named twice.
            PermissionDenied: the caller may not read one of the kinds.
            ResourceExhausted: together they are larger than a message carries.
        """
        _require_count(len(names), "names")
        asked = [kind_of(name, path=f"names[{index}]") for index, name in enumerate(names)]
        _require_permissions(tenant, [kind for kind, _ in asked], "read")
        _require_distinct(names, "names[{}]")
        keys = [kind.sort_key(key) for kind, key in asked]
        items = await self._table.batch_get(tenant.partition, keys)
        found: list[Entity] = []
        missing: list[str] = []
        size = 0
        for (kind, _), name, key in zip(asked, names, keys, strict=True):
            item = items.get(key)
            if item is None or not is_visible(item):
                missing.append(name)
                continue
            entity = _entity(kind, name, item)
            size += entity.ByteSize()
            if size > MAX_READ_BYTES:
                raise ResourceExhausted(
                    "RESPONSE_TOO_LARGE", "the entities are larger than 3 MiB; ask for fewer"
                )
            found.append(entity)
        return BatchRead(entities=found, missing=missing)

    async def write(
        self, tenant: TenantContext, writes: Sequence[Write]
    ) -> Sequence[Entity | SiloError]:
        """Makes writes, each for itself; what each one wrote (empty for a deletion) or why not.

        Raises:
            InvalidArgument: there are none or too many writes, or one names no entity of a kind that is
                written here, or one that another write names.
            PermissionDenied: the caller may not write one of the kinds.
        """
        asked = _parse(tenant, writes)
        return await asyncio.gather(*(self._write_one(tenant, each) for each in asked))

    async def transact(self, tenant: TenantContext, writes: Sequence[Write]) -> Sequence[Entity]:
        """Makes writes, all or none; the entities as written, empty for a deletion.

        Raises:
            InvalidArgument: as for `write`, or a field breaks its rule, or an item is too large.
            PermissionDenied: the caller may not write one of the kinds.
            AlreadyExists, NotFound, Aborted: a write's own condition does not hold.
        """
        asked = _parse(tenant, writes)
        for _ in range(ATTEMPTS):
            existing = await self._existing(tenant, asked)
            prepared = [self._prepare(tenant, each, existing) for each in asked]
            try:
                await self._table.transact([(tenant.partition, write) for write in prepared])
            except ConditionFailed as error:
                refusal = _refusal(asked[error.index], error.existing)
                if refusal is not None:
                    raise refusal from error
                continue
            except ItemTooLarge as error:
                raise changes.too_large(asked[error.index].message_path) from error
            except TransactionTooLarge as error:
                raise InvalidArgument(
                    "writes", "are larger than 4 MB as items", reason="TRANSACTION_TOO_LARGE"
                ) from error
            return [
                _entity(each.kind, each.name, write.item) if isinstance(write, Put) else Entity()
                for each, write in zip(asked, prepared, strict=True)
            ]
        raise contended("an entity of the transaction")

    async def _write_one(self, tenant: TenantContext, asked: _Asked) -> Entity | SiloError:
        try:
            return await self._apply(tenant, asked)
        except SiloError as error:
            return error
        except Exception:  # noqa: BLE001 - logged, and told as INTERNAL
            # The other writes are made or not made whatever becomes of this one.
            _log.exception("a write of a batch failed")
            return Internal()

    async def _apply(self, tenant: TenantContext, asked: _Asked) -> Entity:
        if asked.operation == "delete":
            await self._entities.delete(
                tenant,
                asked.kind,
                name=asked.name,
                etag=asked.etag,
                path=asked.name_path,
                etag_path=asked.etag_path,
            )
            return Entity()
        if asked.operation == "create":
            written = await self._entities.create(
                tenant,
                asked.kind,
                entity_id=asked.key,
                message=asked.message,
                id_path=asked.name_path,
                path=asked.message_path,
            )
        else:
            written = await self._entities.update(
                tenant,
                asked.kind,
                message=asked.message,
                paths=asked.body.update_mask.paths,
                path=asked.message_path,
                mask_path=f"{asked.path}.update_mask",
            )
        return Entity(**{asked.kind.singular: written})

    async def _existing(self, tenant: TenantContext, asked: Sequence[_Asked]) -> Mapping[str, Item]:
        keys = [each.sort_key for each in asked if each.operation == "update"]
        return await self._table.batch_get(tenant.partition, keys) if keys else {}

    def _prepare(
        self, tenant: TenantContext, asked: _Asked, existing: Mapping[str, Item]
    ) -> TableWrite:
        """The write of the table that does what was asked, given the items as they are."""
        at = self._clock()
        if asked.operation == "delete":
            return changes.deletion(asked.kind, asked.key, asked.etag)
        if asked.operation == "create":
            item = changes.created_item(
                asked.kind, tenant, asked.key, asked.message, path=asked.message_path, at=at
            )
            return Put(sort_key=asked.sort_key, item=item, condition=ABSENT)
        before = existing.get(asked.sort_key)
        refusal = _refusal(asked, before)
        if before is None or refusal is not None:
            raise refusal or NotFound(asked.name, field=asked.name_path)
        mask = changes.mask_fields(
            asked.kind.codec,
            asked.message,
            asked.body.update_mask.paths,
            path=f"{asked.path}.update_mask",
        )
        item = changes.changed_item(
            asked.kind,
            tenant,
            asked.key,
            before,
            asked.message,
            mask=mask,
            path=asked.message_path,
            at=at,
        )
        return Put(
            sort_key=asked.sort_key, item=item, condition=changes.current(str(before["etag"]))
        )


def _refusal(asked: _Asked, existing: Item | None) -> SiloError | None:
    """Why a write cannot be made over what is there; None where it could, tried again."""
    if asked.operation == "create":
        return None if existing is None else AlreadyExists(asked.name, field=asked.name_path)
    if existing is None:
        return NotFound(asked.name, field=asked.name_path)
    if asked.etag and existing["etag"] != asked.etag:
        return etag_mismatch(asked.name, field=asked.etag_path)
    return None


def _parse(tenant: TenantContext, writes: Sequence[Write]) -> list[_Asked]:
    _require_count(len(writes), "writes")
    asked = [_parse_one(write, f"writes[{index}]") for index, write in enumerate(writes)]
    _require_permissions(tenant, [each.kind for each in asked], "write")
    for each in asked:
        if each.kind is TEMPLATES:
            raise InvalidArgument(
                each.path,
                "templates are written by TemplateService, which keeps their content with them",
                reason="KIND_NOT_WRITABLE",
            )
    _require_distinct([each.name for each in asked], "writes[{}]")
    return asked


def _parse_one(write: Write, path: str) -> _Asked:
    operation = write.WhichOneof("operation")
    if operation is None:
        raise InvalidArgument(path, "must create, update or delete", reason="REQUIRED_FIELD")
    path = f"{path}.{operation}"
    body: Any = getattr(write, operation)
    if operation == "delete":
        kind, key = kind_of(body.name, path=f"{path}.name")
        return _Asked(operation=operation, kind=kind, key=key, name=body.name, path=path, body=body)
    singular = body.entity.WhichOneof("entity")
    if singular is None:
        raise InvalidArgument(f"{path}.entity", "is required", reason="REQUIRED_FIELD")
    kind = BY_SINGULAR[singular]
    name, _ = name_and_etag(getattr(body.entity, singular))
    key = kind.parse_name(name, path=f"{path}.entity.{singular}.name")
    return _Asked(operation=operation, kind=kind, key=key, name=name, path=path, body=body)


def _entity(kind: Kind[Any], name: str, item: Item) -> Entity:
    return Entity(**{kind.singular: kind.codec.decode(name, item)})


def _require_count(count: int, path: str) -> None:
    if not 1 <= count <= MAX_TRANSACTION:
        raise InvalidArgument(path, f"must hold 1 to {MAX_TRANSACTION}")


def _require_permissions(tenant: TenantContext, kinds: Sequence[Kind[Any]], action: str) -> None:
    for collection in dict.fromkeys(kind.collection for kind in kinds):
        tenant.require(f"{collection}.{action}")


def _require_distinct(names: Sequence[str], path: str) -> None:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            raise InvalidArgument(path.format(index), "names an entity that an earlier one names")
        seen.add(name)
