"""Writes of templates that lost their lease before they were finished.

The lease outlasts the upload, so that this takes a process that stood still in between. Its content may
then lie over what others have written since, or beside no record at all.
"""

from __future__ import annotations

import logging

from boundary.context import TenantContext
from boundary.ids import EntityId
from services.data import changes
from services.data.changes import CREATION
from services.data.intents import Intent, Intents, LeaseLost, intent_of, unchanged
from services.data.operations import contended
from services.data.ports import TemplateContent
from services.data.resources import TEMPLATES
from services.table.ports import ABSENT, ConditionFailed, Item, Put, Table

_log = logging.getLogger(__name__)


class LateWrites:
    """Tells whether others finished such a write, and else makes good for it."""

    def __init__(self, *, table: Table, content: TemplateContent, intents: Intents) -> None:
        self._table = table
        self._content = content
        self._intents = intents

    async def settle(
        self, tenant: TenantContext, key: EntityId, intent: Intent, existing: Item | None
    ) -> Item:
        """The record where the one who took over finished this write; else makes good for it.

        Args:
            tenant: whose template it is.
            key: its id.
            intent: the write.
            existing: the record as it is, or None where there is none.

        Raises:
            Aborted: the write was not made.
        """
        if existing is not None and existing.get("etag") == intent.after["etag"]:
            return existing
        mark = intent.after.get(CREATION) if intent.kind == "create" else None
        if existing is not None and mark is not None and existing.get(CREATION) == mark:
            return existing  # a retry of the same request came through
        await self._compensate(tenant, key, intent, existing)
        raise contended(TEMPLATES.name(key))

    async def _compensate(
        self, tenant: TenantContext, key: EntityId, intent: Intent, existing: Item | None
    ) -> None:
        """Makes record and content agree again after content was written without a lease."""
        stat = await self._content.stat(tenant, key)
        if stat is None or stat.sha256 != intent.sha256:
            return
        try:
            if existing is None:
                cleanup = self._intents.new("delete")
                await self._intents.begin(tenant, key, cleanup, before=None, condition=ABSENT)
                await self._content.delete(tenant, key)
                await self._intents.finish(tenant, key, cleanup)
            elif intent_of(existing) is None and existing["content_sha256"] != stat.sha256:
                # The record's own content is overwritten: it says what is there now.
                described: Item = {"content_sha256": stat.sha256, "content_size": stat.size}
                item = {**existing, **described, "etag": changes.new_etag()}
                put = Put(
                    sort_key=TEMPLATES.sort_key(key), item=item, condition=unchanged(existing)
                )
                await self._table.write(tenant.partition, put)
        except (ConditionFailed, LeaseLost):
            _log.warning("a template changed while content was made good")
