"""Every command in the documentation, run as it stands against a running suite."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from devstack.stack import Stack

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/calling-from-inside.md", "docs/operating.md")
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
SET_UP = ("make ", ". .venv/bin/activate")


def commands(page: str) -> list[str]:
    """The blocks of a page that are commands to a running suite, without those that set it up."""
    blocks = []
    for block in BLOCK.findall((ROOT / page).read_text()):
        kept = [line for line in block.splitlines() if not line.startswith(SET_UP)]
        if kept:
            blocks.append("\n".join(kept))
    return blocks


@pytest.fixture(scope="module")
def shell(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a second terminal: the suite's home, the virtual environment, grpcurl."""
    programs = tmp_path_factory.mktemp("bin")
    if not shutil.which("grpcurl"):
        shim = programs / "grpcurl"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.e2e.grpcurl_shim "$@"\n')
        shim.chmod(0o755)
    path = os.pathsep.join([str(Path(sys.executable).parent), str(programs), os.environ["PATH"]])
    return {
        **os.environ,
        **stack.addresses.environment(),
        "PATH": path,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
        "SILO_HOME": str(stack.home),
    }


@pytest.mark.timeout(120)
@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page(
    page: str, stack: Stack, shell: dict[str, str], tmp_path: Path
) -> None:
    for folder in ("docs", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    shutil.copy(ROOT / "README.md", tmp_path)
    blocks = commands(page)
    assert blocks
    for block in blocks:
        script = block.replace("127.0.0.1:50050", stack.gateway)
        script = script.replace("http://127.0.0.1:8080", stack.addresses.url("gateway"))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=shell,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        # `| head` ends curl early, which pipefail reports as 23; the page's point is what it prints.
        assert done.returncode in (0, 23), f"{script}\n{done.stdout}\n{done.stderr}"


def test_the_first_screen_is_the_two_commands() -> None:
    first = BLOCK.search((ROOT / "README.md").read_text())
    assert first is not None
    lines = [line.split("#")[0].strip() for line in first.group(1).splitlines()]
    assert lines == ["make run", "make test"]


def test_every_page_that_is_linked_is_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
