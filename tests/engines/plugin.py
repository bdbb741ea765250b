"""The engines that the tests here run against, each started when a test first asks for it.

It is a plugin (`-p tests.engines.plugin`), so that the isolation and end-to-end suites can run on the same engines.
"""

from __future__ import annotations

from tests.engines.servers.dynamodb import dynamodb_endpoint
from tests.engines.servers.opensearch import opensearch_endpoint
from tests.engines.servers.s3 import s3_endpoint

__all__ = ["dynamodb_endpoint", "opensearch_endpoint", "s3_endpoint"]
