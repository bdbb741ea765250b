"""The cases on production engines: adapters beside their bare clients, objects through the suite, and purges."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import uvloop

from benchmarks.cases import Result
from benchmarks.dynamodb_adapter import dynamodb_adapter, prepare
from benchmarks.opensearch_adapter import bulk_ingest
from benchmarks.purge_engines import purge_engines
from benchmarks.s3_objects import objects_through_the_suite
from devstack.stack import Stack
from tests.contexts import make_context
from tests.engines.production import REGION, environment_on, region_on
from tests.engines.servers.dynamodb import start_dynamodb
from tests.engines.servers.opensearch import start_opensearch
from tests.engines.servers.s3 import start_s3


def engine_cases(*, rounds: int) -> list[Result]:
    """Starts the engines and runs every case against them; none of it is run where they cannot be had."""
    with (
        tempfile.TemporaryDirectory(prefix="silo-bench-engines-") as name,
        start_dynamodb() as dynamodb,
        start_s3(Path(name) / "s3") as s3,
        start_opensearch(Path(name) / "opensearch") as opensearch,
    ):
        folder = Path(name)
        uvloop.run(prepare(dynamodb.endpoint))
        results = [
            dynamodb_adapter(dynamodb.endpoint, rounds=rounds),
            asyncio.run(bulk_ingest(opensearch.url, make_context("Bench").index)),
        ]
        region = region_on(dynamodb=dynamodb.endpoint, s3=s3, opensearch=opensearch.url)
        environment = environment_on(folder, s3=s3, regions={REGION: region})
        with Stack(home=folder / "home", environment=environment) as stack:
            results.append(objects_through_the_suite(stack, s3, rounds=rounds))
        results += purge_engines(dynamodb=dynamodb.endpoint, s3=s3, opensearch=opensearch.url)
    return results
