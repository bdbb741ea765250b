"""How much is tried again."""

from __future__ import annotations

import pytest

from boundary import retries
from boundary.context import serving
from boundary.ids import TenantId
from boundary.retries import RetryBudget
from tests.contexts import make_context

A, B = make_context("A"), make_context("B")


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


def test_a_tenant_in_trouble_leaves_the_others_theirs() -> None:
    budget = RetryBudget(most=10, share=0.3)
    with serving(A):
        assert [budget.take() for _ in range(5)] == [True, True, True, False, False]
    with serving(B):
        assert [budget.take() for _ in range(5)] == [True, True, True, False, False]


def test_all_tenants_together_have_what_the_engine_bears() -> None:
    budget = RetryBudget(most=4, share=0.5)
    taken = 0
    for name in ("A", "B", "C"):
        with serving(make_context(name)):
            taken += sum(budget.take() for _ in range(4))
    assert taken == 4
    assert not budget.take()  # nor is there one for a call of no tenant


def test_what_a_tenant_may_not_take_is_not_taken_from_the_engine() -> None:
    budget = RetryBudget(most=4, share=0.25)
    with serving(A):
        assert [budget.take() for _ in range(9)].count(True) == 1
    assert [budget.take() for _ in range(4)] == [True, True, True, False]


def test_successes_of_others_do_not_fill_a_tenants_share() -> None:
    budget = RetryBudget(most=10, share=0.1, gain=1)
    with serving(A):
        assert [budget.take() for _ in range(2)] == [True, False]
    with serving(B):
        budget.give()
    with serving(A):
        assert not budget.take()
        budget.give()
        assert budget.take()


def test_time_gives_a_tenant_back_its_share_alone() -> None:
    now = 0.0
    budget = RetryBudget(most=10, share=0.2, per_second=5, clock=lambda: now)
    with serving(A):
        assert [budget.take() for _ in range(3)] == [True, True, False]
        now = 1.0
        assert [budget.take() for _ in range(2)] == [True, False]


def test_memory_does_not_grow_with_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MOST_TENANTS", 2)
    tenant = TenantId("first")
    budget = RetryBudget(most=1000, share=0.001, tenant=lambda: tenant)
    assert [budget.take() for _ in range(2)] == [True, False]
    for number in range(5):
        tenant = TenantId(f"T{number}")
        assert [budget.take() for _ in range(2)] == [True, False]
    assert len(budget._by_tenant) == 2
    tenant = TenantId("first")
    assert budget.take()
