"""`silo archives`, as an operator and somebody of the tenant type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from devstack.stack import Stack
from tests.lifecycle import ENVIRONMENT

pytestmark = pytest.mark.embedded

Silo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def running(tmp_path: Path, stack_environment: Mapping[str, str]) -> Iterator[Stack]:
    environment = {**stack_environment, **ENVIRONMENT}
    with Stack(home=tmp_path / "home", tenants=(), environment=environment) as stack:
        yield stack


@pytest.fixture
def silo(running: Stack, tmp_path: Path) -> Silo:
    """Types a command in a folder of its own."""
    environment = {
        **os.environ,
        "SILO_HOME": str(running.home),
        "SILO_GATEWAY_ADDRESS": running.gateway,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    return run


def test_a_tenant_goes_out_is_verified_and_comes_in_elsewhere(silo: Silo, tmp_path: Path) -> None:
    def done(*arguments: str) -> str:
        ran = silo(*arguments)
        assert ran.returncode == 0, f"{arguments}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    done("tenants", "onboard", "packer", "--display-name", "Packer")
    done("users", "create", "u1", "--email", "u1@example.com", "--tenant", "packer")
    (tmp_path / "file.txt").write_text("content of the packer")
    done("put", "file.txt", "attachments/file.txt", "--tenant", "packer")
    exported = json.loads(done("archives", "export", "--tenant", "packer", "--json"))
    archive = exported["archive"]
    listed = json.loads(done("archives", "list", "packer", "--json"))
    assert listed == [{"path": archive, "complete": True}]
    done("archives", "fetch", archive, "out", "--tenant", "packer")
    (tmp_path / "keys.json").write_text(done("certificate", "keys"))
    held = json.loads(done("archives", "verify", "out", "--keys", "keys.json", "--json"))
    assert held == {
        "tenant_id": "packer",
        "path": archive,
        "items": 1,
        "events": 0,
        "objects": 1,
    }
    done("tenants", "onboard", "unpacker", "--display-name", "Unpacker")
    done("archives", "send", "out", "exports/carried", "--tenant", "unpacker")
    done("archives", "import", "unpacker", "exports/carried", "--trusted", "keys.json")
    assert done("get", "attachments/file.txt", "-", "--tenant", "unpacker") == (
        "content of the packer"
    )
    items = tmp_path / "out" / "items-00001.jsonl"
    items.write_text(items.read_text().replace("u1@example.com", "u2@example.com"))
    refused = silo("archives", "verify", "out", "--keys", "keys.json")
    assert refused.returncode == 1
    assert "items-00001.jsonl: is not what was archived" in refused.stderr
    foreign = silo("archives", "fetch", archive, "stolen", "--tenant", "unpacker")
    assert foreign.returncode == 1
    assert not (tmp_path / "stolen").exists()
    unsent = silo("archives", "send", "stolen", "exports/none", "--tenant", "unpacker")
    assert "manifest.json" in unsent.stderr


def test_who_may_read_objects_alone_fetches_no_backup(silo: Silo, tmp_path: Path) -> None:
    assert silo("tenants", "onboard", "hamster", "--display-name", "Hamster").returncode == 0
    made = silo("archives", "backup", "hamster", "--json")
    backup = json.loads(made.stdout)["archive"]
    may = ("--tenant", "hamster", "--permissions")
    refused = silo("archives", "fetch", backup, "out", *may, "objects.read")
    assert refused.returncode == 1
    assert "PERMISSION_MISSING" in refused.stderr
    assert "backups.read" in refused.stderr
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    fetched = silo("archives", "fetch", backup, "out", *may, "objects.read backups.read")
    assert fetched.returncode == 0, fetched.stderr
    assert (tmp_path / "out" / "manifest.json").exists()
    for command in (("rm", f"{backup}/manifest.json"), ("rm", "--recursive", "backups")):
        removed = silo(*command, *may, "objects.* backups.read")
        assert removed.returncode == 1
        assert "backups.write" in removed.stderr
    assert silo("rm", "-r", f"{backup}/", *may, "objects.* backups.write").returncode == 0
