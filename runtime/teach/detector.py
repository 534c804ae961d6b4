"""The detector of a taught skill: from the latents of one sense to "this has just happened".

Every packet of the sense, [T, D] latents of the bundle's own encoder, is pooled to one row (its mean, with the maximum beside it when there are
several), centred, and projected on the few directions in which the examples differ. A window of such rows goes through a small network. The graph
keeps the window in its state, so that the device runs it packet by packet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Array
from innervate.runtime.ali.space import Floats
from innervate.runtime.teach.examples import Material, mark
from innervate.runtime.teach.fit import Course, Data, Settings, fit
from innervate.runtime.teach.layers import Net, Shape, make_net, softmax
from innervate.runtime.teach.onnx_file import GraphFile
from innervate.runtime.teach.streams import vary

DIRECTIONS = 16  # of the projection
FLOOR = 0.02  # of the strongest direction's variance: weaker ones are not blown up beyond it
VARIANTS, CUTS = 10, 3  # of each example
NOISES = (0.1, 0.4)  # of the practice's own loudness
OTHERS_RATIO = 3.0  # how much everything else counts against all that was shown
KEPT_MAX = 9000  # windows of nothing that a training looks at; more say the same again


@dataclass(frozen=True, slots=True, eq=False)
class Detector:
    """A trained detector: `window` rows of `basis` [F, P] around `centre` [F], through `net`, to probabilities of the classes."""

    names: tuple[str, ...]
    window: int
    centre: Floats
    basis: Floats
    net: Net
    shape: tuple[int, int]  # of a packet, [T, D]

    def probabilities(self, latents: Floats) -> Floats:
        """Probabilities [N, C] at every packet of a stream of latents [N, T, D] that begins here."""
        rows = np.asarray((pooled(latents) - self.centre) @ self.basis, np.float32)  # [N, P]
        return np.asarray(softmax(self.net.forward(windows(rows, self.window)))[:, 0], np.float32)

    def encode(self) -> bytes:
        """The graph: `x` [T, D] to `y` [1, C], with the window as `state_window` [window - 1, P]."""
        rows = self.shape[0]
        graph, kept = GraphFile("detector"), (self.window - 1, self.basis.shape[1])
        x, state = graph.input("x", self.shape), graph.input("state_window", kept)
        row = graph.node("ReduceMean", [x], axes=[0], keepdims=1)
        if rows > 1:
            row = graph.node("Concat", [row, graph.node("ReduceMax", [x], axes=[0], keepdims=1)], axis=1)
        row = graph.node("MatMul", [graph.node("Sub", [row, graph.weight(self.centre)]), graph.weight(self.basis)])
        whole = graph.node("Concat", [state, row], axis=0)
        ends = [graph.weight(np.array([value], np.int64)) for value in (1, self.window, 0)]
        graph.node("Slice", [whole, *ends], "next_window")
        shaped = graph.node("Reshape", [whole, graph.weight(np.array([1, self.window, kept[1]], np.int64))])
        scores, shape = graph.net(self.net, shaped, (1, self.window, kept[1]))
        flat = graph.node("Reshape", [scores, graph.weight(np.array([1, shape[2]], np.int64))])
        graph.node("Softmax", [flat], "y", axis=-1)
        graph.output("y", (1, shape[2]))
        graph.output("next_window", kept)
        return graph.encode()


def pooled(latents: Floats) -> Floats:
    """One row for each packet: [N, T, D] -> [N, D], or [N, 2 D] when T > 1."""
    mean = latents.mean(1)
    return mean if latents.shape[1] == 1 else np.concatenate([mean, latents.max(1)], 1)


def windows(rows: Floats, window: int) -> Floats:
    """The `window` newest rows at every packet, [N, P] -> [N, window, P]; what lies before the stream is zeros."""
    padded = np.concatenate([np.zeros((window - 1, rows.shape[1]), rows.dtype), rows])
    return np.lib.stride_tricks.sliding_window_view(padded, window, 0).transpose(0, 2, 1)


@dataclass(slots=True, eq=False)
class Prepared:
    """All streams of a material, encoded once: the recording itself, then variants. `owner`: which showing a packet comes from, -1 for none.

    `checks`: streams whose packets decide when training ends.
    """

    material: Material
    latents: list[Floats]
    classes: list[npt.NDArray[np.int64]]
    owner: list[npt.NDArray[np.int64]]
    checks: list[bool]


def prepare(
    material: Material, seed: int = 0, variants: int = VARIANTS, show: Callable[[int, int, str], None] | None = None, practice: Sequence[Array] = ()
) -> Prepared:
    """Encode the recording and its variants. `practice`: packets of the same sense in which nothing that is taught happens."""
    rng = np.random.default_rng([seed, 7])
    classes, owner = material.labels()
    made = Prepared(material, [material.source.encode(material.stream)], [classes], [owner], [False])
    cuts = CUTS if material.source.kind == "event" else 0
    for number, (_, _, label) in enumerate(material.shown):
        example = material.example(number)
        for k in range(variants + cuts):
            packets, begin, end = vary(material.source, example, rng, material.noise, cut=k >= variants)
            marked = np.zeros(len(packets), np.int64)
            if k < variants:
                shown = mark(end - begin, label, material.source.kind)
                stop = min(len(marked), begin + len(shown))
                marked[begin:stop] = shown[: stop - begin]
            made.latents.append(material.source.encode(packets))
            made.classes.append(marked)
            made.owner.append(np.full(len(packets), number, np.int64))
            made.checks.append(k == 0 or k == variants)
        if show is not None:
            show(number + 1, len(material.shown), "examples and their variants")
    for packets in _noisy(material, practice, rng):
        made.latents.append(material.source.encode(packets))
        made.classes.append(np.zeros(len(packets), np.int64))
        made.owner.append(np.full(len(packets), -1, np.int64))
        made.checks.append(False)
    return made


def _noisy(material: Material, practice: Sequence[Array], rng: np.random.Generator) -> list[list[Array]]:
    """The practice as it is, and among more noise than at rest, as loud as its own mean."""
    packets = [packet for packet in practice if packet.shape == material.stream[0].shape]
    if not packets or material.source.picture:
        return [packets] if packets else []
    wave = material.source.wave(packets)
    loud = float(np.sqrt((wave**2).mean()))
    return [packets, *(material.source.packets(wave + rng.standard_normal(wave.shape) * loud * part) for part in NOISES)]


def train(
    made: Prepared, held_out: Sequence[int] = (), shape: Shape = "two-layer", settings: Settings | None = None, checkpoint: Path | None = None,
    show: Callable[[int, int, str], None] | None = None,
) -> tuple[Detector, Course]:  # fmt: skip
    """Train a detector on everything but the showings `held_out`. Raises InnervateError when a gradient explodes."""
    settings = settings or Settings(epochs_max=40, patience=8, batch=256)
    rng = np.random.default_rng([settings.seed, 11])
    out = np.array(sorted(held_out), np.int64)
    used = [np.where(np.isin(owner, out), -1, classes) for classes, owner in zip(made.classes, made.owner, strict=True)]
    rows = [pooled(latents) for latents in made.latents]
    centre, basis = _directions(np.concatenate([row[use >= 0] for row, use in zip(rows, used, strict=True)]))
    material = made.material
    parts: dict[bool, list[tuple[Floats, npt.NDArray[np.int64]]]] = {False: [], True: []}
    for row, use, check in zip(rows, used, made.checks, strict=True):
        counted = use >= 0
        if counted.any():
            projected = np.asarray((row - centre) @ basis, np.float32)
            parts[check].append((windows(projected, material.window)[counted], use[counted]))
    if not parts[True]:
        parts[True] = parts[False]
    net = make_net(shape, material.window, basis.shape[1], len(material.names) + 1, rng, hidden=24 + 8 * (len(material.names) - 1))
    course = fit(net, _data(parts[False], rng), _data(parts[True], rng), settings, checkpoint, show)
    packet = made.latents[0].shape[1:]
    return Detector(material.names, material.window, centre, basis, net, (int(packet[0]), int(packet[1]))), course


def _directions(rows: Floats) -> tuple[Floats, Floats]:
    """Centre and the scaled directions in which the rows differ most."""
    centre = rows.mean(0)
    apart = (rows - centre).astype(np.float64)
    strength, ways = np.linalg.eigh(apart.T @ apart / len(rows))
    strength, ways = strength[::-1][:DIRECTIONS], ways[:, ::-1][:, :DIRECTIONS]
    scale = 1.0 / np.sqrt(np.maximum(strength, FLOOR * strength[0]) + 1e-12)
    return centre.astype(np.float32), (ways * scale).astype(np.float32)


def _data(parts: list[tuple[Floats, npt.NDArray[np.int64]]], rng: np.random.Generator) -> Data:
    x, classes = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    nothing = np.flatnonzero(classes == 0)
    if len(nothing) > KEPT_MAX:
        kept = np.sort(np.concatenate([rng.choice(nothing, KEPT_MAX, replace=False), np.flatnonzero(classes != 0)]))
        x, classes = x[kept], classes[kept]
    weights = np.ones(len(classes), np.float32)
    shown = max(1, int((classes != 0).sum()))
    weights[classes == 0] = OTHERS_RATIO * shown / max(1, int((classes == 0).sum()))
    return Data(np.ascontiguousarray(x, np.float32), classes, weights)
