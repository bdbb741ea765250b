"""Erasing one person: an address is taken out of everything that a tenant has, and the rest is certified.

The operation's record holds the address encrypted, for as long as it needs it and no longer; the certificate names
the person by a salted hash, which whoever knows the address can check and nobody else can read.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from boundary.archives import BACKUPS, EXPORTS
from boundary.errors import FailedPrecondition
from boundary.ids import TenantId
from boundary.subjects import DataSubject
from services.resolver.certificates import SUBJECT_ERASURE, Certificates
from services.resolver.directory import now_micros
from services.resolver.lifecycle.archives.listing import archives_in
from services.resolver.lifecycle.kinds import Kind, Step
from services.resolver.lifecycle.records import told_time
from services.resolver.lifecycle.removal import STREAM_SECONDS, Counts
from services.resolver.lifecycle.work import Work
from services.resolver.ports import Value
from silo.data.v1 import lifecycle_pb2 as data_pb2
from silo.data.v1 import lifecycle_pb2_grpc as data_grpc
from silo.search.v1 import lifecycle_pb2 as search_pb2
from silo.search.v1 import lifecycle_pb2_grpc as search_grpc
from silo.storage.v1 import lifecycle_pb2 as storage_pb2
from silo.storage.v1 import lifecycle_pb2_grpc as storage_grpc

NAME = SUBJECT_ERASURE

_PURGE = "lifecycle.purge"
_READ = "lifecycle.read"
_NONCE_BYTES = 12
_PASSES = 5

_Erase = Callable[[Work, str], Awaitable[Counts]]


class SubjectErasure:
    """The kind's steps."""

    def __init__(self, *, certificates: Certificates, key: bytes) -> None:
        """Takes what signs, and the key that addresses are kept under while they are needed."""
        self._certificates = certificates
        self._cipher = AESGCM(key)

    def kind(self) -> Kind:
        """The kind."""
        return Kind(
            name=NAME,
            kept=True,
            tenant_visible=True,
            steps=(
                Step(name="items", do=self._erasing("items", _erase_items), final=True),
                Step(name="objects", do=self._erasing("objects", _erase_objects)),
                Step(name="events", do=self._erasing("events", _erase_events)),
                Step(name="verification", do=self._verify),
                Step(name="certificate", do=self._certify),
            ),
        )

    def parameters(self, tenant_id: TenantId, email: str) -> dict[str, Value]:
        """What the operation is told of a person.

        Raises:
            InvalidArgument: there is no such address.
        """
        subject = DataSubject.parse(email, field="email")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, subject.key.encode(), tenant_id.encode())
        salt = secrets.token_hex(16)
        return {
            "subject": base64.b64encode(nonce + sealed).decode(),
            "salt": salt,
            "hash": hashlib.sha256(f"{salt}{subject.key}".encode()).hexdigest(),
        }

    def _address(self, work: Work) -> str:
        raw = base64.b64decode(str(work.parameters["subject"]))
        nonce, sealed = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
        return self._cipher.decrypt(nonce, sealed, work.tenant_id.encode()).decode()

    def _erasing(self, store: str, erase: _Erase) -> Callable[[Work], Awaitable[None]]:
        async def do(work: Work) -> None:
            counts = await erase(work, self._address(work))
            before = work.memory.get(store)
            if isinstance(before, Mapping):  # what an earlier try has erased
                counts = {name: _more(before.get(name), count) for name, count in counts.items()}
            await work.remember(**{store: counts})

        return do

    async def _verify(self, work: Work) -> None:
        """Looks through every store again; erases again what is found.

        Raises:
            FailedPrecondition: the address comes back however often it is erased (`ERASURE_INCOMPLETE`).
        """
        address = self._address(work)
        for _ in range(_PASSES):
            left, mentions = await _traces(work, address)
            if not any(left.values()):
                mentions["archives"] = await _archives(work)
                await work.remember(verified_at=now_micros(), mentions=mentions)
                return
            for erase in (_erase_items, _erase_objects, _erase_events):
                await erase(work, address)
        raise FailedPrecondition("ERASURE_INCOMPLETE", f"the address keeps coming back: {left}")

    async def _certify(self, work: Work) -> None:
        if "certificate" not in work.memory:
            certificate = self._certificates.issue(_sections(work), kind=SUBJECT_ERASURE)
            await work.remember(certificate=certificate)
        await work.forget_parameters("subject")
        await work.set_result(certificate=f"certificates/{work.operation.operation_id}")


