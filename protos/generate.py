"""Generates gen/ from protos/.

Run as `python protos/generate.py [--check] [--image FILE]`. `--check` writes nothing and fails where
gen/ differs from what protos/ say; `--image` also writes a descriptor image for buf.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

import google.api
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GEN = ROOT / "gen"


def include_paths() -> list[str]:
    """Where protoc finds imports: our protos, Google's API protos, protobuf's own."""
    google_apis = Path(next(iter(google.api.__path__))).parent.parent
    well_known = Path(protoc.__file__).parent / "_proto"
    return [f"-I{path}" for path in (PROTOS, google_apis, well_known)]


def proto_files() -> list[str]:
    """Every proto of the project, relative to protos/."""
    return sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))


def run_protoc(*outputs: str) -> None:
    """Runs protoc over all protos and raises on its first error."""
    if protoc.main(["protoc", *include_paths(), *outputs, *proto_files()]) != 0:
        raise SystemExit("protoc failed")


def generate(target: Path) -> None:
    """Writes messages, stubs and their types below target."""
    scripts = Path(
        sys.executable
    ).parent  # the plugins of this virtual environment, on the path or not
    run_protoc(
        *(
            f"--plugin={plugin}={scripts / plugin}"
            for plugin in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
        ),
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
    )
    for folder in (p for p in [target / "silo", *(target / "silo").rglob("*")] if p.is_dir()):
        (folder / "__init__.py").write_text("")
    (target / "silo" / "py.typed").write_text("")


def differences(fresh: Path, committed: Path) -> list[str]:
    """The files that are missing, left over or different, relative to gen/."""
    names = {
        str(path.relative_to(base))
        for base in (fresh, committed)
        for path in base.rglob("*.py*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(
        name
        for name in names
        if not (fresh / name).exists()
        or not (committed / name).exists()
        or not filecmp.cmp(fresh / name, committed / name, shallow=False)
    )


def main() -> None:
    """Reads the arguments and generates or checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--image", type=Path)
    arguments = parser.parse_args()
    if arguments.image:
        run_protoc(
            f"--descriptor_set_out={arguments.image}", "--include_imports", "--include_source_info"
        )
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        changed = differences(fresh, GEN)
        if arguments.check:
            if changed:
                sys.exit("gen/ is not what protos/ say; run `make gen`:\n  " + "\n  ".join(changed))
            return
        for name in changed:
            source, destination = fresh / name, GEN / name
            if not source.exists():
                destination.unlink()
                continue
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(source.read_bytes())


if __name__ == "__main__":
    main()
