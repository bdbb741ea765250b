"""Reading the audit trail of a process under test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def records_in(folder: Path, *, service: str = "*", phase: str = "") -> list[Record]:
    """The records of a service's writers, in the order of each: those of calls that ended, or of a phase."""
    found = []
    for path in sorted(folder.glob(f"{service}-*/[0-9]*.jsonl")):
        whole = (line for line in path.open("rb") if line.endswith(b"\n"))
        found.extend(json.loads(line) for line in whole)
    return [record for record in found if record.get("phase", "") == phase]


def await_records(
    folder: Path, wanted: Callable[[Record], bool], *, count: int = 1, seconds: float = 5.0
) -> list[Record]:
    """The records that are wanted, once there are as many as that: in batched mode they come a little later."""
    deadline = time.monotonic() + seconds
    while True:
        found = [record for record in records_in(folder) if wanted(record)]
        if len(found) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.01)
