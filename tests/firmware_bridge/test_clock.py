"""The clock map keeps its stated bound: an hour with load, drift, wraps and steps."""

from __future__ import annotations

import random
import statistics

import pytest

from innervate.firmware_bridge.clock import RATE_PPM_BOOT, ClockSync
from innervate.firmware_bridge.trials import Crystal, clock_hour

S = 1_000_000_000
MS = 1_000_000


@pytest.mark.parametrize("told_ppm", [0.0, 300.0, -900.0])
def test_an_hour_with_load_wraps_and_steps(told_ppm: float) -> None:
    hour = clock_hour(told_ppm)
    assert hour.wrong == 0 and hour.steps >= 3
    assert hour.checked > 40_000
    assert statistics.median(hour.bounds_ns) <= 1 * MS


def test_the_rate_is_learned() -> None:
    crystal = Crystal(1_000_037.0, 0.0)
    sync = ClockSync(1_000_500)
    rng = random.Random(2)
    assert sync.drift_ppm == RATE_PPM_BOOT
    for second in range(60):
        at = second * S
        sync.add(crystal.tick(at + 300_000), at, at + 600_000 + rng.randrange(100_000))
    assert abs(sync.rate_hz - 1_000_037) / 1e6 <= sync.drift_ppm * 1e-6
    assert sync.drift_ppm < 30  # two round trips of 0.65 ms in a window of 31 s, and 5 for warming up


def test_there_and_back() -> None:
    crystal = Crystal(1e6, 0.0)
    sync = ClockSync(1_000_000)
    for i in range(10):
        sync.add(crystal.tick(i * S + 200_000), i * S, i * S + 400_000)
    for t in (9 * S, 9 * S + 55 * MS, 10 * S):
        tick = sync.to_ticks(t)
        assert tick is not None and abs(sync.to_host(tick).t_ns - t) < 3000


def test_before_the_first_ping_there_is_no_bound() -> None:
    sync = ClockSync(1_000_000)
    assert sync.to_ticks(5) is None and sync.to_host(3, 77).bound_ns is None


def test_a_stamp_from_after_its_arrival_is_a_step() -> None:
    sync = ClockSync(1_000_000)
    for i in range(10):
        sync.add(i * 1_000_000, i * S - 200_000, i * S + 200_000)
    assert sync.to_host(9_500_000, 9 * S).bound_ns is None and sync.steps == 1
