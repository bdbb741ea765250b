"""Brings everything of a tenant under its newest data keys, and then lets the older ones go (ADR 0019).

The tenant works on meanwhile. Two passes are made, with a rest between them that is longer than any context
lives and any upload takes to appear after its end: what was still written under an older key is found by the
second one. Each step may be done again at any time; who begins anew passes quickly over what is done.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from boundary.context import CONTEXT_LIFETIME
from boundary.ids import TenantId
from services.resolver.lifecycle.services import Access, Services
from services.resolver.operations import Tenants, subject_of
from services.resolver.tenant_keys import require_encryption
from silo.data.v1 import reencryption_pb2 as data_pb2
from silo.data.v1 import reencryption_pb2_grpc as data_grpc
from silo.storage.v1 import reencryption_pb2 as storage_pb2
from silo.storage.v1 import reencryption_pb2_grpc as storage_grpc

SETTLE_SECONDS = 2.0 * CONTEXT_LIFETIME
"""How long the rest is: a context's life, and as much again for what was done under it to be seen."""

_WRITE = "lifecycle.write"
_PASS_SECONDS = 24 * 3600.0
_TELL_SECONDS = 5.0

_SERVICES: dict[str, tuple[Any, Any]] = {
    "data": (data_grpc.ReencryptionServiceStub, data_pb2),
    "storage": (storage_grpc.ReencryptionServiceStub, storage_pb2),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """How far it is.

    Attributes:
        step: `fields`, `objects`, `settle`, then `fields` and `objects` again, `drop`.
        seen: how many items or objects the step has looked at; of `settle`, seconds; of `drop`, data keys gone.
        rewritten: how many it has encrypted anew.
        done: whether the step is over.
    """

    step: str
    seen: int = 0
    rewritten: int = 0
    done: bool = False


class Reencryption:
    """Works on tenants in data and storage, under lifecycle contexts."""

    def __init__(
        self, *, tenants: Tenants, services: Services, settle_seconds: float = SETTLE_SECONDS
    ) -> None:
        """Takes the parts.

        Args:
            settle_seconds: how long the rest between the two passes is.
        """
        self._tenants = tenants
        self._services = services
        self._settle_seconds = settle_seconds

    async def run(self, tenant_id: TenantId) -> AsyncIterator[Told]:
        """Does it all, and tells how far it is; the end of the iteration ends it.

        Raises:
            NotFound: there is no such tenant.
            FailedPrecondition: it has no encryption, or its key is destroyed.
            DataLoss: something of it is damaged; the error names the place.
            Unavailable: a service does not answer.
        """
        tenant = await self._tenants.get(tenant_id)
        require_encryption(tenant)
        version = tenant.key_version
        for last in (False, True):
            for service, step in (("data", "fields"), ("storage", "objects")):
                async for told in self._pass(tenant_id, service, step):
                    yield told
            if not last:
                storage = await self._at(tenant_id, "storage")
                stub = storage.stub(storage_grpc.ReencryptionServiceStub)
                retirement = storage_pb2.RetireDataKeysRequest(before_version=version)
                await storage.call(stub.RetireDataKeys, retirement)
                async for told in self._rest():
                    yield told
        yield Told(step="drop", seen=await self._drop(tenant_id, version), done=True)

    async def _pass(self, tenant_id: TenantId, service: str, step: str) -> AsyncIterator[Told]:
        """One pass over what a service has."""
        make_stub, messages = _SERVICES[service]
        access = await self._at(tenant_id, service)
        stub = access.stub(make_stub)
        told = Told(step=step)
        answers = access.read(stub.Reencrypt, messages.ReencryptRequest(), seconds=_PASS_SECONDS)
        async for answer in answers:
            told = Told(step=step, seen=answer.seen_count, rewritten=answer.rewritten_count)
            yield told
        yield Told(step=step, seen=told.seen, rewritten=told.rewritten, done=True)

    async def _rest(self) -> AsyncIterator[Told]:
        began = time.monotonic()
        while (left := began + self._settle_seconds - time.monotonic()) > 0:
            yield Told(step="settle", seen=int(time.monotonic() - began))
            await asyncio.sleep(min(_TELL_SECONDS, left))
        yield Told(step="settle", seen=int(self._settle_seconds), done=True)

    async def _drop(self, tenant_id: TenantId, version: int) -> int:
        """How many older data keys there were."""
        dropped = 0
        for service, (make_stub, messages) in _SERVICES.items():
            access = await self._at(tenant_id, service)
            stub = access.stub(make_stub)
            request = messages.DropDataKeysRequest(before_version=version)
            answer = await access.call(stub.DropDataKeys, request)
            dropped += answer.dropped_count
        return dropped

    async def _at(self, tenant_id: TenantId, service: str) -> Access:
        """A service, for work on the tenant as it is now."""
        subject = subject_of(await self._tenants.get(tenant_id))
        return self._services.at(service, subject=subject, permissions=[_WRITE])
