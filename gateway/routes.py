"""The gateway's routes, from the descriptors: every exposed method of every service, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from boundary.catalog import Method
from boundary.interceptors.chain import Chain
from boundary.interceptors.shapes import ByPath
from gateway.backends import Backends
from gateway.contexts import ContextCache
from gateway.forwarding import Forwarding
from gateway.proxy import handler_of


class Routes(ByPath):
    """Forwards each call to the service of its method.

    Attributes:
        services: the full names of the proto services that have an exposed method.
    """

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
        handlers = {
            method.path: handler_of(
                Forwarding(method, contexts=contexts, channel=backends.channel(method)), chain
            )
            for method in exposed
        }
        super().__init__(handlers, chain)
        self.services = tuple(
            dict.fromkeys(method.descriptor.containing_service.full_name for method in exposed)
        )
