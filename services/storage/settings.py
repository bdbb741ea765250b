"""The storage service's settings."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveFloat

from boundary.settings import ProcessSettings
from services.storage.ports import MAX_OBJECT_BYTES


class StorageSettings(ProcessSettings):
    """What the storage service reads from its environment.

    Attributes:
        storage_listen: where gRPC is served.
        storage_http_listen: where signed URLs, health and metrics are served.
        storage_public_url: where the HTTP side is reached from outside; what signed URLs begin with.
        storage_max_object_bytes: the largest object of a tenant that has no limit of its own.
        storage_disk_threads: how many reads and writes of content files may be under way at once.
        storage_sweep_seconds: how often what has expired of a tenant's objects is removed, in seconds.
    """

    storage_listen: str = "127.0.0.1:50053"
    storage_http_listen: str = "127.0.0.1:9093"
    storage_public_url: str = "http://127.0.0.1:9093"
    storage_max_object_bytes: int = Field(default=MAX_OBJECT_BYTES, ge=1, le=MAX_OBJECT_BYTES)
    storage_disk_threads: int = Field(default=8, ge=1, le=256)
    storage_sweep_seconds: PositiveFloat = 3600.0

    @property
    def bucket_folder(self) -> Path:
        """The embedded bucket's folder."""
        return self.home / "objects"
