"""The tenants' keys in files of this machine: the embedded keeper.

A tenant has a folder, `tenant-{slug}/`, with a file for each version of its key, `1.key`, `2.key` and so on, which
is written once and never changed. Data keys are wrapped with AES-256-GCM, bound to tenant, purpose and version.
Keys are read at each use and not kept in memory, so that a key that one process destroys is gone for all.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from boundary.errors import Unavailable
from boundary.key_files import load_or_create
from boundary.scope import TenantKey
from services.keys.ports import (
    DATA_KEY_BYTES,
    MAX_WRAPPED_BYTES,
    DataKey,
    KeyDescription,
    KeyDestroyed,
    KeyMissing,
    KeyState,
    KeyStoreTampered,
    WrappedKeyInvalid,
    require_data_key,
    require_purpose,
)

T = TypeVar("T")

_HEADER = struct.Struct(">4sI8s8s")
_MAGIC = b"SLK1"
_NONCE_BYTES = 12
_SEALED_BYTES = _NONCE_BYTES + DATA_KEY_BYTES + 16
_TOMBSTONE = "destroyed"


class LocalKeys:
    """Keys below a folder (services.keys.ports.TenantKeys). End it with `close`."""

    def __init__(self, folder: Path, *, threads: int = 2) -> None:
        """Takes the folder, `$SILO_HOME/keys/tenants`, which is made when a key is."""
        self._folder = folder
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="tenant-keys")

    def close(self) -> None:
        """Finishes what was asked for. Blocks."""
        self._threads.shutdown()

    async def create(self, key: TenantKey) -> KeyDescription:
        """See TenantKeys.create."""
        return await self._run(lambda: self._create(key))

    async def describe(self, key: TenantKey) -> KeyDescription | None:
        """See TenantKeys.describe."""
        return await self._run(lambda: self._describe(key))

    async def rotate(self, key: TenantKey) -> None:
        """See TenantKeys.rotate."""
        await self._run(lambda: self._rotate(key))

    async def destroy(self, key: TenantKey) -> KeyDescription:
        """See TenantKeys.destroy.

        The files are overwritten before they go. A disk or file system that keeps old blocks (flash, snapshots)
        may still hold them: there, the folder belongs on an encrypted volume.
        """
        return await self._run(lambda: self._destroy(key))

    async def generate(self, key: TenantKey, *, purpose: str) -> DataKey:
        """See DataKeys.generate."""
        plaintext = secrets.token_bytes(DATA_KEY_BYTES)
        return DataKey(
            plaintext=plaintext, wrapped=await self.wrap(key, plaintext, purpose=purpose)
        )

    async def wrap(self, key: TenantKey, plaintext: bytes, *, purpose: str) -> bytes:
        """See DataKeys.wrap."""
        require_data_key(plaintext)
        require_purpose(purpose)
        return await self._run(lambda: self._wrap(key, plaintext, purpose))

    async def unwrap(self, key: TenantKey, wrapped: bytes, *, purpose: str) -> bytes:
        """See DataKeys.unwrap."""
        require_purpose(purpose)
        return await self._run(lambda: self._unwrap(key, wrapped, purpose))

    async def _run(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                return work()
            except (OSError, ValueError) as error:
                raise Unavailable(
                    "KEYS_UNAVAILABLE", "the keys cannot be used at present"
                ) from error

        return await asyncio.get_running_loop().run_in_executor(self._threads, guarded)

    def _home(self, key: TenantKey) -> Path:
        return self._folder / key.name

    def _create(self, key: TenantKey) -> KeyDescription:
        home = self._home(key)
        if (home / _TOMBSTONE).exists():
            raise KeyDestroyed
        if not _versions(home):
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            load_or_create(home, "1")
            _sync(home)
            _sync(home.parent)
        description = self._describe(key)
        if description is None or description.state is KeyState.DESTROYED:
            raise KeyDestroyed  # by another process, just now
        return description

    def _describe(self, key: TenantKey) -> KeyDescription | None:
        home = self._home(key)
        tombstone = home / _TOMBSTONE
        if tombstone.exists():
            key_id, created_at, gone_at = tombstone.read_text().split()
            return KeyDescription(
                key_id=key_id,
                state=KeyState.DESTROYED,
                created_at=datetime.fromisoformat(created_at),
                gone_at=datetime.fromisoformat(gone_at),
            )
        if not _versions(home):
            return None
        first = home / "1.key"
        return KeyDescription(
            key_id=hashlib.sha256(b"silo key id\0" + first.read_bytes()).hexdigest()[:32],
            state=KeyState.ENABLED,
            created_at=datetime.fromtimestamp(first.stat().st_mtime, UTC),
        )

    def _rotate(self, key: TenantKey) -> None:
        home = self._home(key)
        newest = self._newest(key)
        load_or_create(home, str(newest + 1))
        _sync(home)
        if (home / _TOMBSTONE).exists():  # destroyed meanwhile: leave nothing behind
            _erase(home)
            raise KeyDestroyed

    def _destroy(self, key: TenantKey) -> KeyDescription:
        home = self._home(key)
        description = self._describe(key)
        if description is None:
            raise KeyMissing
        if description.state is not KeyState.DESTROYED:
            now = datetime.now(UTC)
            # The tombstone comes first: after a crash half way, nothing unwraps and the next call finishes.
            _write_once(
                home / _TOMBSTONE,
                f"{description.key_id} {description.created_at.isoformat()} {now.isoformat()}\n",
            )
        _erase(home)
        destroyed = self._describe(key)
        if destroyed is None:
            raise KeyMissing
        return destroyed

    def _wrap(self, key: TenantKey, plaintext: bytes, purpose: str) -> bytes:
        version = self._newest(key)
        secret = self._secret(key, version)
        header = _HEADER.pack(_MAGIC, version, _owner(key, purpose), _check_value(secret))
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = AESGCM(secret).encrypt(nonce, plaintext, _bound_to(header, key, purpose))
        return header + nonce + sealed

    def _unwrap(self, key: TenantKey, wrapped: bytes, purpose: str) -> bytes:
        newest = self._newest(key)
        if not _HEADER.size + _NONCE_BYTES < len(wrapped) <= MAX_WRAPPED_BYTES:
            raise WrappedKeyInvalid
        header, rest = wrapped[: _HEADER.size], wrapped[_HEADER.size :]
        magic, version, owner, check_value = _HEADER.unpack(header)
        if magic != _MAGIC or owner != _owner(key, purpose) or not 1 <= version <= newest:
            raise WrappedKeyInvalid
        secret = self._secret(key, version)
        try:
            return AESGCM(secret).decrypt(
                rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _bound_to(header, key, purpose)
            )
        except InvalidTag as error:
            # Either may have been changed; the other one then still knows what it was.
            if len(rest) == _SEALED_BYTES and _check_value(secret) != check_value:
                raise KeyStoreTampered(_place(key, version)) from error
            raise WrappedKeyInvalid from error

    def _newest(self, key: TenantKey) -> int:
        home = self._home(key)
        if (home / _TOMBSTONE).exists():
            raise KeyDestroyed
        versions = _versions(home)
        if not versions:
            raise KeyMissing
        return max(versions)

    def _secret(self, key: TenantKey, version: int) -> bytes:
        home = self._home(key)
        try:
            secret = (home / f"{version}.key").read_bytes()
        except FileNotFoundError:
            if (home / _TOMBSTONE).exists():
                raise KeyDestroyed from None
            raise KeyStoreTampered(_place(key, version)) from None
        if len(secret) != DATA_KEY_BYTES:
            if (home / _TOMBSTONE).exists():
                raise KeyDestroyed
            raise KeyStoreTampered(_place(key, version))
        return secret


def _bound_to(header: bytes, key: TenantKey, purpose: str) -> bytes:
    """What a wrapped key is bound to. Neither id nor purpose can hold the separator."""
    return b"\0".join((header, key.tenant_id.encode(), purpose.encode()))


def _owner(key: TenantKey, purpose: str) -> bytes:
    """What tells whose and what for a wrapped key is, before it is opened."""
    return hashlib.sha256(f"{key.tenant_id}\0{purpose}".encode()).digest()[:8]


def _check_value(secret: bytes) -> bytes:
    """What tells one key from another and nothing about either; it stands in what is wrapped under the key."""
    return hmac.digest(secret, b"silo key check value", "sha256")[:8]


def _place(key: TenantKey, version: int) -> str:
    return f"{key.name}/{version}.key"


def _versions(home: Path) -> list[int]:
    return [int(path.stem) for path in home.glob("*.key") if path.stem.isdecimal()]


def _write_once(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    _sync(path.parent)


def _erase(home: Path) -> None:
    """Overwrites and removes every file but the tombstone, unfinished ones included."""
    for path in home.iterdir():
        if path.name == _TOMBSTONE:
            continue
        try:
            with path.open("r+b") as file:
                file.write(secrets.token_bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            continue  # another process erases as well
    _sync(home)


def _sync(folder: Path) -> None:
    """Makes what was linked or unlinked in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
