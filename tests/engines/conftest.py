"""The engines that the tests here run against."""

from tests.engines.servers.opensearch import opensearch_endpoint

__all__ = ["opensearch_endpoint"]
