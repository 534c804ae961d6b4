"""Whole ticks without rendering, their parts, and an hour of them: medians of wall time on one thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from innervate.models.bench.replay import Frames, ReplayWorld, busy
from innervate.runtime.ali.registry import Registry
from innervate.runtime.backbone.bench import engine_pass, medians_us
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.board import find_board, load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.device import Turn
from innervate.runtime.loop.events import Event, Histogram

WARM_UP_S = 5.0
TICK_ROWS = 10  # latents of a tick: sound 1, sight 6, force 1, pose 1, the query row
FILLED = 15 / 16  # of the context; a session slides between a half and all of it


class Deaf:
    """A log that counts events and forgets them."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def emit(self, event: Event) -> None:
        """Take one event."""
        name = type(event).__name__
        self.counts[name] = self.counts.get(name, 0) + 1


def run_ticks(bundle: Bundle, variant: str, duration_s: float, frames: Frames, watch: Callable[[Turn], None]) -> Deaf:
    """Run a busy scenario on the emulator's board, in the replayed world; `watch` sees every turn with its wall time."""
    board = load_board(find_board("emulator"))
    log = Deaf()
    world = ReplayWorld(busy(duration_s), frames)
    device = assemble(replace(board, threads=1), bundle, Registry(), VirtualClock(), world, log, [watch], variant)
    device.run(world.end_ns)
    return log


@dataclass(frozen=True, slots=True)
class TickFigures:
    """Microseconds: the whole tick, and those ticks in which nothing is emitted, by whether the motor is open."""

    p50: float
    p99: float
    idle_p50: float
    driving_p50: float
    ticks: int


def tick_figures(bundle: Bundle, variant: str, duration_s: float, frames: Frames) -> TickFigures:
    """Time `duration_s` of ticks."""
    rows: list[tuple[float, int, bool]] = []

    def watch(turn: Turn) -> None:
        if turn.t_ns > WARM_UP_S * 1e9:
            rows.append((turn.wall_us, turn.steps, turn.open is not None))

    run_ticks(bundle, variant, duration_s + WARM_UP_S, frames, watch)
    walls = [wall for wall, _, _ in rows]
    idle = [wall for wall, steps, is_open in rows if not steps and not is_open]
    driving = [wall for wall, steps, is_open in rows if not steps and is_open]

    def median(some: list[float]) -> float:
        return float(np.median(some)) if some else float("nan")

    return TickFigures(median(walls), float(np.percentile(walls, 99)), median(idle), median(driving), len(walls))


def part_figures(bundle: Bundle, variant: str, repeats: int) -> dict[str, float]:
    """Medians in microseconds of what a tick is made of."""
    engine, vocabulary = Engine(bundle, variant), Vocabulary(bundle)
    ear, eye = bundle.component("mic", "encoder"), bundle.component("camera", "encoder")
    touch, pose = bundle.component("force", "encoder"), bundle.component("motor", "pose_encoder")
    decoder = bundle.component("motor", "decoder")
    rng = np.random.default_rng(0)

    def over(run: Callable[[np.ndarray], object], shape: tuple[int, ...]) -> Callable[[], object]:
        x = (0.1 * rng.standard_normal(shape)).astype(np.float32)
        return lambda: run(x)

    hidden = rng.standard_normal(engine.width).astype(np.float32)
    parts: dict[str, Callable[[], object]] = {
        "ear": over(ear.run, ear.x_shape),
        "eye": over(eye.run, eye.x_shape),
        "force": over(touch.run, touch.x_shape),
        "pose": over(pose.run, pose.x_shape),
        f"backbone, {TICK_ROWS} latents": engine_pass(engine, int(engine.context * FILLED), TICK_ROWS),
        "emission, all rows": lambda: int(vocabulary.logits(hidden).argmax()),
        "emission, control rows": lambda: int(vocabulary.control_logits(hidden).argmax()),
        "motor decoder": over(decoder.run, decoder.x_shape),
    }
    runs: list[Callable[[], None]] = [_quietly(run) for run in parts.values()]
    return dict(zip(parts, medians_us(runs, repeats), strict=True))


def _quietly(run: Callable[[], object]) -> Callable[[], None]:
    def quiet() -> None:
        run()

    return quiet


def rss_mb() -> float:
    """Resident memory of this process now, in MiB; 0 where the system does not tell."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


@dataclass(frozen=True, slots=True)
class Span:
    """Part of a long run: the minutes it covers, median and p99 of a tick in microseconds, memory at its end in MiB."""

    from_min: float
    to_min: float
    p50: float
    p99: float
    rss_mb: float


def long_run(bundle: Bundle, variant: str, minutes: float, frames: Frames, spans: int, watch_span: Callable[[Span], None]) -> None:
    """Run `minutes` of emulated time in one session and report each of `spans` parts of it as it ends."""
    length_ns = round(minutes * 60e9 / spans)
    histogram, end_ns = Histogram(), length_ns

    def watch(turn: Turn) -> None:
        nonlocal histogram, end_ns
        histogram.add(turn.wall_us)
        if turn.t_ns >= end_ns:
            p50, p99 = histogram.percentile(50) or 0.0, histogram.percentile(99) or 0.0
            watch_span(Span((end_ns - length_ns) / 60e9, end_ns / 60e9, p50, p99, rss_mb()))
            histogram, end_ns = Histogram(), end_ns + length_ns

    run_ticks(bundle, variant, minutes * 60.0, frames, watch)
