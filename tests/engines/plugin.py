"""The engines that the tests here run against, each started when a test first asks for it.

It is a plugin (`-p tests.engines.plugin`), so that the isolation and end-to-end suites can run on them as well.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.engines import app
from tests.engines.servers.dynamodb import dynamodb_endpoint
from tests.engines.servers.opensearch import opensearch_endpoint
from tests.engines.servers.s3 import S3Server, s3_endpoint

__all__ = ["dynamodb_endpoint", "opensearch_endpoint", "s3_endpoint"]

REGION = "eu-central-1"


@pytest.fixture(scope="session")
def production_environment(
    tmp_path_factory: pytest.TempPathFactory,
    dynamodb_endpoint: str,
    s3_endpoint: S3Server,
    opensearch_endpoint: str,
) -> dict[str, str]:
    """What the processes of a suite on production engines find in their environment."""
    path: Path = tmp_path_factory.mktemp("engines") / "engines.json"
    region = {
        "table": {"aws_region": REGION, "endpoint": dynamodb_endpoint},
        "objects": {"aws_region": "us-east-1", "endpoint": s3_endpoint.url, "path_style": True},
        "search": {"shared": {"url": opensearch_endpoint, "replicas": 0}},
    }
    sessions = {
        "kind": "tenant-sessions",
        "roles": {"data": s3_endpoint.role, "storage": s3_endpoint.role},
        "sts_endpoint": s3_endpoint.url,
    }
    path.write_text(json.dumps({"regions": {REGION: region}, "credentials": sessions}))
    variables = {
        "SILO_ENGINES": str(path),
        "SILO_REGION": REGION,
        "AWS_ACCESS_KEY_ID": s3_endpoint.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_endpoint.secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    made = CliRunner().invoke(app, ["create"], env=variables)
    assert made.exit_code == 0, made.output
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SILO_")}
    return {**inherited, **variables}
