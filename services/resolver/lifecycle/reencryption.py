"""Re-encryption: everything of a tenant under its newest data keys, and then the older ones gone (ADR 0019).

The tenant works on meanwhile. Two passes are made, with a rest between them that is longer than any context lives
and any upload takes to appear after its end: what was still written under an older key is found by the second one.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.work import Work
from services.resolver.tenant_keys import require_encryption
from silo.data.v1 import reencryption_pb2 as data_pb2
from silo.data.v1 import reencryption_pb2_grpc as data_grpc
from silo.storage.v1 import reencryption_pb2 as storage_pb2
from silo.storage.v1 import reencryption_pb2_grpc as storage_grpc

NAME = "re-encryption"

_WRITE = "lifecycle.write"
_PASS_SECONDS = 24 * 3600.0
_KEPT_SECONDS = 2.0
"""How often a pass keeps where it is, for after a crash."""

_SERVICES: dict[str, tuple[Any, Any, str]] = {
    "data": (data_grpc.ReencryptionServiceStub, data_pb2, "items"),
    "storage": (storage_grpc.ReencryptionServiceStub, storage_pb2, "objects"),
}


class Reencryption:
    """The kind's steps."""

    def __init__(self, *, settle_seconds: float) -> None:
        """Takes how long the rest between the two passes is; no less than a context lives."""
        self._settle_seconds = settle_seconds

    def kind(self) -> Kind:
        """The kind. It changes nothing that a tenant sees, so that there is nothing to take back."""
        return Kind(
            name=NAME,
            steps=(
                Step(name="fields", do=_pass("data", "fields")),
                Step(name="objects", do=_pass("storage", "objects")),
                Step(name="retire", do=_retire),
                Step(name="settle", do=self._settle),
                Step(name="fields-again", do=_pass("data", "fields-again")),
                Step(name="objects-again", do=_pass("storage", "objects-again")),
                Step(name="drop", do=_drop, final=True),
            ),
        )

    async def _settle(self, work: Work) -> None:
        await work.mark("retired_at")
        detail = "writes under older data keys come to their end"
        work.wait(self._settle_seconds, since="retired_at", detail=detail)


async def _version(work: Work) -> int:
    """The version that everything is brought to, or beyond; the same for the whole operation."""
    kept = work.number("version")
    if kept:
        return kept
    tenant = await work.tenant()
    require_encryption(tenant)
    await work.remember(version=tenant.key_version)
    return tenant.key_version


def _pass(service: str, step: str) -> Callable[[Work], Awaitable[None]]:
    """One pass over what a service has; after a crash it goes on where it was last kept."""
    make_stub, messages, unit = _SERVICES[service]

    async def do(work: Work) -> None:
        await _version(work)
        access = await work.at(service, _WRITE)
        stub = access.stub(make_stub)
        before, rewritten = work.number(f"{step}-seen"), work.number(f"{step}-rewritten")
        seen, anew, kept_at = before, rewritten, time.monotonic()
        request = messages.ReencryptRequest(page_token=str(work.memory.get(step, "")))
        async for answer in access.read(stub.Reencrypt, request, seconds=_PASS_SECONDS):
            seen, anew = before + answer.seen_count, rewritten + answer.rewritten_count
            work.progress(seen, unit=unit, detail=f"{anew} encrypted anew")
            if time.monotonic() - kept_at > _KEPT_SECONDS:
                kept_at = time.monotonic()
                kept = {step: answer.page_token, f"{step}-seen": seen, f"{step}-rewritten": anew}
                await work.remember(**kept)
        work.progress(seen, seen, unit=unit, detail=f"{anew} encrypted anew")

    return do


async def _retire(work: Work) -> None:
    """Uploads that began under an older data key and end from now on fail."""
    version = await _version(work)
    access = await work.at("storage", _WRITE)
    stub = access.stub(storage_grpc.ReencryptionServiceStub)
    request = storage_pb2.RetireDataKeysRequest(before_version=version)
    await access.call(stub.RetireDataKeys, request)


async def _drop(work: Work) -> None:
    """The older data keys go, in each service."""
    version, dropped = await _version(work), 0
    for service, (make_stub, messages, _) in _SERVICES.items():
        access = await work.at(service, _WRITE)
        stub = access.stub(make_stub)
        request = messages.DropDataKeysRequest(before_version=version)
        answer = await access.call(stub.DropDataKeys, request)
        dropped += answer.dropped_count
    work.progress(dropped, dropped, unit="data keys")
    await work.set_result(tenant=f"tenants/{work.tenant_id}")
