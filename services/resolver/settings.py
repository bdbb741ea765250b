"""The resolver's settings."""

from __future__ import annotations

from pathlib import Path

from boundary.context import Placement
from boundary.settings import ProcessSettings


class ResolverSettings(ProcessSettings):
    """What the resolver reads from its environment.

    Attributes:
        resolver_listen: where gRPC is served.
        resolver_http_listen: where health and metrics are served.
        table: the table that new tenants are placed in.
        bucket: the bucket that new tenants are placed in.
        search_cluster: the search cluster that new tenants are placed in.
    """

    resolver_listen: str = "127.0.0.1:50051"
    resolver_http_listen: str = "127.0.0.1:9091"
    table: str = "EmailPlatform"
    bucket: str = "email-platform-storage"
    search_cluster: str = "local"

    @property
    def signing_keys_folder(self) -> Path:
        """Where the context signing keys are; no other process reads it."""
        return self.home / "resolver" / "signing-keys"

    @property
    def table_path(self) -> Path:
        """The embedded table's file."""
        return self.home / "table" / "table.db"

    @property
    def default_placement(self) -> Placement:
        """Where new tenants' data lives."""
        return Placement(
            region=self.region,
            table=self.table,
            bucket=self.bucket,
            search_cluster=self.search_cluster,
        )
