"""The gateway's settings: environment variables that begin with `SILO_`."""

from __future__ import annotations

from pathlib import Path

from boundary.settings import ProcessSettings


class GatewaySettings(ProcessSettings):
    """What the gateway reads from its environment, besides what every process does.

    Attributes:
        gateway_listen: where callers reach it over gRPC.
        gateway_http_listen: where health, readiness and metrics are served over HTTP.
        gateway_tls_folder: `cert.pem` and `key.pem` for TLS with callers, who prove themselves by their JWT; in
            the clear where unset.
        data_address: where the data service is.
        search_address: where the search service is.
    """

    gateway_listen: str = "127.0.0.1:50050"
    gateway_http_listen: str = "127.0.0.1:8080"
    gateway_tls_folder: Path | None = None
    data_address: str = "127.0.0.1:50052"
    search_address: str = "127.0.0.1:50054"

    @property
    def backend_addresses(self) -> dict[str, str]:
        """Where each service of the suite is, by its name in the catalog."""
        return {
            "resolver": self.resolver_address,
            "data": self.data_address,
            "storage": self.storage_address,
            "search": self.search_address,
        }
