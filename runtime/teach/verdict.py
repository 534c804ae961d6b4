"""The verdict on what was taught: is it recognised by a detector that has never seen it, and only it?

Every showing is judged by a detector trained without it (five parts, each left out in turn), as it was recorded, packet by packet, the way the
device will: recognised once, as itself. Beside it stand trials in which nothing may happen: the same event broken off, or what was to be seen after a
thing had been taken away, and the owner's "anything else". A showing that is recognised twice, or as something else, is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Array
from innervate.runtime.teach.detector import Detector, Prepared, train
from innervate.runtime.teach.examples import Material
from innervate.runtime.teach.fit import Settings
from innervate.runtime.teach.skill import NOTHING, Options, Trigger
from innervate.runtime.teach.streams import vary

FOLDS = 5
ACCURACY_MIN = 0.9  # of held-out trials; below, a skill is not kept unless the owner insists
OTHER_PACKETS = 50  # a piece of "anything else", about four seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """Held-out trials: `confusion` [C, C], what it was against what was recognised (class 0: nothing), and the showings that went wrong."""

    names: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    wrong: tuple[int, ...]

    @property
    def trials(self) -> int:
        """How many there were."""
        return sum(sum(row) for row in self.confusion)

    @property
    def accuracy(self) -> float:
        """Share of trials that went right."""
        return sum(row[i] for i, row in enumerate(self.confusion)) / max(1, self.trials)

    @property
    def good(self) -> bool:
        """True when it may be kept."""
        return self.accuracy >= ACCURACY_MIN

    def lines(self) -> list[str]:
        """The table, for a person."""
        heads = ["nothing", *self.names]
        wide = max(12, *(len(head) + 2 for head in heads))
        right = sum(row[i] for i, row in enumerate(self.confusion))
        lines = [f"held out: {right}/{self.trials} right, {100 * self.accuracy:.1f} %"]
        lines.append(f"{'was':>{wide}} | {''.join(f'{head:>{wide}}' for head in heads)}   <- recognised")
        for head, row in zip(heads, self.confusion, strict=True):
            lines.append(f"{'something else' if head == 'nothing' else head:>{wide}} | {''.join(f'{count:>{wide}}' for count in row)}")
        if self.wrong:
            numbers = ", ".join(str(number + 1) for number in self.wrong)
            lines.append(f"not like the others: example {numbers}; show them again, or leave them out")
        return lines


def recognised(detector: Detector, latents: npt.NDArray[np.float32], options: Options | None = None) -> list[tuple[int, int]]:
    """What happens in a stream of latents [N, T, D], as (packet, class)."""
    trigger = Trigger(options or Options())
    seen = [trigger.see(p) for p in detector.probabilities(latents)]
    return [(packet, happened) for packet, happened in enumerate(seen) if happened != NOTHING]


def judge(made: Prepared, settings: Settings | None = None, seed: int = 0, show: Callable[[int, int, str], None] | None = None) -> Verdict:
    """Cross-validate; see the top of this file."""
    material = made.material
    rng = np.random.default_rng([seed, 23])
    order = rng.permutation(len(material.shown))
    folds = min(FOLDS, len(material.shown))
    confusion = np.zeros((len(material.names) + 1,) * 2, np.int64)
    wrong: list[int] = []
    for fold in range(folds):
        held_out = sorted(int(number) for number in order[fold::folds])
        detector, _ = train(made, held_out, settings=settings)
        for number in held_out:
            label = material.shown[number][2]
            came = _tried(detector, material, _as_shown(material, number))
            confusion[label, came] += 1
            if came != label:
                wrong.append(number)
            if material.source.kind == "event":
                packets, _, _ = vary(material.source, material.example(number), rng, material.noise, cut=True)
            else:
                packets = material.stream[slice(*material.gap(number))]
            if packets:
                confusion[0, _tried(detector, material, packets)] += 1
        for begin, end in material.others[fold::folds]:
            for start in range(begin, end, OTHER_PACKETS):
                piece = material.stream[max(0, start - material.window) : min(end, start + OTHER_PACKETS)]
                confusion[0, _tried(detector, material, piece)] += 1
        if show is not None:
            show(fold + 1, folds, "judged by detectors that have not seen it")
    return Verdict(material.names, tuple(tuple(int(n) for n in row) for row in confusion), tuple(sorted(wrong)))


def _as_shown(material: Material, number: int) -> list[Array]:
    example = material.example(number)
    lead = example.before
    if material.source.kind == "event":  # what was shown before it must not count as this one
        earlier = [end for begin, end, _ in material.shown if end <= material.shown[number][0]]
        if earlier:
            lead = lead[max(0, len(lead) - max(0, material.shown[number][0] - max(earlier) - 8)) :]
    return [*lead, *example.during, *example.after]


def _tried(detector: Detector, material: Material, packets: list[Array]) -> int:
    """The class that is recognised in a stream; a second recognition makes it wrong: the class after it, or 0."""
    happened = [label for _, label in recognised(detector, material.source.encode(packets))]
    if not happened:
        return NOTHING
    return happened[0] if len(set(happened)) == 1 and len(happened) == 1 else _mistaken(happened)


def _mistaken(happened: list[int]) -> int:
    """What counts when something was recognised several times: nothing, if always as the same, which is never right."""
    return NOTHING if len(set(happened)) == 1 else happened[-1]
