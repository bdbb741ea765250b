"""What the storage service decides: which requests are in order, and what they mean for the bucket."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from boundary.context import TenantContext
from boundary.errors import InvalidArgument, NotFound, ResourceExhausted
from boundary.pages import PageSealer, page_size
from services.storage.attributes import (
    parse_content_type,
    parse_download_name,
    parse_etag,
    parse_metadata,
    parse_sha256,
)
from services.storage.backups import require_read, require_write, require_write_under
from services.storage.paths import parse_path, parse_prefix
from services.storage.ports import (
    MAX_LISTED,
    MAX_OBJECT_BYTES,
    Content,
    Listing,
    Objects,
    Span,
    StoredObject,
    Upload,
)
from services.storage.presign import GET, PUT, Grant, UrlSigner

DEFAULT_PAGE = 100
DELIMITER = "/"
MAX_URL_SECONDS = 3600
DEFAULT_URL_SECONDS = 900
LIST = "silo.storage.v1.ObjectService/ListObjects"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedUrl:
    """A signed URL.

    Attributes:
        url: the URL.
        url_id: what it is called in the audit trail.
        headers: what must be sent with it.
        expires_at: when it ends, in seconds since the epoch.
    """

    url: str
    url_id: str
    headers: Mapping[str, str]
    expires_at: int


class ObjectOperations:
    """The operations on a tenant's objects. Each raises boundary errors, besides what it names the port's.

    Below `backups/` a permission of its own is needed besides (backups.py), and asked for before the rest of the
    request is looked at.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        pages: PageSealer,
        signer: UrlSigner,
        max_object_bytes: int = MAX_OBJECT_BYTES,
    ) -> None:
        """Takes the parts.

        Args:
            max_object_bytes: the largest object of a tenant that has no limit of its own.
        """
        self._objects = objects
        self._pages = pages
        self._signer = signer
        self._max_object_bytes = max_object_bytes

    async def upload(
        self,
        tenant: TenantContext,
        path: str,
        content: AsyncIterator[bytes],
        upload: Upload,
        *,
        field: str = "spec",
        max_bytes: int = 0,
    ) -> StoredObject:
        """Stores an object.

        Args:
            field: the request field that holds path and upload, for errors.
            max_bytes: the largest content, or 0 for the tenant's limit; the smaller of the two holds.

        Raises:
            ResourceExhausted: the content is larger than that (`OBJECT_TOO_LARGE`).
        """
        path = parse_path(path, field=f"{field}.path")
        require_write(tenant, path)
        upload = replace(
            upload,
            content_type=parse_content_type(upload.content_type, field=f"{field}.content_type"),
            metadata=parse_metadata(upload.metadata, field=f"{field}.metadata"),
            sha256=parse_sha256(upload.sha256, field=f"{field}.sha256"),
            if_match=parse_etag(upload.if_match, field=f"{field}.if_match"),
        )
        if upload.create_only and upload.if_match:
            raise InvalidArgument(f"{field}.if_match", "contradicts create_only")
        bounded = _bounded(content, self.limit(tenant, max_bytes))
        return await self._objects.put(tenant.objects, path, bounded, upload)

    async def download(
        self, tenant: TenantContext, path: str, *, span: Span, if_match: str
    ) -> Content:
        """The content of an object or of a range of it."""
        path = parse_path(path, field="path")
        require_read(tenant, path)
        if span.length < 0:
            raise InvalidArgument("length", "must not be negative")
        etag = parse_etag(if_match, field="if_match")
        return await self._objects.get(tenant.objects, path, span=span, if_match=etag)

    async def get(self, tenant: TenantContext, path: str) -> StoredObject:
        """The object without its content.

        Raises:
            NotFound: there is none.
        """
        path = parse_path(path, field="path")
        require_read(tenant, path)
        stored = await self._objects.head(tenant.objects, path)
        if stored is None:
            raise NotFound(path, field="path")
        return stored

    async def list(
        self,
        tenant: TenantContext,
        *,
        prefix: str,
        delimiter: str,
        size: int,
        token: str,
        query: bytes,
    ) -> tuple[Listing, str]:
        """A page of objects and folders, and the token that asks for the next one, or an empty one.

        Args:
            query: the request without its page fields, which the token is bound to.
        """
        under = parse_prefix(prefix, field="prefix")
        if delimiter not in ("", DELIMITER):
            raise InvalidArgument("delimiter", "must be '/' or empty")
        limit = page_size(size, default=DEFAULT_PAGE, maximum=MAX_LISTED)
        position = None
        if token:
            position = self._pages.open(token, tenant_id=tenant.tenant_id, method=LIST, query=query)
        page = await self._objects.list(
            tenant.objects, under=under, folded=bool(delimiter), limit=limit, position=position
        )
        if page.position is None:
            return page, ""
        return page, self._pages.seal(
            page.position, tenant_id=tenant.tenant_id, method=LIST, query=query
        )

    async def copy(
        self,
        tenant: TenantContext,
        source: str,
        destination: str,
        *,
        source_if_match: str,
        create_only: bool,
    ) -> StoredObject:
        """Copies an object within the tenant. Whoever copies reads: the answer tells what the source is."""
        tenant.require("objects.read")
        source = parse_path(source, field="source_path")
        destination = parse_path(destination, field="destination_path")
        require_read(tenant, source)
        require_write(tenant, destination)
        return await self._objects.copy(
            tenant.objects,
            source,
            destination,
            source_if_match=parse_etag(source_if_match, field="source_if_match"),
            create_only=create_only,
        )

    async def delete(self, tenant: TenantContext, path: str, *, if_match: str) -> None:
        """Deletes an object."""
        path = parse_path(path, field="path")
        require_write(tenant, path)
        etag = parse_etag(if_match, field="if_match")
        await self._objects.delete(tenant.objects, path, if_match=etag)

    async def delete_under(
        self, tenant: TenantContext, prefix: str, *, everything: bool
    ) -> tuple[int, bool]:
        """Deletes up to MAX_LISTED objects under a prefix: how many there were, and whether some are left."""
        under = parse_prefix(prefix, field="prefix")
        if everything and under:
            raise InvalidArgument("prefix", "must be empty where all is set")
        if not everything and not under:
            raise InvalidArgument("prefix", "must not be empty; to delete every object, set all")
        require_write_under(tenant, under)
        page = await self._objects.list(tenant.objects, under=under, folded=False, limit=MAX_LISTED)
        paths = [stored.path for stored in page.objects]
        deleted = await self._objects.delete_many(tenant.objects, paths) if paths else 0
        return deleted, page.position is not None

    def sign_upload(
        self,
        tenant: TenantContext,
        path: str,
        *,
        ttl: float | None,
        content_type: str,
        max_bytes: int,
        create_only: bool,
    ) -> SignedUrl:
        """A URL with which anyone can PUT the object.

        Args:
            ttl: seconds that the URL works for; DEFAULT_URL_SECONDS where None.
        """
        path = parse_path(path, field="path")
        require_write(tenant, path)
        if not 0 <= max_bytes <= MAX_OBJECT_BYTES:
            raise InvalidArgument("max_bytes", f"must be 0 to {MAX_OBJECT_BYTES}")
        if content_type:
            content_type = parse_content_type(content_type, field="content_type")
        grant = Grant(
            method=PUT,
            tenant_id=tenant.tenant_id,
            bucket=tenant.objects.bucket,
            key=tenant.objects.key(path),
            expires_at=_expiry(ttl),
            url_id=secrets.token_hex(12),
            content_type=content_type,
            max_bytes=max_bytes,
            create_only=create_only,
        )
        headers = {"Content-Type": content_type} if content_type else {}
        return self._signed(grant, headers)

    def sign_download(
        self,
        tenant: TenantContext,
        path: str,
        *,
        ttl: float | None,
        download_name: str,
    ) -> SignedUrl:
        """A URL with which anyone can GET the object, which need not be there yet.

        Args:
            ttl: seconds that the URL works for; DEFAULT_URL_SECONDS where None.
        """
        path = parse_path(path, field="path")
        require_read(tenant, path)
        grant = Grant(
            method=GET,
            tenant_id=tenant.tenant_id,
            bucket=tenant.objects.bucket,
            key=tenant.objects.key(path),
            expires_at=_expiry(ttl),
            url_id=secrets.token_hex(12),
            download_name=parse_download_name(download_name, field="download_name"),
        )
        return self._signed(grant, {})

    def limit(self, tenant: TenantContext, max_bytes: int = 0) -> int:
        """The largest content that is taken: the tenant's limit, or max_bytes where that is smaller."""
        own = tenant.max_object_bytes or self._max_object_bytes
        return min(own, max_bytes) if max_bytes else own

    def _signed(self, grant: Grant, headers: Mapping[str, str]) -> SignedUrl:
        return SignedUrl(
            url=self._signer.sign(grant),
            url_id=grant.url_id,
            headers=headers,
            expires_at=grant.expires_at,
        )


def too_large(limit: int) -> ResourceExhausted:
    """The error for content over the limit, in bytes."""
    return ResourceExhausted(
        "OBJECT_TOO_LARGE",
        f"the object is larger than the {limit} bytes allowed",
        metadata={"limit": str(limit)},
    )


async def _bounded(content: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    size = 0
    async for chunk in content:
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        yield chunk


def _expiry(ttl: float | None) -> int:
    if ttl is None:
        ttl = DEFAULT_URL_SECONDS
    if not 1 <= ttl <= MAX_URL_SECONDS:
        raise InvalidArgument("ttl", f"must be 1 to {MAX_URL_SECONDS} seconds")
    return math.ceil(time.time() + ttl)
