"""A storage service on a temporary bucket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from boundary.pages import PageSealer
from services.storage.files import FileObjects
from services.storage.guard import GuardedObjects
from services.storage.operations import ObjectOperations
from services.storage.presign import UrlSigner


@pytest.fixture
def bucket_folder(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
async def files(bucket_folder: Path) -> AsyncIterator[FileObjects]:
    adapter = FileObjects(bucket_folder)
    adapter.open()
    yield adapter
    await adapter.settle()
    await asyncio.to_thread(adapter.close)


@pytest.fixture
def signer() -> UrlSigner:
    return UrlSigner(b"u" * 32, public_url="http://storage.test")


@pytest.fixture
def operations(files: FileObjects, signer: UrlSigner) -> ObjectOperations:
    return ObjectOperations(
        GuardedObjects(files),
        pages=PageSealer(b"p" * 32),
        signer=signer,
        max_object_bytes=8 * 1024 * 1024,
    )
