"""Objects, events and counters that go by themselves, in a running suite, by the commands of `silo`."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devstack.settings import inherited_environment
from devstack.stack import Stack

WEEK_US = 7 * 24 * 3600 * 10**6
SWEPT_WITHIN = 15.0
RULES = 'rules=[{"ruleId": "exports", "folder": "exports/", "expireDays": 7}]'

Silo = Callable[..., str]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {
        **inherited_environment(),
        "SILO_STORAGE_SWEEP_SECONDS": "0.2",
        "SILO_SEARCH_SWEEP_SECONDS": "0.2",
        "SILO_DATA_SWEEP_SECONDS": "0.2",
    }
    home = tmp_path_factory.mktemp("sweeping")
    with Stack(
        home=home, tenants=("A", "B"), environment=environment, drain_seconds=1.0
    ) as running:
        yield running


@pytest.fixture
def silo(stack: Stack) -> Silo:
    def run(*arguments: str, tenant: str = "A") -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, "--json"],
            env={
                **os.environ,
                **stack.addresses.environment(),
                "SILO_HOME": str(stack.home),
                "SILO_GATEWAY_ADDRESS": stack.gateway,
                "SILO_TOKEN": stack.token(tenant),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def _wait_until(done: Callable[[], bool]) -> None:
    until = time.monotonic() + SWEPT_WITHIN
    while not done():
        assert time.monotonic() < until
        time.sleep(0.2)


def _paths(silo: Silo, tenant: str) -> set[str]:
    return {each["path"] for each in json.loads(silo("ls", "exports/", tenant=tenant))["objects"]}


def _age(home: Path, *, by_us: int) -> None:
    """Makes every object older than it is."""
    connection = sqlite3.connect(home / "objects" / "objects.sqlite", timeout=10)
    connection.execute("UPDATE objects SET updated_us = updated_us - ?", (by_us,))
    connection.commit()
    connection.close()


def test_objects_older_than_the_rule_go_and_nothing_else(
    stack: Stack, silo: Silo, tmp_path: Path
) -> None:
    file = tmp_path / "file.txt"
    file.write_text("exported")
    for tenant in ("A", "B"):
        silo("put", str(file), "exports/old.txt", tenant=tenant)
    _age(stack.home, by_us=WEEK_US)
    silo("put", str(file), "exports/young.txt")
    changed = json.loads(silo("policies", "update-objects", "--set", RULES))
    assert json.loads(silo("policies", "get-objects"))["etag"] == changed["etag"]
    _wait_until(lambda: "exports/old.txt" not in _paths(silo, "A"))
    assert _paths(silo, "A") == {"exports/young.txt"}
    assert _paths(silo, "B") == {"exports/old.txt"}


def _opened(message: str, *, days_ago: int) -> str:
    """The record that Amazon SES publishes of an open."""
    opened = datetime.now(UTC) - timedelta(days=days_ago)
    timestamp = opened.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    mail = {"timestamp": timestamp, "messageId": message, "destination": ["anna@example.com"]}
    return json.dumps(
        {"eventType": "Open", "open": {"timestamp": timestamp, "userAgent": "x"}, "mail": mail}
    )


def _messages(silo: Silo, tenant: str) -> set[str]:
    return {
        each["message_id"] for each in json.loads(silo("events", "search", tenant=tenant))["events"]
    }


def test_events_older_than_they_are_kept_go_and_nothing_else(silo: Silo, tmp_path: Path) -> None:
    file = tmp_path / "opens.jsonl"
    file.write_text("\n".join([_opened("old", days_ago=8), _opened("young", days_ago=6)]))
    for tenant in ("A", "B"):
        silo("events", "ingest", str(file), tenant=tenant)
    assert _messages(silo, "A") == {"old", "young"}
    changed = json.loads(silo("policies", "update-events", "--set", "days=7"))
    assert changed["days"] == 7
    assert json.loads(silo("policies", "get-events")) == changed
    _wait_until(lambda: "old" not in _messages(silo, "A"))
    assert _messages(silo, "A") == {"young"}
    assert _messages(silo, "B") == {"old", "young"}
    assert json.loads(silo("policies", "update-events", "--set", "days=0"))["days"] == 0


def _days(silo: Silo, tenant: str, *, start: str) -> set[str]:
    shown = json.loads(silo("analytics", "report", "--start", start, tenant=tenant))
    return {each["date"] for each in shown["counters"]}


def test_counters_older_than_they_are_kept_go_and_nothing_else(silo: Silo) -> None:
    today = datetime.now(UTC).date()
    old, young = ((today - timedelta(days=each)).isoformat() for each in (9, 5))
    for tenant in ("A", "B"):
        for date in (old, young):
            silo("analytics", "increment", "OPENS=1", "--date", date, tenant=tenant)
    assert _days(silo, "A", start=old) == {old, young}
    silo("policies", "update-items", "--set", "counter_days=7")
    assert json.loads(silo("policies", "get-items"))["counter_days"] == 7
    assert _days(silo, "A", start=old) == {young}

    def swept() -> bool:
        """Whether it is gone and not just left out of reports, as is seen once all is kept again."""
        silo("policies", "update-items", "--set", "counter_days=7")
        silo("policies", "update-items", "--set", "counter_days=0")
        return old not in _days(silo, "A", start=old)

    _wait_until(swept)
    assert _days(silo, "A", start=old) == {young}
    assert _days(silo, "B", start=old) == {old, young}
