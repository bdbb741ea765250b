from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from boundary.errors import Unavailable
from services.keys import local
from services.keys.local import LocalKeys
from services.keys.ports import KeyDestroyed, KeyState, KeyStoreTampered, WrappedKeyInvalid
from tests.contexts import make_context

A, A1 = make_context("A").key, make_context("A-1").key
LOWER = make_context("a").key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "tenants"


@pytest.fixture
def keys(folder: Path) -> Iterator[LocalKeys]:
    keys = LocalKeys(folder)
    yield keys
    keys.close()


async def test_key_files_are_their_owners_alone(keys, folder):
    await keys.create(A)
    await keys.rotate(A)
    files = sorted(path.name for path in (folder / "tenant-a").iterdir())
    assert files == ["1.key", "2.key"]
    for name in files:
        assert stat.S_IMODE((folder / "tenant-a" / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "tenant-a").stat().st_mode) == 0o700


async def test_new_wraps_are_under_the_newest_version(keys, folder):
    await keys.create(A)
    before = await keys.generate(A, purpose="objects")
    await keys.rotate(A)
    after = await keys.generate(A, purpose="objects")
    (folder / "tenant-a" / "1.key").write_bytes(bytes(32))
    assert await keys.unwrap(A, after.wrapped, purpose="objects") == after.plaintext
    with pytest.raises(KeyStoreTampered) as caught:
        await keys.unwrap(A, before.wrapped, purpose="objects")
    assert caught.value.place == "tenant-a/1.key"


async def test_ten_versions_and_more_are_counted_as_numbers(keys):
    await keys.create(A)
    first = await keys.generate(A, purpose="objects")
    for _ in range(11):
        await keys.rotate(A)
    last = await keys.generate(A, purpose="objects")
    assert last.wrapped[4:8] == (12).to_bytes(4, "big")
    assert await keys.unwrap(A, first.wrapped, purpose="objects") == first.plaintext


async def test_an_id_that_differs_in_case_unwraps_nothing(keys):
    """The directory admits no two such ids; were there two, they would share the folder and not the binding."""
    await keys.create(A)
    made = await keys.generate(A, purpose="objects")
    assert LOWER.name == A.name
    with pytest.raises(WrappedKeyInvalid):
        await keys.unwrap(LOWER, made.wrapped, purpose="objects")


async def test_keys_are_there_after_a_restart(keys, folder):
    made = await keys.create(A)
    wrapped = (await keys.generate(A, purpose="objects")).wrapped
    again = LocalKeys(folder)
    assert await again.describe(A) == made
    await again.unwrap(A, wrapped, purpose="objects")
    again.close()


async def test_a_destroyed_keys_files_are_overwritten_and_gone(keys, folder, monkeypatch):
    await keys.create(A)
    await keys.rotate(A)
    await keys.create(A1)
    home = folder / "tenant-a"
    (home / ".2.left-behind").write_bytes(b"unfinished" * 3)
    secrets = {path: path.read_bytes() for path in home.iterdir()}
    held = {path: path.open("rb") for path in secrets}  # what the disk holds after the unlinking
    await keys.destroy(A)
    assert [path.name for path in home.iterdir()] == ["destroyed"]
    for path, file in held.items():
        assert file.read() != secrets[path]
        file.close()
    for secret in secrets.values():
        assert secret.hex() not in (home / "destroyed").read_text()
    assert (folder / "tenant-a-1" / "1.key").exists()


async def test_a_destruction_that_was_cut_off_is_finished_by_the_next(keys, folder, monkeypatch):
    await keys.create(A)
    wrapped = (await keys.generate(A, purpose="objects")).wrapped

    def cut_off(home: Path) -> None:
        raise OSError("power is gone")

    with monkeypatch.context() as patched:
        patched.setattr(local, "_erase", cut_off)
        with pytest.raises(Unavailable):
            await keys.destroy(A)
    with pytest.raises(KeyDestroyed):
        await keys.unwrap(A, wrapped, purpose="objects")
    assert (folder / "tenant-a" / "1.key").exists()
    assert (await keys.destroy(A)).state is KeyState.DESTROYED
    assert not (folder / "tenant-a" / "1.key").exists()


async def test_another_process_that_destroys_is_seen_at_once(keys, folder):
    await keys.create(A)
    wrapped = (await keys.generate(A, purpose="objects")).wrapped
    other = LocalKeys(folder)
    await other.destroy(A)
    other.close()
    with pytest.raises(KeyDestroyed):
        await keys.unwrap(A, wrapped, purpose="objects")


async def test_a_key_store_that_was_tampered_with_is_refused_with_the_place(keys, folder):
    await keys.create(A)
    await keys.rotate(A)
    made = await keys.generate(A, purpose="objects")
    second = folder / "tenant-a" / "2.key"
    whole = second.read_bytes()
    for tampered in (b"short", whole + b"x", bytes([whole[0] ^ 1]) + whole[1:]):
        second.write_bytes(tampered)
        with pytest.raises(KeyStoreTampered) as caught:
            await keys.unwrap(A, made.wrapped, purpose="objects")
        assert caught.value.place == "tenant-a/2.key"
    second.unlink()
    (folder / "tenant-a" / "3.key").write_bytes(whole)
    with pytest.raises(KeyStoreTampered) as caught:
        await keys.unwrap(A, made.wrapped, purpose="objects")
    assert caught.value.place == "tenant-a/2.key"
