"""Runs every case against a suite of its own and writes `benchmarks/results/`.

`python -m benchmarks [--quick] [--without-engines]`
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.archives import archives
from benchmarks.cases import Result, audit_modes, big_object, resolution, suspension, two_hops
from benchmarks.engines import engine_cases
from benchmarks.purge_embedded import purge_embedded
from devstack.stack import Stack

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Reads the arguments, runs the cases, writes and prints what they found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds; writes nothing")
    parser.add_argument(
        "--without-engines",
        action="store_true",
        help="the suite's own cases alone; what was found on engines stays as it is",
    )
    arguments = parser.parse_args()
    rounds, requests = (2, 500) if arguments.quick else (7, 3000)
    with tempfile.TemporaryDirectory(prefix="silo-bench-") as folder:
        began = time.perf_counter()
        with Stack(home=Path(folder)) as stack:
            start = Result(name="Start")
            start.at_most("seconds until the suite is ready", time.perf_counter() - began, 5.0)
            hops = two_hops(stack, rounds=rounds, requests=requests)
            bare_cpu = hops.figures["concurrency 1, bare two hops: CPU us/request"]
            results = [
                start,
                hops,
                resolution(stack, bare_cpu, rounds=rounds, requests=min(requests, 1000)),
                suspension(stack, rounds=5),
                big_object(stack),
            ]
            with _strict_stack(Path(folder) / "strict") as strict:
                modes = audit_modes(stack, strict, rounds=rounds, requests=min(requests, 2000))
                results.append(modes)
        with Stack(home=Path(folder) / "archives", environment=_impatient()) as stack:
            results.append(archives(stack))
    results.append(purge_embedded())
    if arguments.without_engines:
        results += _kept(besides={result.name for result in results})
    else:
        results += engine_cases(rounds=2 if arguments.quick else 5)
    text = render(results)
    print(text)
    if not arguments.quick:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "latest.md").write_text(text)
        (RESULTS / "latest.json").write_text(
            json.dumps([vars(r) for r in results], indent=2) + "\n"
        )


def _strict_stack(home: Path) -> Stack:
    """A suite whose calls wait until their audit records are durable."""
    return Stack(home=home, environment={**os.environ, "SILO_AUDIT_MODE": "strict"})


def _impatient() -> dict[str, str]:
    """The environment of a suite in which an import does not wait for contexts that nobody has."""
    return {**os.environ, "SILO_SETTLE_SECONDS": "0.3"}


def _kept(*, besides: set[str]) -> list[Result]:
    """The committed results of the cases that do not run now."""
    found = json.loads((RESULTS / "latest.json").read_text())
    return [Result(**kept) for kept in found if kept["name"] not in besides]


def render(results: list[Result]) -> str:
    """The results as Markdown."""
    lines = ["# Results of `make bench`", ""]
    lines += [
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"grpcio {version('grpcio')}. CPU is user and system time of the serving processes.",
        "",
    ]
    for result in results:
        lines += [
            f"## {result.name}",
            "",
            "| target | found | bound | holds |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {name} | {value:g} | {bound} | {'yes' if holds else '**no**'} |"
            for name, value, bound, holds in result.targets
        ]
        if result.figures:
            lines += ["", "| figure | median |", "|---|---|"]
            lines += [f"| {name} | {value:g} |" for name, value in result.figures.items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
