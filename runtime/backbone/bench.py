"""How long a pass of the engine takes on this machine: medians at a fixed context, nothing else running in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from innervate.runtime.backbone.engine import Engine

WARM_UP = 20  # passes before the clock counts: bindings are made, caches filled


def engine_pass(engine: Engine, context: int, rows: int, seed: int = 0) -> Callable[[], None]:
    """A pass of ``rows`` latents that ends at ``context`` positions, over and over from the same snapshot."""
    rng = np.random.default_rng(seed)
    engine.reset()
    before = context - rows
    while engine.length < before:
        part = min(engine.rows_max, before - engine.length)
        engine.append(rng.standard_normal((part, engine.width), dtype=np.float32))
    snapshot = engine.snapshot()
    x = rng.standard_normal((rows, engine.width), dtype=np.float32)

    def run() -> None:
        engine.rewind_to(snapshot)  # 0.2 us
        engine.append(x)

    return run


def medians_us(passes: Sequence[Callable[[], None]], repeats: int = 300, rounds: int = 5) -> list[float]:
    """Median time of each pass in microseconds.

    The passes take turns in ``rounds`` blocks, so that a change of the machine's load meets them all.
    """
    took: list[list[int]] = [[] for _ in passes]
    for _ in range(rounds):
        for run, times in zip(passes, took, strict=True):
            for _ in range(WARM_UP):
                run()
            for _ in range(max(1, repeats // rounds)):
                start = time.perf_counter_ns()
                run()
                times.append(time.perf_counter_ns() - start)
    return [float(np.median(times)) / 1000 for times in took]
