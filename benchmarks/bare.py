"""The bare two hops: the same read of the same table, with no authentication and no tenant logic.

`python -m benchmarks.bare data LISTEN TABLE_FILE TENANT` serves GetCampaign;
`python -m benchmarks.bare proxy LISTEN TARGET` forwards its bytes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

from boundary import scope
from boundary.channel import open_channel
from boundary.ids import TenantId
from services.data.codec import Codec
from services.table.sqlite import open_table
from silo.data.v1 import campaign_pb2

SERVICE = "silo.data.v1.CampaignService"


def data_handler(table_file: Path, tenant_id: str) -> grpc.GenericRpcHandler:
    """GetCampaign over the table, and Echo, which does nothing at all."""
    table = open_table(table_file)
    tenant = TenantId(tenant_id)
    partition = scope.Partition(
        seal=scope._SEAL,  # noqa: SLF001 - the bare peer has no context to get a handle from
        tenant_id=tenant,
        region="local",
        table="EmailPlatform",
        key=scope.partition_key(tenant),
    )
    codec = Codec(campaign_pb2.Campaign)

    async def get_campaign(
        request: campaign_pb2.GetCampaignRequest, _: Any
    ) -> campaign_pb2.GetCampaignResponse:
        item = await table.get(partition, "CAMPAIGN#" + request.name.partition("/")[2])
        assert item is not None
        return campaign_pb2.GetCampaignResponse(campaign=codec.decode(request.name, item))

    async def echo(raw: bytes, _: Any) -> bytes:
        return raw

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "GetCampaign": grpc.unary_unary_rpc_method_handler(
                get_campaign,
                request_deserializer=campaign_pb2.GetCampaignRequest.FromString,
                response_serializer=campaign_pb2.GetCampaignResponse.SerializeToString,
            ),
            "Echo": grpc.unary_unary_rpc_method_handler(echo),
        },
    )


def proxy_handler(target: str) -> grpc.GenericRpcHandler:
    """GetCampaign by its bytes."""
    call = open_channel(target).unary_unary(f"/{SERVICE}/GetCampaign")

    async def forward(raw: bytes, context: Any) -> bytes:
        response: bytes = await call(raw, timeout=context.time_remaining())
        return response

    return grpc.method_handlers_generic_handler(
        SERVICE, {"GetCampaign": grpc.unary_unary_rpc_method_handler(forward)}
    )


def _data_peer(arguments: list[str]) -> grpc.GenericRpcHandler:
    return data_handler(Path(arguments[0]), arguments[1])


async def serve(role: str, listen: str, arguments: list[str]) -> None:
    """Serves until the process is ended."""
    make = {"data": _data_peer, "proxy": lambda arguments: proxy_handler(arguments[0])}
    handler = make[role](arguments)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(listen)
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], sys.argv[2], sys.argv[3:]))
