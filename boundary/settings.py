"""Settings that every process of the suite has: environment variables that begin with `SILO_`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_MODES = {"production": "strict", "development": "batched"}


class ProcessSettings(BaseSettings):
    """What every process reads from its environment.

    Attributes:
        home: where state, keys and the audit trail live; `SILO_HOME`.
        environment: `production`, or `development`, which accepts the development issuer; `silo up` sets it.
        region: the region that this process serves.
        engines: the JSON file that lists the production engines; embedded ones where unset.
        issuers: a JSON file that lists who may issue callers' JWTs; `boundary/issuers.py` tells its form.
        resolver_address: where the resolver is.
        tls_folder: the process's own certificate, key and CA, for TLS with the other processes, mutually;
            `boundary/tls.py` tells the files. In the clear, for loopback alone, where unset.
        storage_address: where the storage service is, which keeps the audit trail in the object store, too.
        audit_mode: `strict`: a call has its answer when its audit record is durable; `batched`: the record is
            durable a fifth of a second later at the most. Strict where unset in production, else batched.
        audit_segment_seconds: after how long the records so far are signed and sent to the object store.
        audit_local_hours: how long they stay on this machine after that.
        peers: the folder of peer tokens, where it is not in the home.
        dev_issuer: the folder of the development issuer's key set, where it is not in the home.
        key_seconds: for how many seconds a data key of a tenant is held unwrapped; data and storage hold some.
        drain_seconds: how long calls that are under way may take to end when the process stops.
        log_level: the least level that is logged to standard error.
    """

    model_config = SettingsConfigDict(
        env_prefix="SILO_",
        env_ignore_empty=True,  # what compose files and shells leave empty is not set
        extra="ignore",
        frozen=True,
    )

    home: Path = Path(".silo")
    environment: Literal["development", "production"] = "production"
    region: str = "local"
    engines: Path | None = None
    issuers: Path | None = None
    resolver_address: str = "127.0.0.1:50051"
    tls_folder: Path | None = None
    storage_address: str = "127.0.0.1:50053"
    audit_mode: Literal["strict", "batched"] | None = None
    audit_segment_seconds: float = Field(default=10.0, ge=0.05, le=3600)
    audit_local_hours: float = Field(default=24.0, ge=0)
    peers: Path | None = None
    dev_issuer: Path | None = None
    key_seconds: float = Field(default=300.0, gt=0, le=3600)
    drain_seconds: float = 5.0
    log_level: str = "INFO"

    @property
    def audit_folder(self) -> Path:
        """Where audit records are appended."""
        return self.home / "audit"

    @property
    def audit_strict(self) -> bool:
        """Whether a call has its answer only when its audit record is durable."""
        return (self.audit_mode or _MODES[self.environment]) == "strict"

    @property
    def peers_folder(self) -> Path:
        """Where the peer tokens are."""
        return self.peers or self.home / "peers"

    @property
    def keys_folder(self) -> Path:
        """Where symmetric keys (page tokens, signed URLs) are."""
        return self.home / "keys"

    @property
    def tenant_keys_folder(self) -> Path:
        """Where the embedded keeper has the tenants' keys."""
        return self.keys_folder / "tenants"

    @property
    def dev_issuer_folder(self) -> Path:
        """Where the development issuer's key set is."""
        return self.dev_issuer or self.home / "dev-issuer"
