"""Somebody who shows things to the emulated grip, and a sense without a device."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from innervate.runtime.ali.component import Array, Encoder, Sample
from innervate.runtime.ali.space import Floats, Space
from innervate.runtime.teach.recording import Moment, Recording, Span
from tests.ali.parts import Identity

WIDTH = 32
SPACE = Space("a" * 64, "b" * 64, WIDTH)
TICK_NS = 80_000_000
CHUNK = 8  # samples a packet
BOARD = """\
[board]
name = "grip"
variant = "{variant}"
world = "innervate.boards.emulator:make_still"
[component.force]
plugin = "force"
use = "virtual"
[component.pose]
plugin = "motor"
use = "virtual"
[component.text_in]
plugin = "text"
use = "virtual"
[component.motor]
plugin = "motor"
use = "virtual"
"""


WHOLE = BOARD.replace("[component.force]", """\
[component.mic]
plugin = "mic"
use = "virtual"
[component.camera]
plugin = "camera"
use = "virtual"
[component.force]""")


def squeezes(rng: np.random.Generator, count: int) -> list[list[float]]:
    """Points of `count` short squeezes, in seconds and newtons."""
    points, at, peak = [[0.0, 0.0]], 0.0, float(rng.uniform(9, 20))
    gap = float(rng.uniform(0.14, 0.24))
    for number in range(count):
        rise, hold, fall = (float(rng.uniform(*span)) for span in ((0.04, 0.08), (0.06, 0.12), (0.04, 0.08)))
        force = round(peak * float(rng.uniform(0.85, 1.15)), 2)
        points += [[at, 0.0]] if number else []
        points += [[at + rise, force], [at + rise + hold, force], [at + rise + hold + fall, 0.0]]
        at += rise + hold + fall + gap
    return [[round(t, 3), n] for t, n in points]


def scenario(kinds: Sequence[str], seed: int, first_s: float = 2.0) -> str:
    """A scenario of showings: "three", "two", "one" or "hold", each with its label (all but the first kind are "other")."""
    rng = np.random.default_rng(seed)
    at, tables = first_s, []
    for kind in kinds:
        points = [[0.0, 0.0], [0.3, 15.0], [1.5, 15.0], [1.8, 0.0]] if kind == "hold" else squeezes(rng, {"three": 3, "two": 2, "one": 1}[kind])
        name = "three" if kind == "three" else "other"
        tables.append(f'[[input]]\nt_s = {at:.2f}\nkind = "squeeze"\nforce_n = {points}')
        tables.append(f'[[label]]\nt_s = {at - 0.1:.2f}\nuntil_s = {at + points[-1][0] + 0.1:.2f}\nname = "{name}"')
        at += points[-1][0] + float(rng.uniform(1.3, 2.0))
    return f"[run]\nduration_s = {at + 0.5:.2f}\nseed = {seed}\n" + "\n".join(tables) + "\n"


def shown(folder: Path, threes: int = 10, others: Sequence[str] = ("one", "two", "hold") * 4, seed: int = 1) -> Path:
    """Write a recording: threes with other things between them."""
    kinds = ["three"] * threes
    for i, kind in enumerate(others):
        kinds.insert(min(2 * i + 1, len(kinds)), kind)
    path = folder / f"shown{seed}.toml"
    path.write_text(scenario(kinds, seed))
    return path


class WaveEncoder(Encoder):
    """Samples [N] or [N, C] to one latent that shows them and what came before, as a real encoder's state does."""

    def __init__(self, columns: int = 1) -> None:
        super().__init__(Identity(), SPACE, "wave")
        self._mix = np.random.default_rng(5).standard_normal((CHUNK * columns, WIDTH)).astype(np.float32) / 4
        self._before = np.zeros(WIDTH, np.float32)

    def _encode(self, sample: Sample) -> Floats:
        self._before = np.asarray(0.6 * self._before + np.tanh(sample.data.reshape(1, -1) @ self._mix)[0], np.float32)
        return self._before[None].copy()

    def _reset(self) -> None:
        self._before = np.zeros(WIDTH, np.float32)


def recording(packets: Sequence[Array], spans: Sequence[tuple[int, int, str]]) -> Recording:
    """A recording of packets, one a tick, with spans given in packets."""
    moments = [Moment((i + 1) * TICK_NS, [], [Sample(np.asarray(data, np.float32), (i + 1) * TICK_NS, i)]) for i, data in enumerate(packets)]
    return Recording("wave", moments, [Span(begin * TICK_NS, end * TICK_NS, name) for begin, end, name in spans])


def waves(classes: Sequence[int], seed: int, columns: int = 6, noise: float = 0.05) -> Recording:
    """Gestures of an inertial sensor: class k (1, 2, ...) moves along its own axes with its own rhythm; 0 is a random wobble."""
    rng = np.random.default_rng(seed)
    packets: list[Array] = [rng.standard_normal((CHUNK, columns)) * noise for _ in range(16)]
    spans: list[tuple[int, int, str]] = []
    for label in classes:
        length = int(rng.integers(6, 10)) * CHUNK
        t = np.linspace(0, 1, length)[:, None]
        if label:
            draw = np.random.default_rng(1000 + label)
            ways, rhythm = draw.standard_normal((2, columns)), 1.0 + label
            wave = np.sin(2 * np.pi * rhythm * t) * ways[0] + np.sin(np.pi * t) * ways[1]
        else:
            wave = np.sin(2 * np.pi * rng.uniform(0.5, 8) * t + rng.uniform(0, 6)) * rng.standard_normal(columns)
        wave = wave * float(rng.uniform(0.8, 1.25)) + rng.standard_normal((length, columns)) * noise
        begin = len(packets)
        packets += list(np.split(wave, length // CHUNK))
        spans.append((begin, len(packets), f"g{label}" if label else "other"))
        packets += [rng.standard_normal((CHUNK, columns)) * noise for _ in range(int(rng.integers(12, 18)))]
    return recording(packets, spans)
