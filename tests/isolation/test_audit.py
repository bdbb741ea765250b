"""One audit record for each call, allowed or refused, whichever process ends it."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest

from boundary.catalog import Method
from tests.audit_records import Record, await_records
from tests.isolation.world import (
    EDGE_METHODS,
    OPERATOR_METHODS,
    Metadata,
    World,
    bearer,
    call,
    request_for,
)


def records_of(home: Path, request_id: str, method: Method) -> list[Record]:
    """The records of a call; those of the calls that it made in its turn are of other methods."""
    return await_records(
        home / "audit",
        lambda record: (record["request_id"], record["method"]) == (request_id, method.name),
    )


@pytest.mark.parametrize("method", EDGE_METHODS, ids=lambda method: method.name)
def test_every_call_has_one_record(worlds: tuple[World, World], method: Method) -> None:
    world = worlds[0]
    operator = bearer(world.stack.operator_token())
    mine: Metadata = operator if method in OPERATOR_METHODS else world.metadata
    stranger = bearer(world.stack.token("nobody"))
    weak = bearer(world.stack.token(world.tenant_id, permissions=["other.read"]))
    attempts: dict[str, tuple[Metadata, str, set[str]]] = {
        "mine": (mine, "ALLOWED", set()),
        "nobody": ((), "REFUSED", {"UNAUTHENTICATED"}),
        "stranger": (stranger, "REFUSED", {"PERMISSION_DENIED"}),
        "weak": (weak, "REFUSED", {"PERMISSION_DENIED"}),
    }
    for who, (metadata, decision, statuses) in attempts.items():
        request_id = f"{who}-{method.descriptor.name}-{time.time_ns()}"
        request = request_for(method, world, own="audited")
        outcome = call(world.channel, method, request, (*metadata, ("x-request-id", request_id)))
        records = records_of(world.stack.home, request_id, method)
        assert len(records) == 1, (who, outcome, records)
        record = records[0]
        assert record["decision"] == decision, (who, record)
        assert record["status"] == outcome.code.name
        assert record["reason"] == outcome.reason
        assert record["status"] in statuses or not statuses
        if who in {"mine", "weak"} and method not in OPERATOR_METHODS:
            assert (record["tenant"], record["principal"]) == (world.tenant_id, "alice")
        if outcome.code is not grpc.StatusCode.OK:
            assert outcome.request_id == request_id


@pytest.mark.parametrize("name", ["gateway", "resolver", "data", "storage", "search"])
def test_a_method_that_does_not_exist_is_refused_and_recorded(
    worlds: tuple[World, World], name: str
) -> None:
    stack = worlds[0].stack
    path = "/silo.data.v1.CampaignService/Nothing"
    request_id = f"nothing-{name}-{time.time_ns()}"
    with (
        grpc.insecure_channel(stack.addresses.dial(name)) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        channel.unary_unary(path)(b"", timeout=5, metadata=(("x-request-id", request_id),))
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    (record,) = await_records(
        stack.home / "audit",
        lambda record: record["request_id"] == request_id and record["service"] == name,
    )
    assert (record["decision"], record["status"]) == ("REFUSED", "UNIMPLEMENTED")
    assert (record["reason"], record["method"], record["resource"]) == (
        "METHOD_UNKNOWN",
        "unknown",
        path,
    )


def test_a_signed_url_is_named_by_the_service_and_not_by_the_caller(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    (method,) = [m for m in EDGE_METHODS if m.descriptor.name == "SignDownload"]
    ids = set()
    for _ in range(2):
        request_id = f"sign-{time.time_ns()}"
        metadata = (*world.metadata, ("x-request-id", request_id))
        request = method.request_type(path="exports/signed.csv")
        answer = world.channel.unary_unary(
            method.path,
            request_serializer=method.request_type.SerializeToString,
            response_deserializer=method.response_type.FromString,
        )(request, metadata=metadata, timeout=5)
        (record,) = records_of(world.stack.home, request_id, method)
        path, _, url_id = record["resource"].partition("?id=")
        assert path == "exports/signed.csv"
        assert f"id={url_id}" in answer.url
        assert request_id not in answer.url
        ids.add(url_id)
    assert len(ids) == 2


def test_a_call_about_several_things_names_them(worlds: tuple[World, World]) -> None:
    world = worlds[0]
    (method,) = [m for m in EDGE_METHODS if m.descriptor.name == "BatchWriteEntities"]
    request_id = f"batch-{time.time_ns()}"
    request = method.request_type(
        writes=[
            {"create": {"entity": {"campaign": {"name": "campaigns/batched"}}}},
            {"delete": {"name": "lists/nothing"}},
        ]
    )
    call(world.channel, method, request, (*world.metadata, ("x-request-id", request_id)))
    (record,) = records_of(world.stack.home, request_id, method)
    assert record["resources"] == ["create campaigns/batched", "delete lists/nothing"]


def test_a_streamed_message_that_is_too_large_is_recorded_as_what_it_was(
    worlds: tuple[World, World],
) -> None:
    world = worlds[0]
    (method,) = [m for m in EDGE_METHODS if m.descriptor.name == "UploadObject"]
    request_id = f"large-{time.time_ns()}"
    requests = [
        method.request_type(spec={"path": "exports/large"}),
        method.request_type(chunk=bytes(5 * 1024 * 1024)),
    ]
    with pytest.raises(grpc.RpcError) as refused:
        world.channel.stream_unary(
            method.path, request_serializer=method.request_type.SerializeToString
        )(iter(requests), metadata=(*world.metadata, ("x-request-id", request_id)), timeout=10)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    (record,) = records_of(world.stack.home, request_id, method)
    assert (record["status"], record["reason"]) == ("RESOURCE_EXHAUSTED", "MESSAGE_TOO_LARGE")
