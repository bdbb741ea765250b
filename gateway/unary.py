"""Unary calls as bytes, on the level below grpc.aio's call objects.

grpc.aio makes every unary call a task with three metadata objects, (de)serializers and callbacks of its own. A
proxy has no use for any of it, and pays for it with every call. The Cython call beneath has all that is needed:
bytes in, bytes out, a status. It is private to grpcio, whose version the lock file pins; `tests/unit/gateway/`
holds what is relied on here, so that an upgrade which changes it is noticed before it is taken.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
from grpc._cython import cygrpc

from boundary.metadata import Metadata


class UnaryMethod:
    """A unary method of a service behind the gateway."""

    def __init__(self, channel: grpc.aio.Channel, path: str) -> None:
        self._channel: Any = channel._channel  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        self._path = path.encode()
        self._context = cygrpc.build_census_context()

    async def __call__(self, metadata: Metadata, seconds: float | None, request: bytes) -> bytes:
        """The service's answer.

        Raises:
            grpc.aio.AioRpcError: the service, or the transport, ended the call otherwise.
        """
        deadline = None if seconds is None else time.time() + seconds
        call = self._channel.call(self._path, deadline, None, None, 0)
        try:
            response: bytes = await call.unary_unary(request, metadata, self._context)
        except asyncio.CancelledError:
            if not call.done():
                call.cancel("the caller went away")
            raise
        if call.is_ok():
            return response
        status = await call.status()
        raise grpc.aio.AioRpcError(
            _CODES[status.code()],
            grpc.aio.Metadata(*await call.initial_metadata()),
            grpc.aio.Metadata(*(status.trailing_metadata() or ())),
            details=status.details(),
            debug_error_string=status.debug_error_string(),
        )


_CODES = {code.value[0]: code for code in grpc.StatusCode}
