from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from devstack.addresses import Addresses
from devstack.lock import HomeLock
from devstack.settings import inherited_environment


def up(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "devstack"],
        env=inherited_environment() | {"SILO_HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_second_suite_on_a_home_is_refused(tmp_path: Path) -> None:
    with HomeLock(tmp_path):
        ended = up(tmp_path)
    assert ended.returncode == 1
    assert "a suite runs on" in ended.stderr
    assert "set SILO_HOME" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_address_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    free = Addresses.free().environment()
    ended = up(tmp_path, **(free | {"SILO_SEARCH_LISTEN": "nowhere:at-all"}))
    assert ended.returncode == 1
    assert "search cannot listen on nowhere:at-all" in ended.stderr
    assert "SILO_SEARCH_LISTEN" in ended.stderr


def test_a_malformed_setting_is_said(tmp_path: Path) -> None:
    ended = up(tmp_path, SILO_DRAIN_SECONDS="soon")
    assert ended.returncode == 2
    assert "soon" in ended.stderr


def test_a_home_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = up(tmp_path / "file" / "home")
    assert ended.returncode == 1
    assert "silo up:" in ended.stderr
    assert "Traceback" not in ended.stderr
