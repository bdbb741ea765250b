"""Small bar charts for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from cli.render import console

_WIDTH = 100
_HEIGHT = 14
_TICKS = 4


def print_bars(title: str, labels: Sequence[str], values: Sequence[int]) -> None:
    """Prints one bar for each label; where there is nothing to show, nothing."""
    if not values or max(values) <= 0:
        return
    out = console()
    width = min(_WIDTH, out.width)
    out.print()
    out.print(Text(title, style="bold"))
    # A rich Text, so that a pipe gets no colours and a narrow terminal no broken lines.
    out.print(Text(bars(labels, values, width=width), style="cyan"), soft_wrap=True)


def bars(labels: Sequence[str], values: Sequence[int], *, width: int, height: int = _HEIGHT) -> str:
    """A bar chart as lines of text without colours."""
    import plotext  # noqa: PLC0415 - a third of a second that only a plot is worth

    figure: Any = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, height)
    places = list(range(1, len(labels) + 1))
    figure.draw(figure.bar(places, list(values), width=0.8))
    shown = _spread(len(labels), room=max(1, width // (max(map(len, labels)) + 3)))
    figure.ruler("x").ticks([places[i] for i in shown], [labels[i] for i in shown])
    heights = _heights(max(values))
    figure.ruler("y").ticks(heights, [f"{tick:,}" for tick in heights])
    drawn: str = figure.build().string(colorless=True)
    return "\n".join(line.rstrip() for line in drawn.splitlines())


def _spread(count: int, *, room: int) -> list[int]:
    """Which of the labels there is room for, evenly apart."""
    step = -(-count // room)
    return list(range(0, count, step))


def _heights(highest: int) -> list[int]:
    """Whole numbers up to the highest, each once."""
    return sorted({round(highest * part / _TICKS) for part in range(_TICKS + 1)})
