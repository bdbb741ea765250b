"""The channels to the services behind the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import grpc

from boundary.catalog import Method
from boundary.channel import open_channel
from boundary.tls import Tls


class Backends:
    """Two channels to each service, open for as long as the gateway runs.

    Streams have a connection of their own, so that a bulk transfer does not hold up the small calls that would
    otherwise share its connection's flow control window.
    """

    def __init__(self, addresses: Mapping[str, str], *, tls: Tls | None = None) -> None:
        """Takes the address of each service by its name in the catalog."""
        self._unary = {name: open_channel(address, tls=tls) for name, address in addresses.items()}
        self._streams = {
            name: open_channel(address, tls=tls, own_connection=True)
            for name, address in addresses.items()
        }

    def unary(self, service: str) -> grpc.aio.Channel:
        """The channel for a service's unary calls."""
        return self._unary[service]

    def channel(self, method: Method) -> grpc.aio.Channel:
        """The channel for calls of a method."""
        if method.client_streaming or method.server_streaming:
            return self._streams[method.service]
        return self._unary[method.service]

    async def hold_open(self) -> None:
        """Connects at once, so that no caller waits for it, and closes the channels when cancelled."""
        channels = [*self._unary.values(), *self._streams.values()]
        for channel in channels:
            channel.get_state(try_to_connect=True)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.gather(*(channel.close() for channel in channels))
