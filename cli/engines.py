"""`silo engines`: the tables, buckets and search clusters of a deployment, for whoever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import boto3
import typer
from botocore.exceptions import BotoCoreError, ClientError

from boundary.errors import SiloError
from services.aws.process_credentials import ProcessDynamoCredentials
from services.engines.settings import Engines, ObjectsEngine, SearchEngine, TableEngine
from services.search import opensearch_administration
from services.search.opening import search_client
from services.search.opensearch_cluster import Cluster, Limits
from services.storage import s3_buckets
from services.storage.s3_client import S3Endpoint, s3_client
from services.table import dynamodb_tables
from services.table.dynamodb_calls import Calls, connect

app = typer.Typer(help="Tables, buckets and search clusters, for operators.", no_args_is_help=True)

File = Annotated[
    Path | None,
    typer.Option("--file", envvar="SILO_ENGINES", help="The engines file.", exists=True),
]


@app.callback()
def engines() -> None:
    """The tables, buckets and search clusters that the engines file lists."""


@app.command()
def create(file: File = None) -> None:
    """Make what is not there, and switch on what is off. Nothing is ever taken away."""
    for place in _places(_load(file)):
        typer.echo(f"{place.name}: {_run(place, place.create)}")


@app.command()
def check(file: File = None) -> None:
    """Say how what is there differs from what should be; ends with code 1 where it does."""
    differs = False
    for place in _places(_load(file)):
        found = _run(place, place.drift)
        differs = differs or found != _AS_IT_SHOULD_BE
        typer.echo(f"{place.name}: {found}")
    if differs:
        raise typer.Exit(1)


_AS_IT_SHOULD_BE = "as it should be"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """One table, bucket or cluster.

    Attributes:
        name: what it is called to a person.
        create: makes it, and says what was done.
        drift: says how it differs.
    """

    name: str
    create: Callable[[], str]
    drift: Callable[[], str]


def _load(file: Path | None) -> Engines:
    if file is None:
        typer.echo("silo engines: name the engines file with --file or SILO_ENGINES", err=True)
        raise typer.Exit(2)
    try:
        return Engines.model_validate_json(file.read_bytes())
    except ValueError as error:
        typer.echo(f"silo engines: {file} is not in the form: {error}", err=True)
        raise typer.Exit(2) from error


def _run(place: _Place, work: Callable[[], str]) -> str:
    try:
        return work()
    except (SiloError, ClientError, BotoCoreError, OSError) as error:
        typer.echo(f"{place.name}: {error}", err=True)
        raise typer.Exit(1) from error


def _places(listed: Engines) -> list[_Place]:
    places = []
    for name, region in listed.regions.items():
        if region.table is not None:
            places += [_table(name, region.table, table) for table in region.table.tables]
        if region.objects is not None:
            places += [_bucket(name, region.objects, bucket) for bucket in region.objects.buckets]
        places += [_cluster(name, each, engine) for each, engine in region.search.items()]
    return places


def _table(region: str, engine: TableEngine, table: str) -> _Place:
    async def create() -> str:
        async with _calls(engine) as calls:
            return "created" if await dynamodb_tables.create_table(calls, table) else "is there"

    async def drift() -> str:
        async with _calls(engine) as calls:
            return _told(list(await dynamodb_tables.drift(calls, table)))

    return _Place(
        name=f"{region} table {table}",
        create=lambda: asyncio.run(create()),
        drift=lambda: asyncio.run(drift()),
    )


@asynccontextmanager
async def _calls(engine: TableEngine) -> AsyncIterator[Calls]:
    credentials = ProcessDynamoCredentials(boto3.Session())
    calls = await connect(
        region=engine.aws_region, credentials=credentials, endpoint=engine.endpoint or ""
    )
    try:
        yield calls
    finally:
        await calls.close()
        credentials.close()


def _bucket(region: str, engine: ObjectsEngine, bucket: str) -> _Place:
    endpoint = S3Endpoint(
        region=engine.aws_region, url=engine.endpoint or "", path_style=engine.path_style
    )
    plan = s3_buckets.BucketPlan(name=bucket, region=engine.aws_region)

    def create() -> str:
        lacking = s3_buckets.create(s3_client(endpoint), plan)
        return f"is there; the server has no {', '.join(lacking)}" if lacking else "is there"

    return _Place(
        name=f"{region} bucket {bucket}",
        create=create,
        drift=lambda: _told(s3_buckets.drift(s3_client(endpoint), plan)),
    )


def _cluster(region: str, name: str, engine: SearchEngine) -> _Place:
    async def create() -> str:
        async with _search(engine) as cluster:
            await opensearch_administration.create_template(cluster)
        return "has the index template"

    async def drift() -> str:
        async with _search(engine) as cluster:
            return _told(await opensearch_administration.drift(cluster))

    return _Place(
        name=f"{region} search cluster {name}",
        create=lambda: asyncio.run(create()),
        drift=lambda: asyncio.run(drift()),
    )


@asynccontextmanager
async def _search(engine: SearchEngine) -> AsyncIterator[Cluster]:
    limits = Limits()
    cluster = Cluster(search_client(engine, limits), limits)
    try:
        yield cluster
    finally:
        await cluster.close()


def _told(differences: list[str]) -> str:
    return "; ".join(differences) if differences else _AS_IT_SHOULD_BE
