"""A lesson: from a recording to a skill, and what it was found to be worth.

    recording -> examples -> latents that make the model act, judged in moments that they have not seen
                          -> detector, judged on what it has not seen
              -> a plugin folder on trial -> what it changes in a minute of ordinary life -> kept or not

Nothing lasting is written before the owner keeps the skill. What was shown is set aside as soon as it is recorded, so that an interruption loses
nothing but time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from innervate.runtime.ali.component import Encoder
from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.ali.registry import Registry, load_class
from innervate.runtime.ali.space import Floats
from innervate.runtime.backbone.bundle import Bundle
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.board import Board
from innervate.runtime.loop.assemble import component_graph
from innervate.runtime.teach.action import SHOWN, Action, Company, find_action
from innervate.runtime.teach.detector import Detector, prepare, train
from innervate.runtime.teach.examples import ZONE, Material, examine
from innervate.runtime.teach.files import write_whole
from innervate.runtime.teach.life import CHANGED_MAX, Life, changed, live, of_twins, practice, with_skill
from innervate.runtime.teach.onnx_file import GraphFile
from innervate.runtime.teach.recording import Recording, need_samples
from innervate.runtime.teach.skill import Options
from innervate.runtime.teach.store import Card, Skill, encoder_sha256, pack, save, unpack
from innervate.runtime.teach.streams import Kind, Source
from innervate.runtime.teach.verdict import Verdict, judge

TOLD = sum(ZONE) // 2  # packets after the end of an event at which it will be recognised, about
WORK = ".work"  # beside the skills: what was shown, and checkpoints


class Bar(Protocol):
    """Shows how far a stage is."""

    def __call__(self, done: int, total: int, note: str) -> None:
        """`done` of `total`."""
        ...


T = TypeVar("T")
Stage = Callable[[str], Bar]


def silent(stage: str) -> Bar:
    """Show nothing."""
    return lambda done, total, note: None


@dataclass(frozen=True, slots=True)
class Order:
    """What the owner wants: when `name` happens on the sense `source`, do as for the command `does`, or say `says`."""

    name: str
    source: str
    does: str = ""
    says: str = ""
    learnt: bool = True  # False: the command's byte rows, with no search
    seed: int = 0

    @property
    def what(self) -> str:
        """The command or the utterance."""
        return self.says or self.does


@dataclass(slots=True, eq=False)
class Taught:
    """What came of a lesson."""

    order: Order
    verdict: Verdict
    detector: Detector
    action: Action
    recording: Recording
    changes: float = 0.0
    faults: list[str] = field(default_factory=list)
    took_s: dict[str, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether it may be kept: recognised, acted on, and the old skills left alone."""
        return self.verdict.good and self.changes <= CHANGED_MAX and not self.faults

    def lines(self) -> list[str]:
        """The verdict, for a person."""
        how = "found by gradient descent" if self.action.how == "learnt" else "the rows of the typed command"
        kept = "kept" if self.changes <= CHANGED_MAX else "NOT kept"
        lines = self.verdict.lines()
        beside = f", typed in {100 * self.action.typed:.0f} %" if self.order.does else ""
        works = f"works in {100 * self.action.share:.0f} % of the moments that it has not seen{beside}"
        lines.append(f"{self.order.what!r}: {len(self.action.latents)} latents, {how}; {works}")
        lines.append(f"old skills: {100 * self.changes:.2f} % of a minute's ticks changed; the limit of {100 * CHANGED_MAX:g} % is {kept}")
        lines += [f"fault while it was tried: {fault}" for fault in self.faults]
        return lines


