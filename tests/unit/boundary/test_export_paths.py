"""Where the parts of an export stand."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from boundary.export_paths import export_path
from services.storage.paths import parse_path


def test_a_part_stands_in_exports_under_its_name() -> None:
    name = "2024-01-15/users-00001.jsonl"
    assert export_path(name, spread=False) == f"exports/{name}"
    spread = export_path(name, spread=True)
    assert re.fullmatch(rf"exports/[0-9a-f]{{2}}/{name}", spread)
    assert spread == export_path(name, spread=True)
    assert parse_path(spread, field="path") == spread


def test_parts_are_spread_evenly() -> None:
    paths = [export_path(f"2024/part-{number:06}", spread=True) for number in range(25_600)]
    counts = Counter(path.split("/")[1] for path in paths)
    assert len(counts) == 256
    assert max(counts.values()) < 2 * 25_600 / 256
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("name", ["", "/", "/etc"])
def test_a_part_has_a_name(name: str) -> None:
    for spread in (False, True):
        with pytest.raises(ValueError, match="name of its own"):
            export_path(name, spread=spread)
