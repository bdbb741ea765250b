"""Channels between the processes of the suite."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc

from boundary.interceptors.serve import HARD_MAX_MESSAGE_BYTES, METADATA_BYTES

FLOW_CONTROL = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
)
"""A fixed window of 1 MiB for each stream. The window that gRPC would grow by itself held up to 100 MiB of a fast
upload in memory and was no faster."""

OPTIONS = (
    *FLOW_CONTROL,
    ("grpc.max_receive_message_length", HARD_MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", HARD_MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # how long one attempt may take
    ("grpc.max_reconnect_backoff_ms", 50),
    ("grpc.enable_retries", 0),
)
"""A service that comes back is found within a twentieth of a second. Whether to retry is the caller's decision."""


_CORE = "Internal error from Core"
_ANSWER_SECONDS = 1.0
_ANSWER_LOOKS = 100

RECONNECT_SECONDS = 0.75
"""How long a call waits for a channel that is not connected: a little longer than until the next attempt."""


async def connected(channel: grpc.aio.Channel) -> None:
    """Returns once a channel is connected, or after RECONNECT_SECONDS.

    Nothing has been sent yet, so that waiting is safe for any call; a service that has just started or come back
    is reached instead of refused. One that is down still fails the call, soon.
    """
    if channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RECONNECT_SECONDS):
            await channel.channel_ready()


async def what_ended(call: Any, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """The error that really ended a call whose messages are streamed to the server.

    Where the server's answer comes while a message is being sent, grpc.aio reports INTERNAL of its own making
    first, and the answer takes its place a moment later.
    """
    for _ in range(_ANSWER_LOOKS):
        if error.details() != _CORE:
            break
        await asyncio.sleep(_ANSWER_SECONDS / _ANSWER_LOOKS)
        error = grpc.aio.AioRpcError(
            await call.code(),
            await call.initial_metadata(),
            await call.trailing_metadata(),
            await call.details(),
        )
    return error


def open_channel(address: str, *, own_connection: bool = False) -> grpc.aio.Channel:
    """A channel to a process of the suite.

    Args:
        own_connection: share the connection with no other channel to the same address, as gRPC otherwise does.
    """
    own = (("grpc.use_local_subchannel_pool", 1),) if own_connection else ()
    return grpc.aio.insecure_channel(address, options=(*OPTIONS, *own))
