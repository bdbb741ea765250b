"""Templates: a record in the table and content in the object store, kept together by intents."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from boundary.context import TenantContext
from boundary.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    SiloError,
    Unavailable,
    etag_mismatch,
)
from boundary.ids import EntityId, parse_entity_id
from services.data import changes
from services.data.changes import CREATION, Clock
from services.data.intents import (
    TOKEN,
    Intent,
    Intents,
    LeaseLost,
    intent_of,
    unchanged,
    without_intent,
)
from services.data.late_writes import LateWrites
from services.data.operations import ATTEMPTS, contended
from services.data.ports import Content, TemplateContent, content_path
from services.data.resources import TEMPLATES, is_visible
from services.table.ports import ABSENT, Condition, ConditionFailed, Item, ItemTooLarge, Put, Table
from silo.data.v1.template_pb2 import Template

_log = logging.getLogger(__name__)

MAX_CONTENT_BYTES = 2 * 1024 * 1024

_PATH = "template"
_UNCERTAIN = (Unavailable, DeadlineExceeded, Internal)
"""After these, content may have been written or not."""


class Templates:
    """Templates of tenants. Listing them is `operations.Entities.list`."""

    def __init__(
        self,
        *,
        table: Table,
        content: TemplateContent,
        intents: Intents,
        clock: Clock = changes.now,
    ) -> None:
        self._table = table
        self._content = content
        self._intents = intents
        self._late = LateWrites(table=table, content=content, intents=intents)
        self._clock = clock

    async def create(
        self,
        tenant: TenantContext,
        *,
        template_id: str,
        message: Template,
        content: bytes,
        request_id: str = "",
    ) -> Template:
        """The template as created, or as it is where this very request had created it before.

        Raises:
            InvalidArgument: a field breaks its rule, or the content is missing or too large.
            AlreadyExists: the id is taken.
            Aborted: another write of the same template is under way.
        """
        key = parse_entity_id(template_id, field="template_id")
        described = _content_attributes(key, content)
        mark = changes.creation_mark(
            tenant,
            message,
            request_id,
            fixed=tuple(TEMPLATES.codec.fixed),
            more=str(described["content_sha256"]),
        )
        item = changes.created_item(TEMPLATES, tenant, key, message, path=_PATH, at=self._clock())
        intent = self._intents.new(
            "create", sha256=str(described["content_sha256"]), after=item | described | mark
        )
        existing = await self._begin_creation(tenant, key, intent, mark)
        if existing is not None:
            return _template(key, existing)
        return await self._write(tenant, key, intent, content, before=None)

    async def get(self, tenant: TenantContext, *, name: str) -> Template:
        """The template.

        Raises:
            InvalidArgument: the name is no template's.
            NotFound: it is not there.
        """
        key = TEMPLATES.parse_name(name, path="name")
        return _template(key, await self._visible(tenant, key, path="name"))

    async def read_content(self, tenant: TenantContext, *, name: str) -> Content:
        """The template's content, with the SHA-256 of just these bytes.

        Raises:
            InvalidArgument: the name is no template's.
            NotFound: it is not there.
            FailedPrecondition: the object was deleted or changed in the object store by itself.
        """
        key = TEMPLATES.parse_name(name, path="name")
        item = await self._visible(tenant, key, path="name")
        content = await self._content.read(tenant, key)
        if content is None:
            raise FailedPrecondition(
                "CONTENT_MISSING", f"the object {content_path(key)} was deleted", field="name"
            )
        if content.sha256 != item["content_sha256"]:
            await self._require_own(tenant, key, content)
        return content

    async def _require_own(self, tenant: TenantContext, key: EntityId, content: Content) -> None:
        """Returns where content that is not the record's is that of a write under way, or just done.

        Whoever may write objects can write this one, too; what was not stored as the template's content is not
        served as that.
        """
        item = await self._visible(tenant, key, path="name")
        if intent_of(item) is None and item["content_sha256"] != content.sha256:
            raise FailedPrecondition(
                "CONTENT_CHANGED",
                f"the object {content_path(key)} was changed by itself; store the content again",
                field="name",
            )

    async def update(
        self,
        tenant: TenantContext,
        *,
        message: Template,
        paths: Sequence[str],
        content: bytes | None,
    ) -> Template:
        """The template as changed.

        Args:
            tenant: whose it is.
            message: the new values, with the name and, where it must be the current one, the etag.
            paths: the mask's paths.
            content: the new content, or None where it stays.

        Raises:
            InvalidArgument: the name, the mask or a field is out of order, or the content too large.
            NotFound: it is not there.
            Aborted: the etag is stale, or another write of the same template is under way.
        """
        key = TEMPLATES.parse_name(message.name, path=f"{_PATH}.name")
        mask = changes.mask_fields(TEMPLATES.codec, message, paths)
        described = {} if content is None else _content_attributes(key, content)
        for _ in range(ATTEMPTS):
            before = await self._writable(
                tenant, key, message.etag, path=f"{_PATH}.name", etag_path=f"{_PATH}.etag"
            )
            after = changes.changed_item(
                TEMPLATES, tenant, key, before, message, mask=mask, path=_PATH, at=self._clock()
            )
            after |= described
            intent = self._intents.new("update", sha256=str(after["content_sha256"]), after=after)
            try:
                if content is None:
                    put = Put(
                        sort_key=TEMPLATES.sort_key(key), item=after, condition=unchanged(before)
                    )
                    await self._table.write(tenant.partition, put)
                    return _template(key, after)
                await self._intents.begin(
                    tenant, key, intent, before=before, condition=unchanged(before)
                )
            except ConditionFailed:
                continue
            except ItemTooLarge as error:
                raise changes.too_large(_PATH) from error
            return await self._write(tenant, key, intent, content, before=before)
        raise contended(message.name)

    async def delete(self, tenant: TenantContext, *, name: str, etag: str) -> None:
        """Deletes the template and its content.

        From the moment that the intent is stored the template is gone for callers, and it stays gone
        even where the content cannot be deleted at present: then that is done later.

        Raises:
            InvalidArgument: the name is no template's.
            NotFound: it is not there.
            Aborted: the etag is stale, or another write of the same template is under way.
        """
        key = TEMPLATES.parse_name(name, path="name")
        for _ in range(ATTEMPTS):
            before = await self._writable(tenant, key, etag, path="name", etag_path="etag")
            intent = self._intents.new("delete")
            try:
                await self._intents.begin(
                    tenant, key, intent, before=before, condition=unchanged(before)
                )
            except ConditionFailed:
                continue
            await self._content.delete(tenant, key)
            try:
                await self._intents.finish(tenant, key, intent)
            except LeaseLost:
                _log.info("a deletion of a template was finished by another")
            return
        raise contended(name)

    async def _begin_creation(
        self, tenant: TenantContext, key: EntityId, intent: Intent, mark: Item
    ) -> Item | None:
        """Stores the intent of a creation; the record where this request had made it before."""
        name = TEMPLATES.name(key)
        condition = ABSENT
        for _ in range(ATTEMPTS):
            try:
                await self._intents.begin(tenant, key, intent, before=None, condition=condition)
            except ItemTooLarge as error:
                raise changes.too_large(_PATH) from error
            except ConditionFailed as error:
                existing = error.existing
            else:
                return None
            condition = ABSENT
            if existing is None:
                continue
            pending = intent_of(existing)
            if is_visible(existing):
                if mark and existing.get(CREATION) == mark[CREATION]:
                    return existing
                raise AlreadyExists(name, field="template_id")
            if mark and pending is not None and pending.after.get(CREATION) == mark.get(CREATION):
                # A retry of the same request writes the same content, so it need not wait.
                condition = Condition(exists=True, equals={TOKEN: pending.token})
            elif pending is not None and not self._intents.expired(pending):
                raise _in_progress(name)
            else:
                await self._intents.resolve(tenant, key, existing)
        raise contended(name)

    async def _write(
        self,
        tenant: TenantContext,
        key: EntityId,
        intent: Intent,
        content: bytes,
        *,
        before: Item | None,
    ) -> Template:
        """Stores the content and finishes the intent."""
        name = TEMPLATES.name(key)
        if not self._intents.outlasts_content(intent):
            await self._withdraw(tenant, key, intent, before)
            raise contended(name)
        try:
            await self._content.put(tenant, key, content, sha256=intent.sha256)
        except _UNCERTAIN:
            raise  # the intent stays, and what became of the content is asked when its lease is over
        except SiloError:
            await self._withdraw(tenant, key, intent, before)
            raise
        try:
            await self._intents.finish(tenant, key, intent)
        except LeaseLost as error:
            existing = await self._late.settle(tenant, key, intent, error.existing)
            return _template(key, existing)
        return _template(key, intent.after)

    async def _withdraw(
        self, tenant: TenantContext, key: EntityId, intent: Intent, before: Item | None
    ) -> None:
        """Takes an intent back whose content was refused, as far as that can be done now."""
        try:
            await self._intents.roll_back(tenant, key, intent, before)
        except (LeaseLost, SiloError) as error:
            _log.warning("an intent is left to recovery: %s", error)

    async def _settled(self, tenant: TenantContext, key: EntityId) -> Item | None:
        """The record, after an intent in it whose lease is over was resolved."""
        sort_key = TEMPLATES.sort_key(key)
        item = await self._table.get(tenant.partition, sort_key)
        if item is None:
            return None
        intent = intent_of(item)
        if intent is None or not self._intents.expired(intent):
            return item
        await self._intents.resolve(tenant, key, item)
        return await self._table.get(tenant.partition, sort_key)

    async def _visible(self, tenant: TenantContext, key: EntityId, *, path: str) -> Item:
        item = await self._settled(tenant, key)
        if item is None or not is_visible(item):
            raise NotFound(TEMPLATES.name(key), field=path)
        return item

    async def _writable(
        self, tenant: TenantContext, key: EntityId, etag: str, *, path: str, etag_path: str
    ) -> Item:
        """The record, no write of it being under way.

        Raises:
            NotFound, Aborted: as for a change of it.
        """
        item = await self._visible(tenant, key, path=path)
        if intent_of(item) is not None:
            raise _in_progress(TEMPLATES.name(key))
        if etag and item["etag"] != etag:
            raise etag_mismatch(TEMPLATES.name(key), field=etag_path)
        return item


def _template(key: EntityId, item: Item) -> Template:
    return TEMPLATES.codec.decode(TEMPLATES.name(key), without_intent(item))


def _content_attributes(key: EntityId, content: bytes) -> Item:
    """What a record says about its content.

    Raises:
        InvalidArgument: the content is missing or too large.
    """
    if not content:
        raise InvalidArgument("content", "is required", reason="REQUIRED_FIELD")
    if len(content) > MAX_CONTENT_BYTES:
        raise InvalidArgument("content", "must be up to 2 MiB", reason="CONTENT_TOO_LARGE")
    return {
        "content_path": content_path(key),
        "content_size": len(content),
        "content_sha256": hashlib.sha256(content).hexdigest(),
    }


def _in_progress(name: str) -> Aborted:
    return Aborted(
        "WRITE_IN_PROGRESS",
        f"another write of {name} is under way; try again",
        retry_after=1.0,
        metadata={"resource": name},
    )
