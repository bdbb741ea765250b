"""Verified tenant contexts for tests, minted with a key of the tests' own."""

from __future__ import annotations

import asyncio
import atexit
import functools
import shutil
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from boundary.context import ContextVerifier, Placement, TenantContext
from boundary.ids import PrincipalId, parse_tenant_id
from boundary.permissions import Permissions
from services.resolver.local_keys import LocalKeys
from services.resolver.minting import ContextMinter, Subject
from services.resolver.signing_keys import SigningKeys

PLACEMENT = Placement(
    region="local", table="EmailPlatform", bucket="email-platform-storage", search_cluster="local"
)


@functools.cache
def signing_keys() -> SigningKeys:
    """One signing key for the test run."""
    folder = tempfile.mkdtemp(prefix="silo-test-keys-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return SigningKeys(Path(folder))


def mint_token(
    tenant_id: str,
    *,
    permissions: Iterable[str] = ("*",),
    audience: str = "data",
    principal: str = "alice",
    generation: int = 1,
    max_object_bytes: int = 0,
    not_after: float | None = None,
    **subject: Any,
) -> str:
    """A context token for a tenant, signed with the tests' key."""
    minted = ContextMinter(signing_keys()).mint(
        Subject(
            **{
                "tenant_id": parse_tenant_id(tenant_id),
                "name": f"Tenant {tenant_id}",
                "status": "ACTIVE",
                "tier": "STANDARD",
                "placement": PLACEMENT,
                "generation": generation,
                "max_object_bytes": max_object_bytes,
                **subject,
            }
        ),
        audience=audience,
        principal=PrincipalId(principal),
        issuer="https://dev.silo.local",
        permissions=Permissions(permissions),
        not_after=not_after if not_after is not None else time.time() + 3600,
    )
    return minted.token


def mint_lifecycle_token(
    tenant_id: str,
    *,
    permissions: Iterable[str] = ("lifecycle.*",),
    audience: str = "data",
    status: str = "OFFBOARDING",
    generation: int = 1,
    placement: Placement = PLACEMENT,
) -> str:
    """A context token for the platform's own work on a tenant, signed with the tests' key."""
    subject = Subject(
        tenant_id=parse_tenant_id(tenant_id),
        name=f"Tenant {tenant_id}",
        status=status,
        tier="STANDARD",
        placement=placement,
        generation=generation,
        max_object_bytes=0,
    )
    minted = ContextMinter(signing_keys()).mint_lifecycle(
        subject, audience=audience, permissions=Permissions(permissions)
    )
    return minted.token


def make_context(
    tenant_id: str,
    *,
    permissions: Iterable[str] = ("*",),
    audience: str = "data",
    principal: str = "alice",
    max_object_bytes: int = 0,
    **subject: Any,
) -> TenantContext:
    """A verified context for a tenant. Works inside and outside of a running event loop."""
    token = mint_token(
        tenant_id,
        permissions=permissions,
        audience=audience,
        principal=principal,
        max_object_bytes=max_object_bytes,
        **subject,
    )
    verifier = ContextVerifier(audience=audience, keys=LocalKeys(signing_keys()))
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, verifier.verify(token)).result()


def make_lifecycle_context(
    tenant_id: str, *, audience: str = "data", **token: Any
) -> TenantContext:
    """A verified context for the platform's own work on a tenant."""
    minted = mint_lifecycle_token(tenant_id, audience=audience, **token)
    verifier = ContextVerifier(audience=audience, keys=LocalKeys(signing_keys()))
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, verifier.verify(minted)).result()
