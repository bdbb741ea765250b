from __future__ import annotations

from cli.plot import bars


def test_higher_values_have_higher_bars() -> None:
    lines = bars(["one", "two"], [10, 40], width=60).splitlines()
    assert "two" in lines[-1]
    assert "40" in lines[1]
    left, right = lines[-1].index("one"), lines[-1].index("two")
    heights = [sum(line[place : place + 1] == "█" for line in lines) for place in (left, right)]
    assert 0 < heights[0] < heights[1]


def test_no_colours_and_no_trailing_spaces() -> None:
    drawn = bars([f"{day:02}" for day in range(1, 32)], list(range(31)), width=80)
    assert "\x1b" not in drawn
    assert all(line == line.rstrip() for line in drawn.splitlines())


def test_few_labels_of_many_are_shown() -> None:
    labels = [f"2024-01-01 {hour:02}" for hour in range(24)] * 10
    last = bars(labels, [1] * 240, width=80).splitlines()[-1]
    assert len(last) <= 80
    assert last.count("2024") >= 3


def test_the_same_value_has_one_tick() -> None:
    drawn = bars(["one"], [1], width=40)
    assert drawn.count("1┤") == 1
