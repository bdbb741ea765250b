"""Channels between the processes of the suite."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from weakref import WeakKeyDictionary

import grpc

from boundary.interceptors.serve import HARD_MAX_MESSAGE_BYTES, METADATA_BYTES
from boundary.tls import Tls

FLOW_CONTROL = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.http2.max_frame_size", 1024 * 1024),
)
"""A fixed window of 1 MiB for each stream, which one frame may fill. The window that gRPC would grow by itself
held up to 100 MiB of a fast upload in memory and was no faster. Frames of 16 KiB, which are HTTP/2's default, cost
a tenth more CPU."""

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
    ("grpc.dns_min_time_between_resolutions_ms", 250),
    ("grpc.enable_retries", 0),
)
"""A service that comes back is found within a twentieth of a second; one that comes back at another address, as
containers do, within a quarter, where gRPC by itself would go on dialling the old one for half a minute. Whether
to retry is the caller's decision."""


_CORE = "Internal error from Core"
_endings: WeakKeyDictionary[Any, grpc.aio.AioRpcError] = WeakKeyDictionary()
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


def keep_ending(call: Any) -> Any:
    """The call, whose ending is kept for `what_ended`; for calls with a stream from the client.

    Where the server's answer comes while a message is being sent, grpc.aio puts an INTERNAL of its own making in
    the place of the answer. Callbacks see the answer first.
    """
    call.add_done_callback(_keep)
    return call


async def what_ended(call: Any, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
    """The error that really ended a call: the server's, where grpc.aio has put one of its own in its place."""
    for _ in range(_ANSWER_LOOKS):
        if error.details() != _CORE:
            break
        kept = _endings.get(call)
        if kept is not None:
            return kept
        await asyncio.sleep(_ANSWER_SECONDS / _ANSWER_LOOKS)
    return error


def _keep(call: Any) -> None:
    code, details, trailers = (
        _at_once(part) for part in (call.code(), call.details(), call.trailing_metadata())
    )
    if details != _CORE and code is not grpc.StatusCode.OK:
        error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, details)
        _endings.setdefault(call, error)


def _at_once(part: Any) -> Any:
    """The result of a coroutine that has nothing to wait for: a call that is done has its status."""
    try:
        part.send(None)
    except StopIteration as returned:
        return returned.value
    part.close()
    return None


def open_channel(
    address: str, *, tls: Tls | None = None, own_connection: bool = False
) -> grpc.aio.Channel:
    """A channel to a process of the suite.

    Args:
        tls: what proves the two sides to each other; in the clear where None.
        own_connection: share the connection with no other channel to the same address, as gRPC otherwise does.
    """
    own = (("grpc.use_local_subchannel_pool", 1),) if own_connection else ()
    options = (*OPTIONS, *own)
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, tls.channel_credentials(), options=options)
