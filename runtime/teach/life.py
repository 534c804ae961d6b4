"""A minute of ordinary life, played to a device of twins: what it does by itself, and what it does with a skill beside it.

The base's weights are never touched, so a taught skill can cost the old skills in one way only: by speaking up when it should not. That is what is
measured: the same minute (`life.toml`) with and without the skill, closed loop, tick by tick. It is the fixed set of tick sequences that every
skill is held to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from innervate.runtime.ali.registry import Registry, load_attribute
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import Board, Wiring
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.device import Turn, World
from innervate.runtime.loop.events import Close, Event, Fault, Open, Setpoint, Text
from innervate.runtime.teach.recording import Recorder, Recording, make_recorder

LIFE, PRACTICE = (Path(__file__).with_name(name) for name in ("life.toml", "practice.toml"))
WORLD = "innervate.boards.emulator:make_still"
CHANGED_MAX = 0.01  # of the ticks of that minute; below half a second of it
SAME_DEG = 0.5  # setpoints nearer than this are the same


@dataclass(slots=True, eq=False)
class Life:
    """One playing: by tick what was emitted, the faults, and the recording of one sense and its company."""

    acts: dict[int, list[object]]
    faults: list[str]
    recording: Recording
    ticks: int


class _Log:
    def __init__(self) -> None:
        self.acts: dict[int, list[object]] = defaultdict(list)
        self.faults: list[str] = []

    def emit(self, event: Event) -> None:
        tick = round(event.t_s / 0.08)
        if isinstance(event, Open | Close):
            self.acts[tick].append((type(event).__name__, event.component))
        elif isinstance(event, Text):
            self.acts[tick].append(("Text", event.text))
        elif isinstance(event, Setpoint):
            value = event.deg if event.deg is not None else event.value
            self.acts[tick].append(("Setpoint", event.axis, round((value or 0.0) / SAME_DEG)))
        elif isinstance(event, Fault):
            self.faults.append(event.cause)


def of_twins(board: Board, registry: Registry) -> Board:
    """The same board with every component's twin; what has none is left out, and what listens to it."""
    entries = {wiring.name: registry.component(wiring.plugin, wiring.name) for wiring in board.components}
    kept: list[Wiring] = []
    for wiring in board.components:
        entry = entries[wiring.name]
        if entry.virtual is not None and (entry.listens is None or any(one.name == entry.listens for one in kept)):
            kept.append(replace(wiring, use="virtual", options={}))
    return replace(board, components=tuple(kept), world=WORLD)


def with_skill(board: Board, name: str) -> Board:
    """The same board with the plugin `name` on it, whose component has its name."""
    return replace(board, components=(*board.components, Wiring(name, name, "virtual")))


def live(
    board: Board, bundle: Bundle, registry: Registry, source: str, variant: str | None = None, watchers: Sequence[Callable[[Turn], None]] = ()
) -> Life:
    """Play the minute on a board of twins, in virtual time."""
    make = cast("Callable[[Path, int | None], World]", load_attribute(WORLD, "teach"))
    world = make(LIFE, None)
    recorder, log = Recorder(source), _Log()
    taps = {wiring.name: recorder.tap for wiring in board.components}
    try:
        device = assemble(board, bundle, registry, VirtualClock(), world, log, [recorder.watch, *watchers], variant, taps)
        device.run(world.end_ns)
    finally:
        world.close()
    return Life(dict(log.acts), log.faults, recorder.recording, device.ticks)


def practice(board: Board, bundle: Bundle, registry: Registry, source: str) -> Recording:
    """What the twin of one sense gives in another minute, on which detectors are trained rather than judged; empty without a twin."""
    if not any(wiring.name == source for wiring in board.components):
        return Recording(source)
    world = cast("Callable[[Path, int | None], World]", load_attribute(WORLD, "teach"))(PRACTICE, None)
    try:
        device, recorder = make_recorder(board, bundle, registry, VirtualClock(), world, source, _Log())
        device.run(world.end_ns)
    finally:
        world.close()
    return recorder.recording


def changed(before: Life, after: Life) -> float:
    """Share of the ticks in which the two did something different."""
    ticks = set(before.acts) | set(after.acts)
    return sum(before.acts.get(tick) != after.acts.get(tick) for tick in ticks) / max(1, before.ticks)
