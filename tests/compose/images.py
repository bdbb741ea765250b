"""What the image is built from: the base image, or a stand-in where no registry can be reached; and the wheels."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.compose.programs import ensure_debootstrap

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "silo-engines"
PYTHON = "3.11"

_STAND_IN = f"silo-stand-in-python:{PYTHON}"
_SUITE = "bookworm"
_DEBIAN_PACKAGES = "python3,python3-venv,ca-certificates"
_LEFT_OUT = ("./proc/*", "./sys/*", "./dev/*", "./var/cache/apt/*", "./var/lib/apt/lists/*")
_BUILT_FROM = (
    *("boundary", "cli", "devstack", "gateway", "gen", "services"),
    *(".dockerignore", "docker-compose.yml", "docker-compose.engines.yml"),
    *("requirements.lock", "LICENSE", "deploy"),
)


def base_image(environment: dict[str, str]) -> tuple[str, bool]:
    """The image to build on, and whether it is a stand-in that was made for the tests."""
    default = re.search(
        r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE
    )
    assert default is not None
    image = environment.get("SILO_PYTHON_IMAGE") or default[1]
    if is_at_hand(image, environment):
        return image, False
    subprocess.run(
        ["docker", "import", str(_root_file_system()), _STAND_IN],
        env=environment,
        check=True,
        capture_output=True,
        timeout=120,
    )
    return _STAND_IN, True


def remove_images(environment: dict[str, str], names: list[str]) -> None:
    """Removes images, and what the classic builder left behind."""
    for command in (
        ["docker", "image", "prune", "--force", "--filter", "label=silo.stage=builder"],
        ["docker", "rmi", "--force", *names],
    ):
        subprocess.run(command, env=environment, capture_output=True, check=False)


def is_at_hand(image: str, environment: dict[str, str]) -> bool:
    """Whether the engine has an image or can pull it."""
    for attempt in (["docker", "image", "inspect", image], ["docker", "pull", "--quiet", image]):
        try:
            done = subprocess.run(
                attempt, env=environment, capture_output=True, timeout=180, check=False
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            return True
    return False


def _root_file_system() -> Path:
    """Debian with Python as a tar file, made once."""
    made = CACHE / f"python{PYTHON}-{_SUITE}.tar"
    if made.exists():
        return made
    ensure_debootstrap()
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={_DEBIAN_PACKAGES}", _SUITE, root],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=480,
        )
        unfinished = Path(folder) / "root.tar"
        without = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
        subprocess.run(
            ["tar", "-C", root, "-cf", unfinished, *without, "."], check=True, timeout=120
        )
        _keep(unfinished, made)
    return made


def build_context(folder: Path) -> None:
    """Copies what the image is built from to a folder, with the wheels that it needs."""
    for name in _BUILT_FROM:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.whl")
            )
        else:
            shutil.copy(source, folder / name)
    for wheel in _wheels().glob("*.whl"):
        shutil.copy(wheel, folder / "deploy" / "wheels")


def _wheels() -> Path:
    """The locked wheels, fetched once for each lock with this machine's own pip settings."""
    lock = ROOT / "requirements.lock"
    made = CACHE / f"wheels-py{PYTHON}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:16]}"
    if made.exists():
        return made
    CACHE.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:"),
                *("--python-version", PYTHON, "--require-hashes"),
                *("--requirement", lock, "--dest", unfinished),
            ],
            check=True,
            timeout=300,
        )
        unfinished.rename(made)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return made


def _keep(source: Path, target: Path) -> None:
    """Moves a finished file to its place, whole or not at all, from another file system too."""
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.move(source, beside)
    beside.replace(target)
