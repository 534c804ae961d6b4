"""Showing: how a device is recorded while somebody shows it something, guided by the clock or from a labelled scenario; and trying out.

The guide speaks at fixed times of the device's clock: hands are busy, so nobody presses a key. First it asks for rest, then for each example, then
for anything else but that, so that there is something to tell it from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.errors import BoardError, InnervateError
from innervate.runtime.ali.registry import Registry, load_attribute
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import Board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.device import Device, Turn, World
from innervate.runtime.loop.events import Close, Event, Log, Open, Text
from innervate.runtime.teach.recording import Recording, Span, labelled, make_recorder
from innervate.runtime.teach.store import with_skills

REST_S, SHOW_S, PAUSE_S, OTHER_S = 5.0, 3.0, 1.5, 20.0
OTHER = "something else"
LATE_S = 0.9  # after the end of a showing, in which it may be recognised
TRY_S = 20.0

Say = Callable[[str], None]
Going = Callable[[Device], None]  # is told which device runs now, so that a signal can stop it


@dataclass(frozen=True, slots=True)
class Cue:
    """What the guide says at a time, and the span that begins with it ("" for none)."""

    t_s: float
    say: str
    name: str
    until_s: float


def cues(name: str, count: int, held: bool) -> list[Cue]:
    """The guide's part for `count` examples."""
    at, made = REST_S, [Cue(0.0, f"{REST_S:g} s of rest: nothing, please", "", REST_S)]
    for number in range(1, count + 1):
        made.append(Cue(at, f"{number} of {count}: {'hold it there' if held else 'now'}", name, at + SHOW_S))
        made.append(Cue(at + SHOW_S, "  ... take it away" if held else "  ...", "", at + SHOW_S + PAUSE_S))
        at += SHOW_S + PAUSE_S
    made.append(Cue(at, f"and now {OTHER_S:g} s of anything but that", OTHER, at + OTHER_S))
    made.append(Cue(at + OTHER_S, "thank you", "", at + OTHER_S + 1.0))
    return made


class Guide:
    """Says each cue when its time has come."""

    def __init__(self, part: list[Cue], say: Say) -> None:
        self._waiting, self._say = list(part), say

    def watch(self, turn: Turn) -> None:
        """Look at the clock."""
        while self._waiting and turn.t_ns >= self._waiting[0].t_s * 1e9:
            self._say(self._waiting.pop(0).say)


def show(
    board: Board, bundle: Bundle, registry: Registry, clock: Clock, world: World | None, source: str, part: list[Cue], say: Say, log: Log,
    going: Going,
) -> Recording:  # fmt: skip
    """Record a person who follows the guide."""
    device, recorder = make_recorder(board, bundle, registry, clock, world, source, log, [Guide(part, say).watch])
    going(device)
    device.run(round(part[-1].until_s * 1e9))
    if device_stopped(recorder.recording, part):
        raise InnervateError("teach", "stopped before everything was shown", "all examples", "begin again; nothing was learnt")
    recorder.recording.spans = [Span(round(cue.t_s * 1e9), round(cue.until_s * 1e9), cue.name) for cue in part if cue.name]
    return recorder.recording


def device_stopped(recording: Recording, part: list[Cue]) -> bool:
    """Whether a recording ended before the guide did."""
    return not recording.moments or recording.moments[-1].t_ns < (part[-1].until_s - 0.5) * 1e9


def make_world(board: Board, scenario: Path) -> World:
    """Return the board's world with a scenario. Raises BoardError for a board without one."""
    if board.world is None or board.has_drivers:
        raise BoardError(str(board.path), "a recording, but no world to play it in", "a board of twins", "take --board emulator, or show it yourself")
    return cast("Callable[[Path, int | None], World]", load_attribute(board.world, f"{board.path}: board.world"))(scenario, None)


def play(board: Board, bundle: Bundle, registry: Registry, scenario: Path, name: str, source: str, log: Log, going: Going) -> Recording:
    """Record a scenario with labelled spans. Raises InnervateError when none of them is called `name`."""
    world = make_world(board, scenario)
    try:
        spans = labelled(world)
        if not any(span.name == name for span in spans):
            known = ", ".join(sorted({span.name for span in spans})) or "none at all"
            step = f'add [[label]] with t_s, until_s and name = "{name}" for each example'
            raise InnervateError(str(scenario), f"labels {known}", f"some called {name!r}", step)
        device, recorder = make_recorder(board, bundle, registry, VirtualClock(), world, source, log)
        going(device)
        device.run(world.end_ns)
    finally:
        world.close()
    recorder.recording.spans = spans
    return recorder.recording


@dataclass(slots=True)
class Tried:
    """What a device with the skill did: times of recognition and of the acts that followed, against the showings."""

    shown: int = 0
    recognised: int = 0
    acted: int = 0
    besides: int = 0

    def line(self) -> str:
        """The same in words."""
        return f"on the device: recognised {self.recognised} of {self.shown}, {self.besides} times besides; acted {self.acted} times"


class _Watch:
    """Notes when the skill spoke and when the model acted."""

    def __init__(self, name: str, say: Say) -> None:
        self.heard: list[int] = []
        self.acts: list[int] = []
        self._name, self._say, self._seq = name, say, -1

    def watch(self, turn: Turn) -> None:
        sample = turn.samples.get(self._name)
        if sample is not None and sample.seq != self._seq:
            self._seq = sample.seq
            self.heard.append(turn.t_ns)
            self._say(f"  {turn.t_ns / 1e9:6.2f} s  {self._name}")

    def emit(self, event: Event) -> None:
        if isinstance(event, Open | Close | Text):
            self.acts.append(round(event.t_s * 1e9))
            what = f'says "{event.text}"' if isinstance(event, Text) else f"{type(event).__name__.lower()}s {event.component}"
            self._say(f"  {event.t_s:6.2f} s      {what}")


def try_on(
    board: Board, bundle: Bundle, folder: Path, name: str, spans: list[Span], world: World | None, clock: Clock, end_ns: int, say: Say, going: Going
) -> Tried:
    """Run the whole device with the skills of `folder` and count."""
    fitted, registry, _ = with_skills(board, bundle, folder)
    watch = _Watch(name, say)
    device = assemble(fitted, bundle, registry, clock, world, watch, [watch.watch])
    going(device)
    device.run(end_ns)
    tried = Tried(shown=sum(span.name == name for span in spans))
    late = round(LATE_S * 1e9)
    for t_ns in watch.heard:
        tried.besides += not any(span.name == name and span.t0_ns <= t_ns <= span.t1_ns + late for span in spans)
        tried.acted += any(0 <= act - t_ns <= 200_000_000 for act in watch.acts)
    for span in spans:
        if span.name == name:
            tried.recognised += sum(span.t0_ns <= t_ns <= span.t1_ns + late for t_ns in watch.heard) == 1
    return tried
