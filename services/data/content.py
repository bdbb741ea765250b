"""Templates' content in the storage service."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
from google.rpc import error_details_pb2

from boundary.channel import keep_ending, what_ended
from boundary.context import CONTEXT_KEY, TenantContext
from boundary.delegation import ContextSource
from boundary.errors import (
    DataLoss,
    FailedPrecondition,
    Internal,
    ResourceExhausted,
    SiloError,
    Unavailable,
    error_info,
    tenant_unavailable,
)
from boundary.ids import EntityId
from boundary.resolver_client import rich_status, unreachable
from services.data.ports import CONTENT_SECONDS, Content, ContentStat, content_path
from silo.storage.v1 import object_pb2, object_pb2_grpc

CHUNK_BYTES = 1024 * 1024
CONTENT_TYPE = "text/html; charset=utf-8"

_AUDIENCE = "storage"
_UNCERTAIN = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE,
    }
)


class StorageContent:
    """The TemplateContent port over storage's ObjectService.

    Each call carries a context for storage that the resolver delegates: the caller's own where a caller
    is served, the service's own in recovery.
    """

    def __init__(self, channel: grpc.aio.Channel, contexts: ContextSource) -> None:
        self._stub: object_pb2_grpc.ObjectServiceAsyncStub = object_pb2_grpc.ObjectServiceStub(
            channel
        )
        self._contexts = contexts

    async def put(
        self, tenant: TenantContext, template_id: EntityId, data: bytes, *, sha256: str
    ) -> None:
        """As the port says."""
        spec = object_pb2.UploadSpec(
            path=content_path(template_id), content_type=CONTENT_TYPE, sha256=sha256
        )
        metadata = await self._metadata(tenant)
        call = keep_ending(
            self._stub.UploadObject(_parts(spec, data), metadata=metadata, timeout=CONTENT_SECONDS)
        )
        try:
            await call
        except grpc.aio.AioRpcError as error:
            raise content_error(await what_ended(call, error)) from error

    async def read(self, tenant: TenantContext, template_id: EntityId) -> Content | None:
        """As the port says."""
        request = object_pb2.DownloadObjectRequest(path=content_path(template_id))
        metadata = await self._metadata(tenant)
        sha256 = ""
        chunks: list[bytes] = []
        try:
            call = self._stub.DownloadObject(request, metadata=metadata, timeout=CONTENT_SECONDS)
            async for response in call:
                if response.HasField("object"):
                    sha256 = response.object.sha256
                else:
                    chunks.append(response.chunk)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise content_error(error) from error
        return Content(data=b"".join(chunks), sha256=sha256)

    async def stat(self, tenant: TenantContext, template_id: EntityId) -> ContentStat | None:
        """As the port says."""
        request = object_pb2.GetObjectRequest(path=content_path(template_id))
        metadata = await self._metadata(tenant)
        try:
            response = await self._stub.GetObject(
                request, metadata=metadata, timeout=CONTENT_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                return None
            raise content_error(error) from error
        return ContentStat(sha256=response.object.sha256, size=response.object.size)

    async def delete(self, tenant: TenantContext, template_id: EntityId) -> None:
        """As the port says."""
        request = object_pb2.DeleteObjectRequest(path=content_path(template_id))
        metadata = await self._metadata(tenant)
        try:
            await self._stub.DeleteObject(request, metadata=metadata, timeout=CONTENT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise content_error(error) from error

    async def _metadata(self, tenant: TenantContext) -> tuple[tuple[str, str], ...]:
        """A context for storage.

        A context that has an actor is this service's own; it is renewed and not passed on.
        """
        if tenant.actor:
            token = await self._contexts.for_tenant(tenant.tenant_id, audience=_AUDIENCE)
        else:
            token = await self._contexts.on_behalf_of(tenant, audience=_AUDIENCE)
        return ((CONTEXT_KEY, token),)


async def _parts(
    spec: object_pb2.UploadSpec, data: bytes
) -> AsyncIterator[object_pb2.UploadObjectRequest]:
    yield object_pb2.UploadObjectRequest(spec=spec)
    for start in range(0, len(data), CHUNK_BYTES):
        yield object_pb2.UploadObjectRequest(chunk=data[start : start + CHUNK_BYTES])


def content_error(error: grpc.aio.AioRpcError) -> SiloError:
    """What storage's refusal means to the caller whose template it is.

    What may pass, or may have been done all the same, is Unavailable; what the caller can mend keeps its
    reason; the rest is a defect of ours.
    """
    code = error.code()
    status = rich_status(error)
    info = error_info(status)
    # An INTERNAL that storage did not send is grpc's own: a message that was written while the call was
    # ending. What ended the call is lost with it.
    if code in _UNCERTAIN or (code == grpc.StatusCode.INTERNAL and info is None):
        return unreachable("storage")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        reason = info.reason if info is not None else "STORAGE_FULL"
        return ResourceExhausted(reason, status.message or "storage is full")
    if code == grpc.StatusCode.UNAUTHENTICATED:
        # The tenant's generation has changed in between; a retry comes with a fresh context.
        return Unavailable("CONTEXT_REFUSED", "the tenant context was renewed; try again")
    if code == grpc.StatusCode.PERMISSION_DENIED:
        return tenant_unavailable()
    return _about_keys(code, status.message, info) or Internal()


def _about_keys(
    code: grpc.StatusCode, message: str, info: error_details_pb2.ErrorInfo | None
) -> SiloError | None:
    """What concerns the tenant's key or what is encrypted under it, as storage says it."""
    if info is None:
        return None
    if code == grpc.StatusCode.FAILED_PRECONDITION and info.reason.startswith("KEY_"):
        return FailedPrecondition(info.reason, message)
    if code == grpc.StatusCode.DATA_LOSS:
        return DataLoss(info.reason, message, metadata={"place": info.metadata["place"]})
    return None
