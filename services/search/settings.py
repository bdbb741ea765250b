"""The search service's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import PositiveFloat, PositiveInt

from boundary.settings import ProcessSettings


class SearchSettings(ProcessSettings):
    """What the search service reads from its environment.

    Attributes:
        search_listen: where gRPC is served.
        search_http_listen: where health and metrics are served.
        search_open_indexes: how many tenants' index files may be open at once. Each costs up to three threads
            and 24 MiB of page cache.
        search_sweep_seconds: how often events that are older than their tenant keeps them are deleted, in seconds.
    """

    search_listen: str = "127.0.0.1:50054"
    search_http_listen: str = "127.0.0.1:9094"
    search_open_indexes: PositiveInt = 32
    search_sweep_seconds: PositiveFloat = 3600.0

    @property
    def index_folder(self) -> Path:
        """Where the embedded engine keeps its index files, one folder for each search cluster."""
        return self.home / "search"
