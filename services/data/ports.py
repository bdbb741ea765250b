"""What data needs of the outside: the table, and the content of templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from boundary.context import TenantContext
from boundary.ids import EntityId
from services.table.ports import Table

__all__ = ["CONTENT_SECONDS", "Content", "ContentStat", "Table", "TemplateContent", "content_path"]

CONTENT_SECONDS = 10.0
"""How long one call of TemplateContent takes at the most; what began earlier has ended by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentStat:
    """Content without its bytes: the SHA-256 in lower-case hexadecimal and the size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Content, and its SHA-256 in lower-case hexadecimal."""

    data: bytes
    sha256: str


class TemplateContent(Protocol):
    """The objects that hold templates' content, in the tenant's own part of the bucket.

    Every call may raise boundary.errors.Unavailable, and then it may have been done or not, or another
    SiloError, and then it was not done.
    """

    async def put(
        self, tenant: TenantContext, template_id: EntityId, data: bytes, *, sha256: str
    ) -> None:
        """Stores content, in place of what is there; whole or not at all.

        Raises:
            ResourceExhausted: the tenant's or the engine's room is used up.
        """

    async def read(self, tenant: TenantContext, template_id: EntityId) -> Content | None:
        """The content, or None where there is none."""

    async def stat(self, tenant: TenantContext, template_id: EntityId) -> ContentStat | None:
        """What is there without its bytes, or None where there is nothing."""

    async def delete(self, tenant: TenantContext, template_id: EntityId) -> None:
        """Deletes the content; content that is not there is no failure."""


def content_path(template_id: EntityId) -> str:
    """The object's path below the tenant's prefix (domain spec, folder structure)."""
    return f"templates/html/{template_id}.html"
