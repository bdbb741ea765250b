"""Contexts, a role and an STS of the tests' own."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from boundary.context import ContextVerifier, Placement, TenantContext
from boundary.errors import Unavailable
from services.aws.policy import TenantRole
from services.aws.sessions import IssuedKey, SessionRequest
from services.resolver.local_keys import LocalKeys
from tests.contexts import PLACEMENT, mint_token, signing_keys

ROLE = TenantRole(arn="arn:aws:iam::111122223333:role/silo-tenant-data", aws_region="eu-central-1")
ROLES = {"local": ROLE}


@functools.cache
def context_of(tenant_id: str, *, placement: Placement = PLACEMENT) -> TenantContext:
    """A verified context with a placement. Works inside and outside of a running event loop."""
    token = mint_token(tenant_id, placement=placement)
    verifier = ContextVerifier(audience="data", keys=LocalKeys(signing_keys()))
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, verifier.verify(token)).result()


class FakeIssuer:
    """Issues keys that name their tenant: `{tenantId}/{n}`, where n counts the tenant's sessions."""

    def __init__(self) -> None:
        self.requests: list[SessionRequest] = []
        self.count: Counter[str] = Counter()
        self.open = threading.Event()
        self.open.set()
        self.failing = False
        self._lock = threading.Lock()

    def assume(self, request: SessionRequest) -> IssuedKey:
        with self._lock:
            self.requests.append(request)
            self.count[request.tenant_id] += 1
            count = self.count[request.tenant_id]
        assert self.open.wait(10)
        if self.failing:
            raise Unavailable("CREDENTIALS_UNAVAILABLE", "no session")
        key = f"{request.tenant_id}/{count}"
        return IssuedKey(access_key=key, secret_key=f"secret of {key}", token=f"token of {key}")


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
