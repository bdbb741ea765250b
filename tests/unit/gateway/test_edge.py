"""What the gateway exposes: its routes, its reflection, its health, and how it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from boundary.catalog import all_methods
from boundary.errors import PermissionDenied, Unauthenticated
from boundary.issuers import IssuersError
from gateway.bootstrap import build
from gateway.settings import GatewaySettings
from silo.storage.v1 import object_pb2, object_pb2_grpc
from tests.serving import reason_of
from tests.unit.gateway.edge import Edge, bearer, edge, write_home

EXPOSED = {
    method.descriptor.containing_service.full_name for method in all_methods() if method.edge
}


@pytest.fixture
async def running(tmp_path: Path) -> Any:
    async with edge(tmp_path) as gateway:
        yield gateway


async def refusal(running: Edge, path: str, **options: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await running.channel.unary_unary(path)(b"", timeout=5, **options)
    return raised.value


async def test_every_exposed_method_has_a_route(running: Edge) -> None:
    for method in all_methods():
        if method.edge and not method.client_streaming and not method.server_streaming:
            assert (await refusal(running, method.path)).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_internal_methods_answer_exactly_like_unknown_ones(running: Edge) -> None:
    metadata = (*bearer(), ("x-request-id", "same"))
    unknown = await refusal(running, "/silo.data.v1.CampaignService/Nothing", metadata=metadata)
    assert unknown.code() is grpc.StatusCode.UNIMPLEMENTED
    assert reason_of(unknown) == "METHOD_UNKNOWN"
    internal = [method for method in all_methods() if not method.edge]
    assert internal
    for method in internal:
        answer = await refusal(running, method.path, metadata=metadata)
        assert answer.code() is unknown.code()
        assert answer.details() == unknown.details()
        assert answer.trailing_metadata() == unknown.trailing_metadata()


async def test_reflection_describes_everything_that_a_caller_can_call(running: Edge) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    request = reflection_pb2.ServerReflectionRequest

    async def ask(**question: str) -> Any:
        async def one() -> Any:
            yield request(**question)

        async for answer in stub.ServerReflectionInfo(one()):
            return answer
        raise AssertionError

    listed = {s.name for s in (await ask(list_services="")).list_services_response.service}
    assert listed >= EXPOSED
    assert listed - EXPOSED == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()

    async def learn(**question: str) -> None:
        answer = (await ask(**question)).file_descriptor_response
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for raw in answer.file_descriptor_proto
        ]
        for file in files:
            if file.name in known:
                continue
            known.add(file.name)
            for dependency in file.dependency:
                await learn(file_by_filename=dependency)
            pool.Add(file)

    for service in listed:
        await learn(file_containing_symbol=service)
        for method in pool.FindServiceByName(service).methods:
            await learn(file_containing_symbol=method.input_type.full_name)
            assert pool.FindMessageTypeByName(method.input_type.full_name)
            assert pool.FindMessageTypeByName(method.output_type.full_name)


async def test_health_of_every_exposed_service(running: Edge) -> None:
    stub = health_pb2_grpc.HealthStub(running.channel)
    for service in ("", *EXPOSED):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    "refused",
    [
        PermissionDenied("TENANT_UNAVAILABLE", "the tenant is not available to this caller"),
        Unauthenticated("TOKEN_EXPIRED", "the token is expired"),
    ],
)
async def test_the_resolvers_refusals_pass_word_for_word(running: Edge, refused: Any) -> None:
    running.resolver.refusal = refused
    stub = object_pb2_grpc.ObjectServiceStub(running.channel)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.GetObject(
            object_pb2.GetObjectRequest(), metadata=(*bearer(), ("x-request-id", "mine"))
        )
    error = raised.value
    assert error.code().name == refused.code
    assert error.details() == refused.message
    assert reason_of(error) == refused.reason
    assert dict(error.trailing_metadata())["x-request-id"] == "mine"
    assert running.resolver.request_ids == ["mine"]
    (record,) = running.records()
    assert (record["reason"], record["tenant"]) == (refused.reason, "A")


async def test_http(tmp_path: Path, unused_tcp_port: int) -> None:
    async with edge(tmp_path, http_port=unused_tcp_port) as gateway:
        await refusal(gateway, "/silo.storage.v1.ObjectService/GetObject")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{unused_tcp_port}") as session:
            assert (await session.get("/healthz")).status == 200
            assert (await session.get("/readyz")).status == 200
            text = await (await session.get("/metrics")).text()
    assert 'method="silo.storage.v1.ObjectService/GetObject",status="UNAUTHENTICATED"' in text


async def test_production_does_not_start_with_the_development_issuer(tmp_path: Path) -> None:
    write_home(tmp_path)
    issuers = tmp_path / "issuers.json"
    issuers.write_text(
        '[{"issuer": "https://dev.silo.local", "audiences": ["silo"], "algorithms": ["ES256"],'
        ' "jwks": "dev-issuer/jwks.json"}]'
    )
    with pytest.raises(IssuersError):
        await build(GatewaySettings(home=tmp_path, environment="production", issuers=issuers))
