"""Signed URLs: the right to PUT or GET one object over HTTP, until a given time, under given constraints.

The signature is HMAC-SHA256 (RFC 2104) over everything that the URL allows, each part with its length before it,
so that no two grants have the same bytes. A URL says which tenant it belongs to and says nothing about who signed
it but the id of the call that did, which the audit trail resolves.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode

from boundary.errors import PermissionDenied
from boundary.ids import TenantId, is_request_id, is_tenant_id

GET: Literal["GET"] = "GET"
PUT: Literal["PUT"] = "PUT"

_VERSION = b"silo-url-1"
_PARAMETERS = ("tenant", "expires", "type", "max", "create", "name", "id", "signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a signed URL allows.

    Attributes:
        method: `GET`, which HEAD may use as well, or `PUT`.
        tenant_id: whose object it is.
        bucket: the bucket's name.
        key: the full object key, with the tenant's prefix.
        expires_at: seconds since the epoch.
        content_type: the media type that an upload must declare; any where empty.
        max_bytes: the largest content that an upload may have; the tenant's limit where 0.
        create_only: whether an upload needs the path to be free.
        download_name: the file name that a browser saves a download under; the key's own where empty.
        url_id: names this URL in the audit trail: in the record of its signing and in those of its use.
    """

    method: Literal["GET", "PUT"]
    tenant_id: TenantId
    bucket: str
    key: str
    expires_at: int
    url_id: str
    content_type: str = ""
    max_bytes: int = 0
    create_only: bool = False
    download_name: str = ""

    def signed_bytes(self) -> bytes:
        """The grant in the one form that is signed."""
        parts = (
            _VERSION,
            self.method.encode(),
            self.tenant_id.encode(),
            self.bucket.encode(),
            self.key.encode(),
            b"%d" % self.expires_at,
            self.content_type.encode(),
            b"%d" % self.max_bytes,
            b"%d" % self.create_only,
            self.download_name.encode(),
            self.url_id.encode(),
        )
        return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class UrlSigner:
    """Signs and verifies URLs with one 32-byte key."""

    def __init__(self, key: bytes, *, public_url: str) -> None:
        """Takes the key.

        Args:
            public_url: where the HTTP side is reached from outside, without a slash at its end.
        """
        self._key = key
        self._public_url = public_url.rstrip("/")

    def sign(self, grant: Grant) -> str:
        """The URL for a grant."""
        values = {
            "tenant": grant.tenant_id,
            "expires": str(grant.expires_at),
            "type": grant.content_type,
            "max": str(grant.max_bytes or ""),
            "create": "1" if grant.create_only else "",
            "name": grant.download_name,
            "id": grant.url_id,
            "signature": self._signature(grant),
        }
        query = urlencode({name: value for name, value in values.items() if value}, quote_via=quote)
        return f"{self._public_url}/{quote(grant.bucket)}/{quote(grant.key)}?{query}"

    def verify(self, method: str, raw_path: str, raw_query: str) -> Grant:
        """The grant of a URL that was used.

        Args:
            method: the HTTP method.
            raw_path: the path as it came, percent-encoded.
            raw_query: the query as it came.

        Raises:
            PermissionDenied: there is anything wrong with the URL; which, is not said.
        """
        try:
            grant, signature = _grant_of(method, raw_path, raw_query)
        except (KeyError, ValueError) as error:
            raise url_refused() from error
        expected = self._signature(grant).encode()
        if not hmac.compare_digest(signature.encode(), expected):
            raise url_refused()
        if time.time() >= grant.expires_at:
            raise url_refused()
        return grant

    def _signature(self, grant: Grant) -> str:
        return hmac.new(self._key, grant.signed_bytes(), hashlib.sha256).hexdigest()


def url_refused() -> PermissionDenied:
    """The one answer for a URL that was not signed here, was altered, or works no longer."""
    return PermissionDenied("SIGNED_URL_REFUSED", "the URL is not valid, or no longer")


def _grant_of(method: str, raw_path: str, raw_query: str) -> tuple[Grant, str]:
    """The grant that a URL claims, and its signature.

    Raises:
        KeyError, ValueError: the URL is not in the form that `sign` gives it.
    """
    pairs = parse_qsl(
        raw_query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=16
    )
    values = dict(pairs)
    if len(values) != len(pairs) or not values.keys() <= set(_PARAMETERS):
        raise ValueError("the query repeats a parameter or has one too many")
    bucket, slash, key = unquote(raw_path.removeprefix("/"), errors="strict").partition("/")
    tenant_id, url_id = values["tenant"], values["id"]
    if not slash or not key or not is_tenant_id(tenant_id) or not is_request_id(url_id):
        raise ValueError("the URL names no object of a tenant")
    grant = Grant(
        method=_granted_method(method),
        tenant_id=TenantId(tenant_id),
        bucket=bucket,
        key=key,
        expires_at=_number(values["expires"]),
        content_type=values.get("type", ""),
        max_bytes=_number(values.get("max", "0")),
        create_only=values.get("create", "") == "1",
        download_name=values.get("name", ""),
        url_id=url_id,
    )
    return grant, values["signature"]


def _granted_method(method: str) -> Literal["GET", "PUT"]:
    if method in ("GET", "HEAD"):
        return GET
    if method == "PUT":
        return PUT
    raise ValueError("no URL grants this method")


def _number(raw: str) -> int:
    if not (raw.isascii() and raw.isdigit() and len(raw) <= 18):
        raise ValueError("not a number")
    return int(raw)
