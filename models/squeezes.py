"""Force on the grip for training: pulses, pairs of pulses, steady grips, and which of them are a double squeeze."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .feeling import FORCE_HZ, FORCE_WINDOW, SAMPLES_PER_TICK
from .speech import TICKS

IGNORE = -100
SQUEEZE_N = 5.0
DOUBLE_S = 0.8


def squeeze_track(rng: np.random.Generator, asked: list[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Force [FORCE_WINDOW + TICKS * 8] and per tick whether a second squeeze has just begun (1), not (0), or either (IGNORE)."""
    n = FORCE_WINDOW + TICKS * SAMPLES_PER_TICK
    force = np.zeros(n, np.float32)

    def pulse(start: int, peak: float, rise: int, hold: int, fall: int) -> None:
        shape = np.concatenate([np.linspace(0, peak, rise + 1)[1:], np.full(hold, peak), np.linspace(peak, 0, fall + 1)[1:]])
        stop = min(n, start + len(shape))
        if start < n:
            force[start:stop] = np.maximum(force[start:stop], shape[: stop - start])

    for tick in asked:  # somebody squeezes while asking, mostly
        if rng.random() < 0.75:
            lead, steady = ((40, 250), (260, 420)) if len(asked) < 3 else ((14, 34), (24, 50))
            start = FORCE_WINDOW + (tick + 1) * SAMPLES_PER_TICK - int(rng.integers(*lead))
            pulse(max(0, start), float(rng.uniform(0.5, 45)), int(rng.integers(2, 14)), int(rng.integers(*steady)), int(rng.integers(2, 14)))
    for _ in range(int(rng.integers(0, 4))):
        start = int(rng.integers(0, n))
        kind = rng.random()
        peak = float(rng.uniform(5.5, 40)) if rng.random() < 0.8 else float(rng.uniform(1, 4.5))
        if kind < 0.4:
            pulse(start, peak, int(rng.integers(2, 35)), int(rng.integers(2, 250)), int(rng.integers(2, 35)))
            continue
        for _ in range(2 if kind < 0.9 else 3):
            rise, hold, fall = int(rng.integers(2, 16)), int(rng.integers(1, 22)), int(rng.integers(2, 16))
            pulse(start, peak * float(rng.uniform(0.8, 1.25)), rise, hold, fall)
            start += rise + hold + fall + int(rng.integers(3, 55))
    force += rng.normal(0, rng.uniform(0.0, 0.12), n).astype(np.float32)
    return force, double_labels(force)


def double_labels(force: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Per tick 1 when the second of two rises over 5 N within 0.8 s lies in its last 0.24 s; IGNORE near the limits."""
    rises, armed = [], True
    for i, value in enumerate(force):
        if armed and value > SQUEEZE_N:
            rises.append(i)
            armed = False
        elif value < SQUEEZE_N - 0.7:
            armed = True
    out = np.zeros(TICKS, np.int64)
    for first, second in pairwise(rises):
        apart = (second - first) / FORCE_HZ
        if apart > DOUBLE_S + 0.12:
            continue
        tick = max(0, (second - FORCE_WINDOW) // SAMPLES_PER_TICK)
        for k in range(tick, min(TICKS, tick + 4)):
            age = FORCE_WINDOW + (k + 1) * SAMPLES_PER_TICK - 1 - second
            sure = 1 <= age < 24 and apart < DOUBLE_S - 0.04
            out[k] = 1 if sure or out[k] == 1 else IGNORE
    return out
