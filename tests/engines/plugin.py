"""The engines that the tests here run against, each started when a test first asks for it.

It is a plugin (`-p tests.engines.plugin`), so that the isolation and end-to-end suites can run on them as well.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.production import REGION, environment_on, region_on
from tests.engines.servers.dynamodb import dynamodb_endpoint
from tests.engines.servers.local_kms import start_local_kms
from tests.engines.servers.opensearch import opensearch_endpoint
from tests.engines.servers.s3 import S3Server, s3_endpoint

__all__ = ["dynamodb_endpoint", "opensearch_endpoint", "s3_endpoint"]


@pytest.fixture(scope="session")
def kms_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A KMS for the whole run."""
    with start_local_kms(tmp_path_factory.mktemp("kms")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def production_environment(
    tmp_path_factory: pytest.TempPathFactory,
    dynamodb_endpoint: str,
    s3_endpoint: S3Server,
    opensearch_endpoint: str,
    kms_endpoint: str,
) -> dict[str, str]:
    """What the processes of a suite on production engines find in their environment."""
    region = region_on(
        dynamodb=dynamodb_endpoint,
        s3=s3_endpoint,
        opensearch=opensearch_endpoint,
        kms=kms_endpoint,
    )
    folder = tmp_path_factory.mktemp("engines")
    return environment_on(folder, s3=s3_endpoint, regions={REGION: region})
