"""How much is tried again."""

from __future__ import annotations

from boundary.retries import RetryBudget


def test_an_engine_that_fails_is_asked_less_often() -> None:
    budget = RetryBudget(most=3, gain=0.5)
    assert [budget.take() for _ in range(5)] == [True, True, True, False, False]
    budget.give()
    assert not budget.take()
    budget.give()
    assert budget.take()


def test_a_budget_fills_with_time_and_success() -> None:
    now = 0.0
    budget = RetryBudget(most=2, per_second=1, clock=lambda: now)
    assert [budget.take() for _ in range(3)] == [True, True, False]
    now = 1.0
    assert [budget.take() for _ in range(2)] == [True, False]
    for _ in range(11):
        budget.give()
    assert [budget.take() for _ in range(2)] == [True, False]
