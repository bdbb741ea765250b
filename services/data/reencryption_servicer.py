"""silo.data.v1.ReencryptionService: messages to operations and back."""

from __future__ import annotations

from collections.abc import AsyncIterator

from boundary.interceptors.call import Call
from boundary.pages import PageSealer
from services.data.reencryption import Reencryption
from silo.data.v1 import reencryption_pb2


class ReencryptionServicer:
    """Serves the resolver's own work on a tenant."""

    def __init__(self, reencryption: Reencryption, pages: PageSealer) -> None:
        self._reencryption = reencryption
        self._pages = pages

    async def reencrypt(
        self, request: reencryption_pb2.ReencryptRequest, call: Call
    ) -> AsyncIterator[reencryption_pb2.ReencryptResponse]:
        """Brings everything to the newest data key."""
        tenant, method = call.tenant, call.method.name
        position = b""
        if request.page_token:
            position = self._pages.open(
                request.page_token, tenant_id=tenant.tenant_id, method=method, query=b""
            )
        async for progress in self._reencryption.run(tenant, position):
            yield reencryption_pb2.ReencryptResponse(
                seen_count=progress.seen,
                rewritten_count=progress.rewritten,
                page_token=self._pages.seal(
                    progress.position, tenant_id=tenant.tenant_id, method=method, query=b""
                ),
            )

    async def drop_data_keys(
        self, request: reencryption_pb2.DropDataKeysRequest, call: Call
    ) -> reencryption_pb2.DropDataKeysResponse:
        """Removes the data keys of older versions."""
        dropped = await self._reencryption.drop(call.tenant, before=request.before_version)
        return reencryption_pb2.DropDataKeysResponse(dropped_count=dropped)
