"""The clock map keeps its stated bound: an hour with load, drift, wraps and steps."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from innervate.firmware_bridge.clock import RATE_PPM_BOOT, ClockSync

S = 1_000_000_000
MS = 1_000_000


class Crystal:
    """A microcontroller's counter: `hz` is its true rate, which wanders by `wander_ppm` over ten minutes."""

    def __init__(self, hz: float, wander_ppm: float = 2.0) -> None:
        self.hz, self.wander_ppm, self.shift = hz, wander_ppm, 0.0

    def tick(self, t_ns: float) -> int:
        t = t_ns / S
        wander = self.wander_ppm * 1e-6 * 600 / (2 * math.pi) * (1 - math.cos(2 * math.pi * t / 600))
        return int((t + wander + self.shift) * self.hz) % 2**32


def delay_ns(rng: random.Random) -> int:
    """One way over USB or a socket on a busy machine: 0.3 ms, now and then up to 30."""
    return round(300_000 + rng.expovariate(1 / 150_000)) + (rng.randrange(30 * MS) if rng.random() < 0.05 else 0)


@pytest.mark.parametrize("told_ppm", [0.0, 300.0, -900.0])
def test_an_hour_with_load_wraps_and_steps(told_ppm: float) -> None:
    rng = random.Random(11)
    true_hz = 11_904_761.9
    crystal = Crystal(true_hz)
    sync = ClockSync(round(true_hz * (1 + told_ppm * 1e-6)))
    steps = {600 * S: 3.0, 1500 * S: -0.4, 2400 * S: 120.0}  # the counter jumps: the emulator or the host slept
    bounds, wrong, checked, hidden = [], 0, 0, 0
    now, due = 0, 0
    while now < 3600 * S:
        now += 50 * MS
        for at in [t for t in steps if t <= now]:
            crystal.shift += steps.pop(at)
            hidden = 60  # until something shows the step no clock can know; see clock.py
        if now >= due:
            there = now + delay_ns(rng)
            back = there + delay_ns(rng)
            sync.add(crystal.tick(there), now, back)
            due = now + (50 * MS if sync.pings < 8 else 1500 * MS)
            now = back
        taken = now
        arrived = taken + delay_ns(rng)
        steps_before = sync.steps
        stamp = sync.to_host(crystal.tick(taken), arrived)
        if sync.steps > steps_before:
            hidden = 0
        now = arrived
        if stamp.bound_ns is None:
            continue
        checked += 1
        bounds.append(stamp.bound_ns)
        if abs(stamp.t_ns - taken) > stamp.bound_ns + 100 and hidden == 0:  # a tick is 84 ns long
            wrong += 1
        hidden = max(0, hidden - 1)
    assert wrong == 0 and sync.steps >= 3
    assert checked > 40_000
    assert statistics.median(bounds) <= 1 * MS


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
