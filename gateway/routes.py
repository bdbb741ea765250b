"""The gateway's routes, from the descriptors: every exposed method of every service, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc

from boundary.catalog import Method
from boundary.errors import status_of
from boundary.interceptors.chain import Chain
from boundary.interceptors.serve import Rpc
from boundary.metadata import STATUS_KEY
from gateway.backends import Backends
from gateway.contexts import ContextCache
from gateway.failures import unknown_method
from gateway.forwarding import Forwarding
from gateway.proxy import handler_of

_GRPC_OWN = "/grpc."


class Routes(grpc.GenericRpcHandler):
    """Finds the handler of a call by its path."""

    def __init__(
        self,
        methods: Sequence[Method],
        *,
        backends: Backends,
        contexts: ContextCache,
        chain: Chain,
    ) -> None:
        """Takes the parts.

        Args:
            methods: the methods of the suite; those that are not exposed get no route.
        """
        exposed = [method for method in methods if method.edge]
        self._handlers = {
            method.path: handler_of(
                Forwarding(method, contexts=contexts, channel=backends.channel(method)), chain
            )
            for method in exposed
        }
        self._unknown: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            _refuse
        )
        self.services = tuple(
            dict.fromkeys(method.descriptor.containing_service.full_name for method in exposed)
        )

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a path; None for gRPC's own services, which the server itself has."""
        path = handler_call_details.method
        handler_of = self._handlers.get(path)
        if handler_of is not None:
            return handler_of(handler_call_details)
        return None if path.startswith(_GRPC_OWN) else self._unknown


async def _refuse(_: object, rpc: Rpc) -> None:
    error = unknown_method()
    details = (STATUS_KEY, status_of(error, "").SerializeToString())
    await rpc.abort(grpc.StatusCode.UNIMPLEMENTED, error.message, (details,))
