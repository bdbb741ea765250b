"""Channels between the processes of the suite."""

from __future__ import annotations

import grpc

from boundary.interceptors.serve import HARD_MAX_MESSAGE_BYTES, METADATA_BYTES

OPTIONS = (
    ("grpc.max_receive_message_length", HARD_MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", HARD_MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_retries", 0),
)
"""A service that comes back is found within a second. Retries are the caller's decision, never the channel's."""


def open_channel(address: str) -> grpc.aio.Channel:
    """A channel to a process of the suite."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)
