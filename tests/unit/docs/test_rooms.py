"""Engine clients stay in the adapters' files."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]

SQLITE_ADAPTERS = {
    "services/embedded/sqlite.py",  # the writer and the readers that the adapters share
    "services/search/open_databases.py",  # the search adapter: which index files are open
    "services/search/sqlite.py",
    "services/search/sqlite_erasure.py",
    "services/search/sqlite_retention.py",
    "services/search/sqlite_aggregates.py",
    "services/storage/files_rules.py",  # the files adapter: what happens to objects by itself
    "services/storage/index.py",  # the files adapter: the objects' metadata
    "services/table/point_reads.py",  # the table adapter: reads on the event loop
    "services/table/sqlite.py",
    "services/table/sqlite_change.py",
    "services/table/sqlite_query.py",
}
"""The files that make up the SQLite adapters (ADR 1); no other may know that engine."""


def test_sqlite_is_known_to_its_adapters_alone() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for folder in ("boundary", "gateway", "services", "cli", "devstack")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(?:import|from) sqlite3\b", path.read_text(), re.MULTILINE)
    }
    assert importing == SQLITE_ADAPTERS
