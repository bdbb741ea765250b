"""The engines, each started when a test first asks for it."""

from tests.engines.servers.dynamodb import dynamodb_endpoint

__all__ = ["dynamodb_endpoint"]
