"""The settings of the data service."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, PositiveFloat

from boundary.settings import ProcessSettings


class DataSettings(ProcessSettings):
    """What the data service reads from its environment.

    Attributes:
        data_listen: where it serves gRPC; `SILO_DATA_LISTEN`.
        data_http_listen: where it serves health and metrics; `SILO_DATA_HTTP_LISTEN`.
        data_table_readers: how many threads read the embedded table; `SILO_DATA_TABLE_READERS`.
        data_sweep_seconds: how often counters that are older than their tenant keeps them are deleted, in seconds;
            `SILO_DATA_SWEEP_SECONDS`.
    """

    data_listen: str = "127.0.0.1:50052"
    data_http_listen: str = "127.0.0.1:9092"
    data_table_readers: int = Field(default=4, ge=1, le=64)
    data_sweep_seconds: PositiveFloat = 3600.0

    @property
    def table_path(self) -> Path:
        """The embedded table's file, which the resolver opens too."""
        return self.home / "table" / "table.db"
