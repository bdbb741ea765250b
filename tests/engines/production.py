"""The environment of a suite on engines that run, with its engines created."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cli.engines import app
from devstack.settings import inherited_environment
from tests.engines.servers.s3 import S3Server

REGION = "eu-central-1"


def region_on(
    *,
    dynamodb: str,
    s3: S3Server,
    opensearch: str,
    tables: Sequence[str] = ("EmailPlatform",),
    buckets: Sequence[str] = ("email-platform-storage",),
    kms: str = "",
) -> dict[str, Any]:
    """A region of the engines file, on these engines."""
    objects = {"aws_region": "us-east-1", "endpoint": s3.url, "path_style": True}
    return {
        "table": {"aws_region": REGION, "endpoint": dynamodb, "tables": list(tables)},
        "objects": {**objects, "buckets": list(buckets)},
        "search": {"shared": {"url": opensearch, "replicas": 0}},
        **({"keys": {"aws_region": REGION, "endpoint": kms}} if kms else {}),
    }


def environment_on(folder: Path, *, s3: S3Server, regions: Mapping[str, Any]) -> dict[str, str]:
    """What the processes find in their environment; a session for each tenant comes from the S3 server's STS."""
    path = folder / "engines.json"
    sessions = {
        "kind": "tenant-sessions",
        "roles": {"data": s3.role, "storage": s3.role},
        "sts_endpoint": s3.url,
    }
    path.write_text(json.dumps({"regions": regions, "credentials": sessions}))
    variables = {
        "SILO_ENGINES": str(path),
        "SILO_REGION": REGION,
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    created = CliRunner().invoke(app, ["create"], env=variables)
    if created.exit_code != 0:
        raise RuntimeError(created.output)
    return {**inherited_environment(), **variables}
