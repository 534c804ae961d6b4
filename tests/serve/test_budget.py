"""Budgets, on a clock under the test's hand."""

import pytest

from innervate.runtime.serve.budget import SLOW_S_MAX, Allowance, Budget, Meter


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_second_of_use_is_free_and_then_time_is_owed() -> None:
    clock = Clock()
    budget = Budget(Allowance(bytes_s=100.0, requests_s=10.0, latents_s=1000.0), clock)
    assert budget.spend(100, 1, 0) == 0.0
    assert budget.spend(50, 1, 0) == pytest.approx(0.5)
    clock.now = 0.5
    assert budget.spend(0, 1, 0) == 0.0
    clock.now = 9.0
    assert budget.spend(0, 10, 0) == 0.0, "a pause gives back a second's worth, not more"
    assert budget.spend(0, 10, 0) == pytest.approx(1.0)


def test_the_deepest_debt_counts_and_a_wait_is_bounded() -> None:
    budget = Budget(Allowance(bytes_s=100.0, requests_s=10.0, latents_s=1.0), Clock())
    assert budget.spend(150, 1, 4) == pytest.approx(3.0)
    assert budget.spend(0, 0, 10_000) == SLOW_S_MAX


def test_over_a_long_time_the_rate_is_kept() -> None:
    clock = Clock()
    budget = Budget(Allowance(bytes_s=1e9, requests_s=50.0, latents_s=1e9), clock)
    for _ in range(1000):
        clock.now += budget.spend(1, 1, 1)
    assert clock.now == pytest.approx(1000 / 50 - 1, abs=0.1)


def test_a_meter_refuses_and_does_not_count_what_it_refused() -> None:
    clock = Clock()
    meter = Meter(10.0, 4.0, clock)
    assert meter.take(4)
    assert not meter.take(1)
    clock.now = 0.1
    assert meter.take(1)
    clock.now = 100.0
    assert meter.take(4)
    assert not meter.take(1)
