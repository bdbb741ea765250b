"""Progress bars, on standard error so that output can be piped, and only where somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def transfer(label: str, *, total: int | None, quiet: bool) -> Iterator[Progress]:
    """A bar over bytes with one task.

    Args:
        total: how many bytes there will be; None where nobody knows.
        quiet: shows nothing.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet or not Console(stderr=True).is_terminal,
    )
    with bar:
        bar.add_task(label, total=total)
        yield bar


def advance(bar: Progress) -> Callable[[int], None]:
    """What moves the bar's one task on."""
    (task,) = bar.task_ids
    return lambda amount: bar.advance(task, amount)
