"""The engines that these tests run against."""

from __future__ import annotations

from tests.engines.servers.s3 import s3_endpoint

__all__ = ["s3_endpoint"]
