"""The table's contract on moto's DynamoDB, in this process and one thread, for `make test`.

It shows the calls that the adapter makes. What is atomic, and what a page holds, real engines show
(`tests/engines/`).
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from aiodynamo.client import Client
from aiodynamo.credentials import Key, StaticCredentials
from aiodynamo.http.types import Request, Response
from botocore.exceptions import ClientError
from moto import mock_aws

from services.table.dynamodb import DynamoTable
from services.table.dynamodb_calls import Calls, OneAttempt
from services.table.dynamodb_tables import create_table, drift, layout
from services.table.ports import Table

pytest.register_assert_rewrite("tests.contract.test_table")

from tests.contract.test_table import *  # noqa: E402, F403 - the suite's tests run here again
from tests.contract.test_table import A, Clock  # noqa: E402

# moto takes True for 1 and its items end below 400 KB.
del test_equals  # noqa: F821 - came with the suite
del test_a_transaction_holds_4_mb  # noqa: F821
del test_an_item_of_400_kb_fits_and_no_more  # noqa: F821


class Moto:
    """The HTTP of the client, answered by moto by way of a boto3 client."""

    def __init__(self) -> None:
        self._boto = boto3.client(
            "dynamodb",
            region_name="eu-west-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    async def __call__(self, request: Request) -> Response:
        assert request.headers is not None
        assert request.body is not None
        action = request.headers["X-Amz-Target"].partition(".")[2]
        try:
            answer = self._boto._make_api_call(action, json.loads(request.body))
        except ClientError as error:
            body: dict[str, Any] = {**error.response, **error.response["Error"]}
            body["__type"] = f"com.amazonaws.dynamodb.v20120810#{body['Code']}"
            return Response(400, json.dumps(body).encode())
        del answer["ResponseMetadata"]
        return Response(200, json.dumps(answer, default=str).encode())


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = float(int(time.time()))
    return clock


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    with mock_aws():
        yield Moto()


@pytest.fixture
def calls(moto: Moto) -> Calls:
    credentials = StaticCredentials(Key(id="test", secret="test"))
    return Calls(Client(moto, credentials, "eu-west-1", throttle_config=OneAttempt()))


@pytest.fixture
def table(moto: Moto, calls: Calls, clock: Clock) -> Iterator[Table]:
    moto._boto.create_table(**layout(A.table))
    yield DynamoTable(calls, clock=clock)
    moto._boto.delete_table(TableName=A.table)


async def test_a_table_is_created_with_expiry_and_recovery(moto: Moto, calls: Calls):
    assert await drift(calls, "New") == ["there is no table New"]
    assert await create_table(calls, "New") is True
    assert await create_table(calls, "New") is False
    assert await drift(calls, "New") == []
    off = {"PointInTimeRecoveryEnabled": False}
    moto._boto.update_continuous_backups(TableName="New", PointInTimeRecoverySpecification=off)
    assert await drift(calls, "New") == ["point-in-time recovery is off"]
    assert await create_table(calls, "New") is False
    assert await drift(calls, "New") == []
