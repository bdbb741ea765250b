"""The contract of the key port: one suite for every keeper."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import boto3
import pytest
from moto import mock_aws

from services.keys.kms import KMS_CONFIG, KmsKeys
from services.keys.local import LocalKeys
from services.keys.ports import (
    DATA_KEY_BYTES,
    KeyDestroyed,
    KeyMissing,
    KeyState,
    TenantKeys,
    WrappedKeyInvalid,
)
from tests.contexts import make_context

T = TypeVar("T")


class OneThread:
    """Runs calls one after the other: what moto can be trusted with."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1)

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        self._executor.shutdown()


@pytest.fixture(params=["local", "kms"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TenantKeys]:
    if request.param == "local":
        local = LocalKeys(tmp_path / "keys" / "tenants")
        yield local
        local.close()
        return
    with mock_aws():
        client = boto3.client(
            "kms",
            region_name="eu-central-1",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=KMS_CONFIG,
        )
        calls = OneThread()
        yield KmsKeys({"local": client}, calls=calls)
        calls.close()


A = make_context("A").key
A1 = make_context("A-1").key
AB = make_context("AB").key
B = make_context("B").key


async def test_a_key_is_made_once(keys: TenantKeys):
    assert await keys.describe(A) is None
    made = await keys.create(A)
    assert made.state is KeyState.ENABLED
    assert abs(made.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert made.gone_at is None
    assert await keys.create(A) == made
    assert await keys.describe(A) == made
    assert (await keys.create(B)).key_id != made.key_id
    assert await keys.describe(A1) is None


async def test_a_data_key_unwraps_as_it_was_wrapped(keys: TenantKeys):
    await keys.create(A)
    data_key = await keys.generate(A, purpose="objects")
    assert len(data_key.plaintext) == DATA_KEY_BYTES
    assert data_key.plaintext not in data_key.wrapped
    assert await keys.unwrap(A, data_key.wrapped, purpose="objects") == data_key.plaintext
    again = await keys.generate(A, purpose="objects")
    assert again.plaintext != data_key.plaintext
    plaintext = os.urandom(DATA_KEY_BYTES)
    wrapped = await keys.wrap(A, plaintext, purpose="objects")
    assert await keys.wrap(A, plaintext, purpose="objects") != wrapped
    assert await keys.unwrap(A, wrapped, purpose="objects") == plaintext


async def test_neither_neighbour_nor_purpose_unwraps_it(keys: TenantKeys):
    for key in (A, A1, AB, B):
        await keys.create(key)
    wrapped = (await keys.generate(A, purpose="objects")).wrapped
    for key in (A1, AB, B):
        with pytest.raises(WrappedKeyInvalid):
            await keys.unwrap(key, wrapped, purpose="objects")
    for purpose in ("fields", "object", "objects-a"):
        with pytest.raises(WrappedKeyInvalid):
            await keys.unwrap(A, wrapped, purpose=purpose)


async def test_what_was_tampered_with_does_not_unwrap(keys: TenantKeys):
    await keys.create(A)
    wrapped = (await keys.generate(A, purpose="objects")).wrapped
    for index in (0, 7, len(wrapped) // 2, len(wrapped) - 1):
        bent = bytearray(wrapped)
        bent[index] ^= 1
        with pytest.raises(WrappedKeyInvalid):
            await keys.unwrap(A, bytes(bent), purpose="objects")
    for bytes_ in (b"", b"x", wrapped[:-1], wrapped + b"x", os.urandom(200), bytes(7000)):
        with pytest.raises(WrappedKeyInvalid):
            await keys.unwrap(A, bytes_, purpose="objects")


async def test_after_a_rotation_old_and_new_unwrap(keys: TenantKeys):
    made = await keys.create(A)
    wrapped = [await keys.generate(A, purpose="objects")]
    for _ in range(3):
        await keys.rotate(A)
        wrapped.append(await keys.generate(A, purpose="objects"))
    for data_key in wrapped:
        assert await keys.unwrap(A, data_key.wrapped, purpose="objects") == data_key.plaintext
    assert await keys.describe(A) == made


async def test_without_a_key_nothing_is_wrapped(keys: TenantKeys):
    await keys.create(B)
    wrapped = (await keys.generate(B, purpose="objects")).wrapped
    with pytest.raises(KeyMissing):
        await keys.generate(A, purpose="objects")
    with pytest.raises(KeyMissing):
        await keys.wrap(A, os.urandom(DATA_KEY_BYTES), purpose="objects")
    with pytest.raises(KeyMissing):
        await keys.unwrap(A, wrapped, purpose="objects")
    with pytest.raises(KeyMissing):
        await keys.rotate(A)
    with pytest.raises(KeyMissing):
        await keys.destroy(A)


async def test_a_destroyed_key_is_gone_for_good(keys: TenantKeys):
    made = await keys.create(A)
    await keys.create(A1)
    wrapped = (await keys.generate(A, purpose="objects")).wrapped
    beside = await keys.generate(A1, purpose="objects")
    destroyed = await keys.destroy(A)
    assert destroyed.state is KeyState.DESTROYED
    assert destroyed.key_id == made.key_id
    assert destroyed.gone_at is not None
    for _ in range(2):
        with pytest.raises(KeyDestroyed):
            await keys.unwrap(A, wrapped, purpose="objects")
        with pytest.raises(KeyDestroyed):
            await keys.generate(A, purpose="objects")
        with pytest.raises(KeyDestroyed):
            await keys.wrap(A, os.urandom(DATA_KEY_BYTES), purpose="objects")
        with pytest.raises(KeyDestroyed):
            await keys.create(A)
        with pytest.raises(KeyDestroyed):
            await keys.rotate(A)
        # Destroying it again changes nothing but may bring the end nearer.
        again = await keys.destroy(A)
        assert (again.key_id, again.state) == (made.key_id, KeyState.DESTROYED)
    found = await keys.describe(A)
    assert found is not None
    assert found.state is KeyState.DESTROYED
    # The neighbour has lost nothing.
    assert await keys.unwrap(A1, beside.wrapped, purpose="objects") == beside.plaintext


@pytest.mark.parametrize("purpose", ["", "Objects", "a b", "a\0b", "-a", "x" * 64, "ä"])
async def test_a_purpose_has_a_grammar(keys: TenantKeys, purpose: str):
    await keys.create(A)
    with pytest.raises(ValueError, match="purpose"):
        await keys.generate(A, purpose=purpose)
    with pytest.raises(ValueError, match="purpose"):
        await keys.unwrap(A, b"x" * 100, purpose=purpose)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
async def test_only_data_keys_are_wrapped(keys: TenantKeys, length: int):
    await keys.create(A)
    with pytest.raises(ValueError, match="32 bytes"):
        await keys.wrap(A, bytes(length), purpose="objects")


async def test_many_at_once(keys: TenantKeys):
    descriptions = await asyncio.gather(*(keys.create(A) for _ in range(8)))
    assert len({description.key_id for description in descriptions}) == 1
    made = await asyncio.gather(*(keys.generate(A, purpose="objects") for _ in range(20)))
    plain = await asyncio.gather(
        *(keys.unwrap(A, data_key.wrapped, purpose="objects") for data_key in made)
    )
    assert plain == [data_key.plaintext for data_key in made]
