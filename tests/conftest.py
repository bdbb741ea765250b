"""What many tests share: one running suite, in processes of its own on free ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The suite as `make run` starts it. Tests that kill or reconfigure it start one of their own."""
    home: Path = tmp_path_factory.mktemp("silo-home")
    with Stack(home=home, drain_seconds=1.0) as running:
        yield running