class Lesson:
    """One order on one board and bundle; the stages are methods, in their order. `folder` is where skills are kept."""

    def __init__(self, order: Order, board: Board, bundle: Bundle, folder: Path, variant: str | None = None, stage: Stage = silent) -> None:
        self.order, self.board, self.bundle, self.folder = order, board, bundle, folder
        self._variant, self._stage = variant or board.variant, stage
        self._registry = Registry()
        self._wiring = next(wiring for wiring in board.components if wiring.name == order.source)
        self._entry = self._registry.component(self._wiring.plugin, order.source)
        self.took_s: dict[str, float] = {}

    @property
    def kind(self) -> Kind:
        """What this sense can be taught."""
        return "held" if self._entry.keep == "newest" else "event"

    def set_aside(self, recording: Recording) -> Path:
        """Keep what was shown until the lesson is over. Raises InnervateError when the disc refuses."""
        path = self.folder / WORK / f"{self.order.name}.npz"
        data = pack(recording)
        write_whole(path, lambda file: file.write(data))
        return path

    def aside(self) -> Recording | None:
        """What was set aside by a lesson that did not end."""
        path = self.folder / WORK / f"{self.order.name}.npz"
        return unpack(path) if path.is_file() else None

    def clear(self) -> None:
        """Throw away what was set aside."""
        for path in (self.folder / WORK).glob(f"{self.order.name}*.npz"):
            path.unlink(missing_ok=True)

    def learn(self, recording: Recording) -> Taught:
        """Teach and judge. Raises InnervateError, with what to do, for examples that cannot be taught from and actions that cannot be found."""
        order = self.order
        material = self._timed("examples", lambda: self._examine(recording))
        twins = of_twins(self.board, self._registry)
        before = self._timed("life", lambda: live(twins, self.bundle, self._registry, order.source, self._variant))
        action = self._timed("action", lambda: self._action(material, before))  # first, because an unknown command shows at once
        met = [sample.data for sample in practice(twins, self.bundle, self._registry, order.source).samples()]
        made = self._timed("variants", lambda: prepare(material, order.seed, show=self._stage("examples"), practice=met))
        verdict = self._timed("verdict", lambda: judge(made, seed=order.seed, show=self._stage("verdict")))
        check = self.folder / WORK / f"{order.name}.fit.npz"
        detector = self._timed("detector", lambda: train(made, checkpoint=check, show=self._stage("detector"))[0])
        taught = Taught(order, verdict, detector, action, recording, took_s=self.took_s)
        self._timed("old skills", lambda: self._try_on(taught, before))
        return taught

    def keep(self, taught: Taught, folder: Path | None = None) -> Skill:
        """Write the skill (into `folder`, if given). Raises InnervateError when the disc refuses; an older one is then as before."""
        options = Options()
        card = Card(
            name=self.order.name, source=self.order.source, plugin=self._wiring.plugin, does=self.order.does, says=self.order.says,
            how=taught.action.how, latents=len(taught.action.latents), space_id=self.bundle.header.space_id, exact_id=self._exact_id,
            encoder_sha256=encoder_sha256(self.bundle, self._entry.graph), accuracy=taught.verdict.accuracy, works_in=taught.action.share,
            changes=taught.changes, files={},
        )  # fmt: skip
        numbers = {"sure": options.sure, "packets": options.packets, "rest_packets": options.rest_packets}
        encoder = table(taught.action.latents[None])
        return save(folder or self.folder, card, numbers, taught.detector.encode(), encoder, taught.recording)

    @property
    def _exact_id(self) -> str:
        from innervate.runtime.backbone.variant import choose_variant

        return self.bundle.space(choose_variant(self.bundle, self._variant, self.board.threads)).exact_id

    def _examine(self, recording: Recording) -> Material:
        graph = component_graph(self.bundle, self._entry, self._registry.folder(self._wiring.plugin))
        kind: type[Encoder] = load_class(self._entry.encoder or "", Encoder, f"plugin {self._wiring.plugin}")  # type: ignore[type-abstract]
        encoder = kind(graph, self.bundle.space(self.bundle.variants[0]), self.order.source)
        return examine(recording, Source(encoder, need_samples(recording), self.kind), (self.order.name,))

    def _action(self, material: Material, life: Life) -> Action:
        order = self.order
        if order.says and not order.learnt:
            step = "leave --typed out: nothing typed makes it say that"
            raise InnervateError("teach: --typed", f"and an utterance, {order.says!r}", "a command", step)
        latents = material.source.encode(material.stream)
        told = [min(len(latents) - 1, end + TOLD if self.kind == "event" else (begin + end) // 2) for begin, end, _ in material.shown]
        shown: list[list[Floats]] = [list(latents[max(0, at - SHOWN) : at + 1]) for at in told]
        company = Company(life.recording.moments, order.source, shown, latents[material.rest], order.seed)
        engine = Engine(self.bundle, self._variant, self.board.threads)
        gradient = Gradient(self.bundle, self._variant, self.board.threads, exact_id=engine.space.exact_id) if order.learnt else None
        return find_action(engine, gradient, Vocabulary(self.bundle), company, order.what, bool(order.says), order.seed, self._stage("action"))

    def _try_on(self, taught: Taught, before: Life) -> None:
        """Play the minute again with the skill plugged in from a folder of its own."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="innervate-teach-") as place:
            self.keep(taught, Path(place))
            registry = Registry(more=[Path(place)])
            board = with_skill(of_twins(self.board, self._registry), self.order.name)
            after = live(board, self.bundle, registry, self.order.source, self._variant)
        taught.changes = changed(before, after)
        taught.faults = [fault for fault in after.faults if fault not in before.faults]

    def _timed(self, name: str, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return work()
        finally:
            self.took_s[name] = time.monotonic() - began


def table(latents: Floats) -> bytes:
    """The encoder's graph: `x` [1], the number of a class from 1 on, to `y` [K, D], that class's latents of `latents` [C, K, D]."""
    classes, count, width = latents.shape
    graph = GraphFile("table")
    x = graph.input("x", (1,))
    # A row of hat functions: 1 at its own class, 0 at the others. Plain arithmetic on floats, which is what a component's graph takes.
    apart = graph.node("Abs", [graph.node("Sub", [x, graph.weight(np.arange(1, classes + 1, dtype=np.float32))])])
    hat = graph.node("Relu", [graph.node("Sub", [graph.weight(np.ones(1, np.float32)), apart])])  # [C]
    row = graph.node("Reshape", [hat, graph.weight(np.array([1, classes], np.int64))])
    flat = graph.node("MatMul", [row, graph.weight(latents.reshape(classes, -1).astype(np.float32))])
    graph.node("Reshape", [flat, graph.weight(np.array([count, width], np.int64))], "y")
    graph.output("y", (count, width))
    return graph.encode()
