"""The suite in containers, used as a person would: reflection, the README's commands, `silo demo` inside."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

from tests.compose.suite import ComposeSuite
from tests.e2e.person import Reflecting
from tests.e2e.test_documentation import ROOT, commands, shell  # noqa: F401 - the fixture

# The same tests with this folder's stack; what is defined below takes the place of its namesake.
from tests.e2e.test_person import *  # noqa: F403


def test_health_says_serving_at_every_process(stack: ComposeSuite) -> None:
    answer = Reflecting(stack.gateway).call("grpc.health.v1.Health/Check", {})
    assert answer == {"status": "SERVING"}
    for name in ("gateway", "storage"):
        for path in ("/healthz", "/readyz", "/metrics"):
            with urllib.request.urlopen(stack.addresses.url(name) + path, timeout=5) as response:
                assert response.status == 200, (name, path)


def test_the_commands_of_the_readme(
    stack: ComposeSuite,
    shell: dict[str, str],  # noqa: F811
    tmp_path: Path,
) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    shutil.copy(ROOT / "README.md", tmp_path)
    # The demo calls services past the gateway, which from outside nobody can.
    blocks = [block for block in commands("README.md") if "silo demo" not in block]
    assert len(blocks) > 3
    for block in blocks:
        # The containers' volumes are not this machine's folders.
        lines = [line for line in block.splitlines() if "SILO_HOME" not in line]
        script = "\n".join(lines).replace("127.0.0.1:50050", stack.gateway)
        script = script.replace("http://127.0.0.1:8080", stack.addresses.url("gateway"))
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env={**os.environ, **shell},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode in (0, 23), f"{script}\n{done.stdout}\n{done.stderr}"


def test_the_demo_runs_on_the_inside(stack: ComposeSuite) -> None:
    shown = stack.compose("run", "--rm", "-T", "silo", "demo")
    assert "all as they must be" in shown, shown


def test_what_one_types_next_is_said(stack: ComposeSuite) -> None:
    said = stack.compose("logs", "--no-color", "onboard")
    assert f"Silo is ready: gRPC at {stack.gateway}" in said
    token = stack.compose("run", "--rm", "-T", "silo", "token", "--tenant", "A").strip()
    person = Reflecting(stack.gateway)
    assert person.call("silo.data.v1.CampaignService/ListCampaigns", {}, token) is not None
