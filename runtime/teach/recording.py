"""What a device sensed while somebody showed it something: the recording that teaching works on.

The device runs on its own clock and supervised, with the one sense that is taught and nothing else: no limb can move while somebody shows a gesture.
Its raw samples are kept, so that a skill can be taught again on another model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from innervate.runtime.ali.clock import Clock
from innervate.runtime.ali.component import Array, Sample
from innervate.runtime.ali.errors import BoardError, InnervateError, nearest
from innervate.runtime.ali.latents import Latents
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.space import Floats
from innervate.runtime.ali.tap import Tap
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.board import Board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.device import Device, Turn, World
from innervate.runtime.loop.events import Log

TICKS_MAX = 7500  # ten minutes: 75 MB of latents with a camera


@dataclass(frozen=True, slots=True)
class Span:
    """Somebody says that `name` happened between two times of the device."""

    t0_ns: int
    t1_ns: int
    name: str


@dataclass(slots=True, eq=False)
class Moment:
    """One tick: latents of all senses in the order of the loop, and the raw samples of the sense that is taught."""

    t_ns: int
    packets: list[tuple[str, Floats]]  # (component, [T, D])
    heard: list[Sample]


@dataclass(slots=True, eq=False)
class Recording:
    """Ticks of one sense, `source`, and of its company where it had any; `spans` say what happened when."""

    source: str
    moments: list[Moment] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def samples(self) -> list[Sample]:
        """All raw samples of the source, oldest first."""
        return [sample for moment in self.moments for sample in moment.heard]


class Recorder:
    """Fills a Recording while a device runs: one tap on the senses that are of interest, emptied after every turn."""

    def __init__(self, source: str) -> None:
        self.recording = Recording(source)
        self.lost = 0
        self._came: list[tuple[Sample, Latents]] = []
        self.tap = _Order(source, self._came)

    def watch(self, turn: Turn) -> None:
        """Take what this turn's senses gave."""
        came = list(self._came)
        self._came.clear()
        packets = [(latents.source, latents.data) for _, latents in came]
        heard = [sample for sample, latents in came if latents.source == self.recording.source]
        self.recording.moments.append(Moment(turn.t_ns, packets, heard))
        if len(self.recording.moments) > TICKS_MAX:
            del self.recording.moments[0]
            self.lost += 1


class _Order(Tap):
    """One tap for several components, so that their order in the tick is kept."""

    def __init__(self, source: str, came: list[tuple[Sample, Latents]]) -> None:
        super().__init__(source)
        self._came = came

    def put(self, sample: Sample, latents: Latents) -> None:
        self._came.append((sample, latents))


def senses_of(board: Board, registry: Registry) -> list[str]:
    """Names of the board's components that can be listened to: senses with a network of their own."""
    entries = {wiring.name: registry.component(wiring.plugin, wiring.name) for wiring in board.components}
    return [name for name, entry in entries.items() if entry.kind == "upstream" and entry.listens is None and entry.graph != "rows"]


def alone(board: Board, source: str) -> Board:
    """The same board with that one sense on it."""
    return replace(board, components=tuple(wiring for wiring in board.components if wiring.name == source))


def check_source(board: Board, registry: Registry, source: str) -> None:
    """Raise BoardError when `source` is no sense of the board that can be listened to."""
    known = senses_of(board, registry)
    if source not in known:
        raise BoardError(f"--listen {source}", "no such sense on this board", f"one of {', '.join(known)}", nearest(source, known))


def make_recorder(
    board: Board, bundle: Bundle, registry: Registry, clock: Clock, world: World | None, source: str, log: Log,
    watchers: Sequence[Callable[[Turn], None]] = (), variant: str | None = None,
) -> tuple[Device, Recorder]:  # fmt: skip
    """Wire a device of one sense whose runs are recorded. Raises BoardError when `source` is no sense of the board."""
    check_source(board, registry, source)
    recorder = Recorder(source)
    device = assemble(alone(board, source), bundle, registry, clock, world, log, [recorder.watch, *watchers], variant, {source: recorder.tap})
    return device, recorder


def labelled(world: object) -> list[Span]:
    """Spans of a world's scenario that carry a label; empty where there are none."""
    labels = getattr(getattr(world, "scenario", None), "labels", ())
    return [Span(round(one.t_s * 1e9), round(one.until_s * 1e9), one.name) for one in labels]


def need_samples(recording: Recording) -> list[Array]:
    """Return the raw samples of the source. Raises InnervateError when it gave none."""
    samples = [sample.data for sample in recording.samples()]
    if not samples:
        step = "look at the fault above, or listen to another sense"
        raise InnervateError(f"teach: {recording.source}", "gave no sample during the recording", "a sense that works", step)
    return samples
