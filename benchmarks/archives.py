"""Memory while a tenant is archived and brought in again: flat, whatever the tenant has."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator

import grpc

from benchmarks.cases import CHUNK, Result, bearer
from benchmarks.processes import peak_memory, reset_peak_memory
from devstack.stack import Stack
from silo.resolver.v1 import operation_pb2, tenant_pb2
from silo.search.v1 import event_pb2, event_pb2_grpc
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.archives import Archivist

SUCCEEDED = operation_pb2.OPERATION_STATE_SUCCEEDED
OBJECT_BYTES = 256 * 1024 * 1024
SMALL_OBJECTS = 200
EVENTS, BATCH = 50_000, 1_000

MOST_GROWTH_MIB = 48.0
"""By how much a process may grow over what it had; the content is more than five times that."""


def archives(stack: Stack) -> Result:
    """An export and an import of everything of one tenant."""
    result = Result(name="A tenant with 256 MiB and 50,000 events, exported and imported")
    archivist = Archivist(stack)
    for tenant_id in ("Packed", "Unpacked"):
        assert archivist.over(archivist.onboard(tenant_id)).state == SUCCEEDED
    _fill(stack, "Packed")
    pids = {name: stack.pids()[name] for name in ("resolver", "data", "storage", "search")}
    for pid in pids.values():
        reset_peak_memory(pid)
    before = {name: peak_memory(pid) for name, pid in pids.items()}
    began = time.perf_counter()
    exported = archivist.over(archivist.export("Packed"), seconds=300)
    assert exported.state == SUCCEEDED, exported
    result.figures["export: seconds"] = round(time.perf_counter() - began, 1)
    began = time.perf_counter()
    begun = archivist.bring_in("Unpacked", exported.archive, source="Packed")
    imported = archivist.over(begun, seconds=600)
    assert imported.state == SUCCEEDED, imported
    assert archivist.tenant("Unpacked").status == tenant_pb2.TENANT_STATUS_ACTIVE
    result.figures["import: seconds"] = round(time.perf_counter() - began, 1)
    for name, pid in pids.items():
        growth = (peak_memory(pid) - before[name]) / 1024**2
        result.at_most(f"growth of {name}, MiB", growth, MOST_GROWTH_MIB)
    return result


def _fill(stack: Stack, tenant_id: str) -> None:
    metadata = bearer(stack.token(tenant_id))

    def parts(path: str, chunks: Iterator[bytes]) -> Iterator[object_pb2.UploadObjectRequest]:
        yield object_pb2.UploadObjectRequest(spec=object_pb2.UploadSpec(path=path))
        for chunk in chunks:
            yield object_pb2.UploadObjectRequest(chunk=chunk)

    def batches() -> Iterator[event_pb2.IngestEventsRequest]:
        for first in range(0, EVENTS, BATCH):
            events = [_event(number) for number in range(first, first + BATCH)]
            yield event_pb2.IngestEventsRequest(events=events)

    with grpc.insecure_channel(stack.gateway) as channel:
        objects = object_pb2_grpc.ObjectServiceStub(channel)
        block = os.urandom(CHUNK)
        large = (block for _ in range(OBJECT_BYTES // CHUNK))
        objects.UploadObject(parts("attachments/large", large), metadata=metadata)
        for number in range(SMALL_OBJECTS):
            small = iter([secrets.token_bytes(2048)])
            objects.UploadObject(parts(f"attachments/{number}", small), metadata=metadata)
        ingest = event_pb2_grpc.EventServiceStub(channel).IngestEvents
        accepted = sum(told.accepted_count for told in ingest(batches(), metadata=metadata))
        assert accepted == EVENTS


def _event(number: int) -> event_pb2.Event:
    event = event_pb2.Event(
        event_id=f"event-{number}",
        event_type=event_pb2.EVENT_TYPE_OPEN,
        recipient=f"user{number}@example.com",
        subject="Spring sale: 50% off everything " * 8,
    )
    event.timestamp.FromSeconds(1_700_000_000 + number)
    return event
