"""The resolver's settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from boundary.context import Placement
from boundary.settings import ProcessSettings
from services.resolver.lifecycle.crash import CrashPoint


class ResolverSettings(ProcessSettings):
    """What the resolver reads from its environment.

    Attributes:
        resolver_listen: where gRPC is served.
        resolver_http_listen: where health and metrics are served.
        table: the table that new tenants are placed in.
        bucket: the bucket that new tenants are placed in.
        search_cluster: the search cluster that new tenants are placed in.
        data_address: where the data service is, for the resolver's own work on tenants.
        search_address: where the search service is, for the same.
        offboarding_grace_days: how long an offboarding can be taken back where its caller does not say.
        settle_seconds: how long operations wait after a tenant was suspended or kept from writing, until what was
            begun before is over: no less than a context lives and a call that was let through takes.
        operation_lease_seconds: how long an operation is held by a resolver that is no longer heard of.
        crash_at: in development alone, `{kind}/{step}:{moment}` of operations, with commas between them, at each
            of which the process ends as by SIGKILL once in the life of a home; for tests.
        key_settle_seconds: how long a re-encryption rests between its passes, no less than a context lives.
        audit_days_basic: for how many days the audit trail of a tenant of this tier is kept.
        audit_days_standard: the same.
        audit_days_premium: the same.
        audit_days_platform: for how many days the records of no known tenant are kept.
    """

    resolver_listen: str = "127.0.0.1:50051"
    resolver_http_listen: str = "127.0.0.1:9091"
    table: str = "EmailPlatform"
    bucket: str = "email-platform-storage"
    search_cluster: str = "local"
    data_address: str = "127.0.0.1:50052"
    search_address: str = "127.0.0.1:50054"
    offboarding_grace_days: int = Field(default=30, ge=0, le=366)
    settle_seconds: float = Field(default=150.0, ge=0)
    operation_lease_seconds: float = Field(default=15.0, ge=0.5)
    crash_at: str | None = None
    key_settle_seconds: float = Field(default=120.0, ge=0)
    audit_days_basic: int = Field(default=90, ge=1)
    audit_days_standard: int = Field(default=365, ge=1)
    audit_days_premium: int = Field(default=2555, ge=1)
    audit_days_platform: int = Field(default=365, ge=1)

    @property
    def audit_days(self) -> Mapping[str, int]:
        """For how many days records are kept, by tier; under the empty name those of no known tenant."""
        return {
            "BASIC": self.audit_days_basic,
            "STANDARD": self.audit_days_standard,
            "PREMIUM": self.audit_days_premium,
            "": self.audit_days_platform,
        }

    @property
    def signing_keys_folder(self) -> Path:
        """Where the context signing keys are; no other process reads it."""
        return self.home / "resolver" / "signing-keys"

    @property
    def certificate_keys_folder(self) -> Path:
        """Where the keys are that sign certificates; they are kept for good."""
        return self.home / "resolver" / "certificate-keys"

    @property
    def crash_point(self) -> CrashPoint:
        """Where the process ends, for tests."""
        at = (self.crash_at or "") if self.environment == "development" else ""
        return CrashPoint(at, marker=self.home / "resolver" / "crashed")

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
