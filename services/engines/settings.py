"""The production engines of a deployment, as its engines file lists them.

The file is JSON; `SILO_ENGINES` names it. `docs/engines.md` shows one. What a region leaves out is embedded, which
only a deployment of one region can have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableEngine(_Part):
    """DynamoDB in one region.

    Attributes:
        aws_region: what requests are signed for.
        endpoint: another endpoint than AWS's own, as a URL; None for AWS's own.
        tables: the tables that tenants can be placed in; the first is where they are placed by default.
    """

    aws_region: Name
    endpoint: str | None = None
    tables: tuple[Name, ...] = Field(default=("EmailPlatform",), min_length=1)


class ObjectsEngine(_Part):
    """S3, or what speaks its API, in one region.

    Attributes:
        aws_region: what requests are signed for.
        endpoint: another endpoint than AWS's own, as a URL; None for AWS's own.
        buckets: the buckets that tenants can be placed in; the first is where they are placed by default.
        path_style: whether the bucket stands in the path, as most servers other than AWS's want it.
        accelerate: whether to use S3 Transfer Acceleration.
        tenant_keys: whether each tenant's objects are encrypted with a KMS key of its own, which must be there.
        threads: how many requests may be under way at once.
    """

    aws_region: Name
    endpoint: str | None = None
    buckets: tuple[Name, ...] = Field(default=("email-platform-storage",), min_length=1)
    path_style: bool = False
    accelerate: bool = False
    tenant_keys: bool = False
    threads: int = Field(default=32, ge=1, le=512)


class KeysEngine(_Part):
    """KMS in one region, which keeps a key for each tenant that has encryption.

    Attributes:
        aws_region: what requests are signed for.
        endpoint: another endpoint than AWS's own, as a URL; None for AWS's own.
    """

    aws_region: Name
    endpoint: str | None = None


class SearchEngine(_Part):
    """An OpenSearch cluster.

    Attributes:
        url: where it answers.
        username: who the service is there; nobody where empty.
        password_file: the file with the password.
        ca_file: the certificates that the cluster's must come from; the system's where unset.
        replicas: of each index; one node alone can hold none.
        shards: of each new index, by the tenant's tier; one where the tier is not named.
        security: `roles` where the cluster has the security plugin: each tenant then has a role and a user of its
            own there, as whom its requests are made; the service's user may act as them.
    """

    url: str
    username: str = ""
    password_file: Path | None = None
    ca_file: Path | None = None
    replicas: int = Field(default=1, ge=0, le=5)
    shards: dict[Name, Annotated[int, Field(ge=1, le=100)]] = Field(default_factory=dict)
    security: Literal["none", "roles"] = "none"

    @model_validator(mode="after")
    def _roles_need_a_user(self) -> SearchEngine:
        if self.security == "roles" and not self.username:
            raise ValueError("security by roles wants a username, who acts as the tenants' users")
        return self


class Region(_Part):
    """The engines of one region. What is left out is embedded; several regions without `keys` have none."""

    table: TableEngine | None = None
    objects: ObjectsEngine | None = None
    keys: KeysEngine | None = None
    search: dict[Name, SearchEngine] = Field(default_factory=dict)


class EnvironmentCredentials(_Part):
    """The credentials that the process finds in its environment, the same for every tenant.

    The port guard then stands alone: for servers that know no roles, and for development.
    """

    kind: Literal["environment"] = "environment"


class TenantSessions(_Part):
    """A session of its own for every tenant, which reaches that tenant's partition and prefix alone.

    Attributes:
        roles: the role that each service's sessions are made of, for `data` and `storage`. The service's own
            identity may assume it.
        sts_endpoint: another STS than AWS's own, as a URL.
        seconds: how long a session lives; a role that was assumed by a role lives an hour at the most.
    """

    kind: Literal["tenant-sessions"]
    roles: dict[Literal["data", "storage"], str]
    sts_endpoint: str | None = None
    seconds: int = Field(default=3600, ge=900, le=3600)


class Engines(_Part):
    """The engines of a deployment.

    Attributes:
        regions: by the name that tenants' placements use.
        credentials: with which DynamoDB and S3 are asked.
    """

    regions: dict[Name, Region] = Field(min_length=1)
    credentials: Annotated[EnvironmentCredentials | TenantSessions, Field(discriminator="kind")] = (
        EnvironmentCredentials()
    )

    @model_validator(mode="after")
    def _several_regions_embed_nothing(self) -> Engines:
        if len(self.regions) > 1:
            for name, region in self.regions.items():
                if region.table is None or region.objects is None or not region.search:
                    raise ValueError(
                        f"region {name} must have a table, objects and search of its own"
                    )
        if len({region.keys is None for region in self.regions.values()}) > 1:
            raise ValueError("either every region has keys or none has")
        return self


def load_engines(path: Path | None, *, region: str) -> Engines:
    """The engines in a file; where there is none, the embedded ones of one region.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not in the form, or does not have the region that new tenants are placed in.
    """
    if path is None:
        return Engines(regions={region: Region()})
    engines = Engines.model_validate_json(path.read_bytes())
    if region not in engines.regions:
        raise ValueError(f"{path} does not have the region {region}")
    return engines
