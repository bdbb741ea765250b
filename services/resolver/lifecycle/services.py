"""Data, storage and search as a step of an operation reaches them: each call under a fresh lifecycle context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from typing import Any, TypeVar

import grpc
from google.rpc import error_details_pb2

from boundary.channel import connected, keep_ending, what_ended
from boundary.context import CONTEXT_KEY
from boundary.errors import (
    Aborted,
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SiloError,
    Unavailable,
    error_info,
)
from boundary.permissions import Permissions
from boundary.resolver_client import rich_status, unreachable
from services.resolver.minting import ContextMinter, Subject

S = TypeVar("S")

_SECONDS = 30.0
_Metadata = tuple[tuple[str, str], ...]


class Services:
    """The three services' channels, and the contexts with which the platform works on a tenant there."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], *, minter: ContextMinter) -> None:
        """Takes the channels by service, for example `data`."""
        self._channels = dict(channels)
        self._minter = minter

    def at(self, service: str, *, subject: Subject, permissions: Iterable[str]) -> Access:
        """One service, for the platform's own work on one tenant.

        Args:
            subject: the tenant, at the placement at which it is worked on.
            permissions: `lifecycle.` ones alone.
        """
        granted = Permissions(permissions)

        def metadata() -> _Metadata:
            minted = self._minter.mint_lifecycle(subject, audience=service, permissions=granted)
            return ((CONTEXT_KEY, minted.token),)

        return Access(service, self._channels[service], metadata)

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self._channels.values():
            await channel.close()


class Access:
    """One service for one tenant. A context lives for a minute and each call begins with a fresh one."""

    def __init__(
        self, service: str, channel: grpc.aio.Channel, metadata: Callable[[], _Metadata]
    ) -> None:
        self._service = service
        self._channel = channel
        self._metadata = metadata

    def stub(self, make: Callable[[grpc.aio.Channel], S]) -> S:
        """A stub of one of the service's proto services; its methods are called by `call` and the like."""
        return make(self._channel)

    async def call(self, method: Any, request: Any, *, seconds: float = _SECONDS) -> Any:
        """The answer of a method that takes one message and gives one.

        Raises:
            SiloError: as the service answered; Unavailable where it does not.
        """
        await connected(self._channel)
        try:
            return await method(request, metadata=self._metadata(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error

    async def read(self, method: Any, request: Any, *, seconds: float) -> AsyncGenerator[Any, None]:
        """The answers of a method that takes one message and gives many; the call ends with the iteration.

        Args:
            seconds: how long the whole stream may take.

        Raises:
            SiloError: as the service answered; Unavailable where it does not.
        """
        await connected(self._channel)
        call = method(request, metadata=self._metadata(), timeout=seconds)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise self._error(error) from error
        finally:
            call.cancel()

    async def send(self, method: Any, requests: AsyncIterator[Any], *, seconds: float) -> Any:
        """The answer of a method that takes many messages and gives one.

        Args:
            seconds: how long the whole stream may take.

        Raises:
            SiloError: as the service answered; Unavailable where it does not. What reading the messages raises is
                raised as it is.
        """
        await connected(self._channel)
        call = keep_ending(method(metadata=self._metadata(), timeout=seconds))
        try:
            await _write(call, requests)
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._error(await what_ended(call, error)) from error
        finally:
            call.cancel()

    def _error(self, error: grpc.aio.AioRpcError) -> SiloError:
        """The service's own refusal as ours. Without an ErrorInfo it is gRPC's, and says that nobody answers."""
        info = error_info(rich_status(error))
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded("DEADLINE_EXCEEDED", f"{self._service} took too long")
        if info is None:
            return unreachable(self._service)
        return _refusal(error, info, self._service)


async def _write(call: Any, requests: AsyncIterator[Any]) -> None:
    """Writes the messages, as long as the service takes them.

    Not handed to gRPC to iterate over: it would make a cancelled call of what the iteration raises, and might
    still be within it when somebody else closes it.
    """
    try:
        async for request in requests:
            await call.write(request)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        return  # the service has ended the call; whoever waits for its answer sees how


def _refusal(
    error: grpc.aio.AioRpcError, info: error_details_pb2.ErrorInfo, service: str
) -> SiloError:
    message = error.details() or info.reason
    kind = _KINDS.get(error.code().name)
    if kind is not None:
        return kind(info.reason, message, metadata=dict(info.metadata))
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unavailable(info.reason, message)
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidArgument(info.metadata.get("field", ""), message, reason=info.reason)
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound(info.metadata.get("resource", service))
    return Internal()


_KINDS: dict[str, type[SiloError]] = {
    kind.code: kind
    for kind in (Aborted, DataLoss, FailedPrecondition, PermissionDenied, ResourceExhausted)
}
