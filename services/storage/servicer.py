"""silo.storage.v1.ObjectService: messages to operations and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp

from boundary.errors import InvalidArgument
from boundary.interceptors.call import Call
from boundary.pages import query_of
from services.storage.operations import ObjectOperations, SignedUrl
from services.storage.ports import Span, StoredObject, Upload
from silo.storage.v1 import object_pb2

MAX_CHUNK_BYTES = 2 * 1024 * 1024
"""The largest chunk of an upload (object.proto)."""


class ObjectServicer:
    """Serves the RPCs behind the chain, which has let the call through."""

    def __init__(self, operations: ObjectOperations) -> None:
        self._operations = operations

    async def upload_object(
        self, requests: AsyncIterator[object_pb2.UploadObjectRequest], call: Call
    ) -> object_pb2.UploadObjectResponse:
        """UploadObject."""
        spec = await _spec_of(requests)
        upload = Upload(
            content_type=spec.content_type,
            metadata=spec.metadata,
            sha256=spec.sha256,
            create_only=spec.create_only,
            if_match=spec.if_match,
        )
        stored = await self._operations.upload(call.tenant, spec.path, _chunks_of(requests), upload)
        return object_pb2.UploadObjectResponse(object=message_of(stored))

    async def download_object(
        self, request: object_pb2.DownloadObjectRequest, call: Call
    ) -> AsyncIterator[object_pb2.DownloadObjectResponse | bytes]:
        """DownloadObject."""
        span = Span(offset=request.offset, length=request.length)
        opened = await self._operations.download(
            call.tenant, request.path, span=span, if_match=request.if_match
        )
        async with opened as content:
            yield object_pb2.DownloadObjectResponse(object=message_of(content.object))
            async for chunk in content.chunks():
                yield _before_chunk(len(chunk)) + chunk

    async def get_object(
        self, request: object_pb2.GetObjectRequest, call: Call
    ) -> object_pb2.GetObjectResponse:
        """GetObject."""
        stored = await self._operations.get(call.tenant, request.path)
        return object_pb2.GetObjectResponse(object=message_of(stored))

    async def list_objects(
        self, request: object_pb2.ListObjectsRequest, call: Call
    ) -> object_pb2.ListObjectsResponse:
        """ListObjects."""
        page, token = await self._operations.list(
            call.tenant,
            prefix=request.prefix,
            delimiter=request.delimiter,
            size=request.page_size,
            token=request.page_token,
            query=query_of(request),
        )
        return object_pb2.ListObjectsResponse(
            objects=map(message_of, page.objects), prefixes=page.folders, next_page_token=token
        )

    async def copy_object(
        self, request: object_pb2.CopyObjectRequest, call: Call
    ) -> object_pb2.CopyObjectResponse:
        """CopyObject."""
        call.resources = (request.source_path, request.destination_path)
        stored = await self._operations.copy(
            call.tenant,
            request.source_path,
            request.destination_path,
            source_if_match=request.source_if_match,
            create_only=request.create_only,
        )
        return object_pb2.CopyObjectResponse(object=message_of(stored))

    async def delete_object(
        self, request: object_pb2.DeleteObjectRequest, call: Call
    ) -> object_pb2.DeleteObjectResponse:
        """DeleteObject."""
        await self._operations.delete(call.tenant, request.path, if_match=request.if_match)
        return object_pb2.DeleteObjectResponse()

    async def delete_objects(
        self, request: object_pb2.DeleteObjectsRequest, call: Call
    ) -> object_pb2.DeleteObjectsResponse:
        """DeleteObjects."""
        deleted, more = await self._operations.delete_under(
            call.tenant, request.prefix, everything=request.all
        )
        return object_pb2.DeleteObjectsResponse(deleted_count=deleted, more=more)

    async def sign_upload(
        self, request: object_pb2.SignUploadRequest, call: Call
    ) -> object_pb2.SignUploadResponse:
        """SignUpload."""
        signed = self._operations.sign_upload(
            call.tenant,
            request.path,
            ttl=_seconds(request),
            content_type=request.content_type,
            max_bytes=request.max_bytes,
            create_only=request.create_only,
        )
        call.resource = _named(call.resource, signed)
        return object_pb2.SignUploadResponse(
            url=signed.url, headers=signed.headers, expire_time=Timestamp(seconds=signed.expires_at)
        )

    async def sign_download(
        self, request: object_pb2.SignDownloadRequest, call: Call
    ) -> object_pb2.SignDownloadResponse:
        """SignDownload."""
        signed = self._operations.sign_download(
            call.tenant,
            request.path,
            ttl=_seconds(request),
            download_name=request.download_name,
        )
        call.resource = _named(call.resource, signed)
        return object_pb2.SignDownloadResponse(
            url=signed.url, expire_time=Timestamp(seconds=signed.expires_at)
        )


def _named(path: str, signed: SignedUrl) -> str:
    """The path with the URL's id, under which its uses stand in the audit trail."""
    return f"{path}?id={signed.url_id}"


async def _spec_of(
    requests: AsyncIterator[object_pb2.UploadObjectRequest],
) -> object_pb2.UploadSpec:
    async for request in requests:
        if request.WhichOneof("part") == "spec":
            return request.spec
        break
    raise InvalidArgument("spec", "must be in the first message", reason="SPEC_MISSING")


async def _chunks_of(
    requests: AsyncIterator[object_pb2.UploadObjectRequest],
) -> AsyncIterator[bytes]:
    async for request in requests:
        part = request.WhichOneof("part")
        if part == "spec":
            raise InvalidArgument("spec", "must be in the first message alone")
        if part is None:
            raise InvalidArgument("chunk", "must be set in every message after the first")
        chunk = request.chunk  # every look at it is a copy
        if len(chunk) > MAX_CHUNK_BYTES:
            raise InvalidArgument("chunk", f"must not be larger than {MAX_CHUNK_BYTES} bytes")
        yield chunk


@lru_cache(maxsize=64)
def _before_chunk(size: int) -> bytes:
    """What a serialised message with a chunk of size bytes begins with; the chunk ends it.

    A chunk that goes into a message and out again is copied twice, on the event loop.
    """
    return object_pb2.DownloadObjectResponse(chunk=bytes(size)).SerializeToString()[: -size or None]


def _seconds(
    request: object_pb2.SignUploadRequest | object_pb2.SignDownloadRequest,
) -> float | None:
    if not request.HasField("ttl"):
        return None
    return request.ttl.seconds + request.ttl.nanos / 1e9


def message_of(stored: StoredObject) -> object_pb2.Object:
    """The object as a message."""
    time = Timestamp()
    time.FromDatetime(stored.update_time)
    return object_pb2.Object(
        path=stored.path,
        size=stored.size,
        content_type=stored.content_type,
        sha256=stored.sha256,
        etag=stored.etag,
        metadata=stored.metadata,
        update_time=time,
        key_version=stored.key_version,
    )
