"""The table of the operations' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.table.sqlite import SqliteTable, open_table


@pytest.fixture
def table(tmp_path: Path) -> Iterator[SqliteTable]:
    table = open_table(tmp_path / "table.db")
    yield table
    table.close()
