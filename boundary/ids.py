"""Tenant, principal and entity ids, and the one grammar that each of them has.

Ids are compared exactly and never normalised on the way in. The slug is the only derived form: it names
what is case-insensitive elsewhere (object prefixes for people, search indexes for OpenSearch), and the
directory keeps it unique.
"""

from __future__ import annotations

import re
from typing import NewType

from boundary.errors import InvalidArgument

TenantId = NewType("TenantId", str)
TenantSlug = NewType("TenantSlug", str)
PrincipalId = NewType("PrincipalId", str)
EntityId = NewType("EntityId", str)
RequestId = NewType("RequestId", str)

_TENANT_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}[A-Za-z0-9])?")
_ENTITY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PRINCIPAL_ID = re.compile(r"[\x21-\x7e]{1,256}")


def is_tenant_id(raw: str) -> bool:
    """Whether raw is a tenant id in full; `re.ASCII` ranges admit no look-alike letters."""
    return _TENANT_ID.fullmatch(raw) is not None


def parse_tenant_id(raw: str, *, field: str = "tenant_id") -> TenantId:
    """The tenant id in raw.

    Raises:
        InvalidArgument: raw does not match the grammar in full.
    """
    if not is_tenant_id(raw):
        raise InvalidArgument(
            field, "must be 1 to 40 letters, digits and inner hyphens", reason="INVALID_TENANT_ID"
        )
    return TenantId(raw)


def slug_of(tenant_id: TenantId) -> TenantSlug:
    """The lower-cased id."""
    return TenantSlug(tenant_id.lower())


def parse_entity_id(raw: str, *, field: str) -> EntityId:
    """The entity id in raw: 1 to 64 of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit.

    The grammar leaves out `#`, which separates the parts of sort keys, and `/`, which separates those of
    object paths.

    Raises:
        InvalidArgument: raw does not match the grammar in full.
    """
    if _ENTITY_ID.fullmatch(raw) is None:
        raise InvalidArgument(
            field,
            "must be 1 to 64 letters, digits, dots, underscores and hyphens, "
            "beginning with a letter or digit",
            reason="INVALID_ID",
        )
    return EntityId(raw)


def is_request_id(raw: str) -> bool:
    """Whether raw can serve as a request id: 1 to 64 of `A-Z a-z 0-9 . _ -`."""
    return _REQUEST_ID.fullmatch(raw) is not None


def parse_request_id(raw: str, *, field: str = "request_id") -> RequestId:
    """The request id in raw (AIP-155).

    Raises:
        InvalidArgument: raw does not match the grammar in full.
    """
    if not is_request_id(raw):
        raise InvalidArgument(
            field, "must be 1 to 64 letters, digits, dots, underscores and hyphens"
        )
    return RequestId(raw)


def is_principal_id(raw: str) -> bool:
    """Whether raw can name a principal: 1 to 256 printable ASCII characters without spaces."""
    return _PRINCIPAL_ID.fullmatch(raw) is not None
