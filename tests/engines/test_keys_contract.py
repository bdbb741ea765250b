"""The key port's contract on local-kms, from several threads at once.

Not here: rotation, which local-kms does not know (RotateKeyOnDemand); moto shows it in tests/contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import boto3
import pytest

from boundary.errors import Unavailable
from services.keys.kms import KMS_CONFIG, KmsKeys
from services.keys.ports import TenantKeys
from tests.contract.test_keys import (  # noqa: F401 - collected here, over the fixture below
    A,
    test_a_data_key_unwraps_as_it_was_wrapped,
    test_a_destroyed_key_is_gone_for_good,
    test_a_key_is_made_once,
    test_a_purpose_has_a_grammar,
    test_many_at_once,
    test_neither_neighbour_nor_purpose_unwraps_it,
    test_only_data_keys_are_wrapped,
    test_what_was_tampered_with_does_not_unwrap,
    test_without_a_key_nothing_is_wrapped,
)
from tests.engines.servers.local_kms import local_kms_program, start_local_kms

T = TypeVar("T")

pytestmark = pytest.mark.timeout(660)  # the first test's time includes building the program


class Threads:
    """Runs calls on four threads."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(4)

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        self._executor.shutdown()


@pytest.fixture(scope="session", autouse=True)
def _program() -> None:
    """Builds the program where it is not there yet, outside of any test's time."""
    local_kms_program()


def keys_at(endpoint: str, threads: Threads) -> KmsKeys:
    client = boto3.client(
        "kms",
        region_name="eu-central-1",
        endpoint_url=endpoint,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=KMS_CONFIG,
    )
    return KmsKeys({"local": client}, calls=threads)


@pytest.fixture
def threads() -> Iterator[Threads]:
    threads = Threads()
    yield threads
    threads.close()


@pytest.fixture
def keys(tmp_path: Path, threads: Threads) -> Iterator[TenantKeys]:
    """A keeper of its own for each test: the suite names the same tenants in all of them."""
    with start_local_kms(tmp_path) as endpoint:
        yield keys_at(endpoint, threads)


async def test_a_keeper_that_is_gone_is_unavailable_and_comes_back(
    tmp_path: Path, threads: Threads
):
    with start_local_kms(tmp_path) as endpoint:
        before = keys_at(endpoint, threads)
        await before.create(A)
        made = await before.generate(A, purpose="objects")
    with pytest.raises(Unavailable):
        await before.unwrap(A, made.wrapped, purpose="objects")
    with start_local_kms(tmp_path) as endpoint:
        after = keys_at(endpoint, threads)
        assert await after.unwrap(A, made.wrapped, purpose="objects") == made.plaintext


async def test_a_server_that_does_not_rotate_on_demand_goes_on_with_the_same_key(
    keys: TenantKeys,
):
    await keys.create(A)
    before = await keys.generate(A, purpose="objects")
    await keys.rotate(A)
    after = await keys.generate(A, purpose="objects")
    assert await keys.unwrap(A, before.wrapped, purpose="objects") == before.plaintext
    assert after.plaintext != before.plaintext