async def _erase_items(work: Work, address: str) -> Counts:
    data = await work.at("data", _PURGE)
    method = data.stub(data_grpc.LifecycleServiceStub).EraseSubject
    request = data_pb2.EraseSubjectRequest(email=address)
    users = lists = 0
    async for told in data.read(method, request, seconds=STREAM_SECONDS):
        users, lists = told.users_deleted_count, told.lists_changed_count
        work.progress(told.examined_count, unit="items examined")
    return {"users_deleted": users, "lists_changed": lists}


async def _erase_objects(work: Work, address: str) -> Counts:
    storage = await work.at("storage", _PURGE)
    method = storage.stub(storage_grpc.LifecycleServiceStub).EraseSubject
    request = storage_pb2.EraseSubjectRequest(email=address)
    changed = versions = 0
    async for told in storage.read(method, request, seconds=STREAM_SECONDS):
        changed, versions = told.objects_changed_count, told.versions_deleted_count
        work.progress(told.examined_count, unit="objects examined")
    return {"metadata_changed": changed, "versions_deleted": versions}


async def _erase_events(work: Work, address: str) -> Counts:
    search = await work.at("search", _PURGE)
    method = search.stub(search_grpc.LifecycleServiceStub).EraseSubject
    request = search_pb2.EraseSubjectRequest(email=address)
    deleted = 0
    async for told in search.read(method, request, seconds=STREAM_SECONDS):
        deleted = told.deleted_count
        work.progress(deleted, unit="events")
    return {"events_deleted": deleted}


async def _traces(work: Work, address: str) -> tuple[Counts, Counts]:
    """Where the address still stands, and what merely mentions it."""
    data, storage, search = [await work.at(name, _PURGE) for name in ("data", "storage", "search")]
    method = data.stub(data_grpc.LifecycleServiceStub).SurveySubject
    request = data_pb2.SurveySubjectRequest(email=address)
    items = await _last(data.read(method, request, seconds=STREAM_SECONDS))
    described = storage.stub(storage_grpc.LifecycleServiceStub).SurveySubject
    of_objects = storage_pb2.SurveySubjectRequest(email=address)
    objects = await _last(storage.read(described, of_objects, seconds=STREAM_SECONDS))
    events = await search.call(
        search.stub(search_grpc.LifecycleServiceStub).SurveySubject,
        search_pb2.SurveySubjectRequest(email=address),
    )
    left: Counts = {
        "users": items.user_count,
        "lists": items.list_count,
        "metadata": objects.metadata_count,
        "events": events.event_count,
    }
    mentions: Counts = {
        "items": items.mention_count,
        "object_paths": objects.path_count,
        "events": events.mention_count,
    }
    return left, mentions


async def _archives(work: Work) -> int:
    """How many archives there are: they are signed, and keep what was in them when they were written."""
    storage = await work.at("storage", _READ)
    return sum([len(await archives_in(storage, folder)) for folder in (BACKUPS, EXPORTS)])


async def _last(told: AsyncIterator[Any]) -> Any:
    """The last message of a stream that ends with all that was counted."""
    last = None
    async for message in told:
        last = message
    return last


def _sections(work: Work) -> dict[str, dict[str, Any]]:
    memory, parameters = work.memory, work.parameters
    return {
        "tenant": {"tenant_id": work.tenant_id},
        "subject": {
            "sha256_of_salt_and_address": parameters["hash"],
            "salt": parameters["salt"],
        },
        "operation": {
            "name": work.operation.name,
            "asked_for_by": work.operation.principal,
            "asked_at": told_time(work.operation.created_at),
            "verified_at": told_time(memory["verified_at"]),
            "certified_at": told_time(now_micros()),
        },
        **{
            store: {**_section(memory[store]), "left": 0, "read_back": True}
            for store in ("items", "objects", "events")
        },
        "mentions_left": _section(memory["mentions"]),
    }


def _section(counts: Value) -> dict[str, Any]:
    return dict(counts) if isinstance(counts, Mapping) else {}


def _more(before: Value, now: Value) -> Value:
    return before + now if isinstance(before, int) and isinstance(now, int) else now
