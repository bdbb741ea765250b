"""silo.audit.v1.AuditService: messages to the trail and back; decides nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.message import Message

from boundary.ids import TenantId
from boundary.interceptors.call import Call
from boundary.pages import PageSealer, page_size, query_of
from services.resolver.audit import AuditTrail, chain_in
from silo.audit.v1 import audit_pb2
from silo.storage.v1 import audit_archive_pb2

_DEFAULT_PAGE = 100
_MAX_PAGE = 500


class AuditServicer:
    """Serves the RPCs behind the chain, which has let the caller through."""

    def __init__(self, trail: AuditTrail, pages: PageSealer) -> None:
        self._trail = trail
        self._pages = pages

    async def list_audit_records(
        self, request: audit_pb2.ListAuditRecordsRequest, call: Call
    ) -> audit_pb2.ListAuditRecordsResponse:
        """ListAuditRecords."""
        chain = await self._trail.chain_of(call.operator)
        found = await self._page(chain, request, call)
        return audit_pb2.ListAuditRecordsResponse(
            records=found.records, next_page_token=self._token(found, chain, request, call)
        )

    async def list_tenant_audit_records(
        self, request: audit_pb2.ListTenantAuditRecordsRequest, call: Call
    ) -> audit_pb2.ListTenantAuditRecordsResponse:
        """ListTenantAuditRecords."""
        chain = chain_in(request.parent)
        found = await self._page(chain, request, call)
        return audit_pb2.ListTenantAuditRecordsResponse(
            records=found.records, next_page_token=self._token(found, chain, request, call)
        )

    async def export_audit_trail(
        self, _: audit_pb2.ExportAuditTrailRequest, call: Call
    ) -> AsyncIterator[audit_pb2.ExportAuditTrailResponse]:
        """ExportAuditTrail."""
        chain = await self._trail.chain_of(call.operator)
        async for file in self._trail.files(chain, call=call):
            yield audit_pb2.ExportAuditTrailResponse(file=file)

    async def export_tenant_audit_trail(
        self, request: audit_pb2.ExportTenantAuditTrailRequest, call: Call
    ) -> AsyncIterator[audit_pb2.ExportTenantAuditTrailResponse]:
        """ExportTenantAuditTrail."""
        async for file in self._trail.files(chain_in(request.parent), call=call):
            yield audit_pb2.ExportTenantAuditTrailResponse(file=file)

    async def _page(
        self,
        chain: TenantId,
        request: audit_pb2.ListAuditRecordsRequest | audit_pb2.ListTenantAuditRecordsRequest,
        call: Call,
    ) -> audit_archive_pb2.QueryAuditRecordsResponse:
        limit = page_size(request.page_size, default=_DEFAULT_PAGE, maximum=_MAX_PAGE)
        position = b""
        if request.page_token:
            position = self._pages.open(
                request.page_token,
                tenant_id=chain,
                method=call.method.name,
                query=query_of(request),
            )
        return await self._trail.query(
            chain, request.filter, limit=limit, position=position, call=call
        )

    def _token(
        self,
        found: audit_archive_pb2.QueryAuditRecordsResponse,
        chain: TenantId,
        request: Message,
        call: Call,
    ) -> str:
        if not found.position:
            return ""
        return self._pages.seal(
            found.position,
            tenant_id=chain,
            method=call.method.name,
            query=query_of(request),
        )
