"""Raw streams of one sense: cutting examples out of a recording, and making more of each.

Two kinds of things can be shown. An *event* has a course and an end: three squeezes, a clap; it is recognised when it is over. Something
*held* is there for a while: a thing in front of the camera; it is recognised while it is there. Senses that give every sample are taught events,
those of which only the newest counts (pictures) are taught what is held.

Variants of an example are made from its raw samples, before the encoder, because that is where the world varies: strength, speed, noise, phase,
light. Cutting an event short makes examples of what it is not: two squeezes are not three.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Array, Encoder, Sample
from innervate.runtime.ali.space import Floats

Kind = Literal["event", "held"]
Wave = npt.NDArray[np.float64]

GAIN_DB = 3.0  # strength of an event, either way
PACE = 1.2  # an event may take so many times longer or shorter
CUT = (0.15, 0.6)  # of an event that is cut short: what is left is something else; two squeezes are not three
LIGHT, SHIFT_PX = 0.25, 6  # of a picture: brightness either way, how far it moves


class Source:
    """The sense that is taught: its encoder, and the shape of its samples.

    `chunk`: samples along the first axis in one packet, 0 where packets are pictures.
    """

    def __init__(self, encoder: Encoder, samples: list[Array], kind: Kind) -> None:
        self.kind = kind
        self._encoder = encoder
        self.picture = samples[0].ndim == 3
        lengths = [len(sample) for sample in samples]
        self.chunk = 0 if self.picture else int(np.median(lengths))
        self.dtype = samples[0].dtype

    def encode(self, packets: list[Array]) -> Floats:
        """Return the latents of a stream from its beginning, [N, T, D]."""
        self._encoder.reset()
        return np.stack([self._encoder.encode(Sample(data, i, i)).data for i, data in enumerate(packets)])

    def wave(self, packets: list[Array]) -> Wave:
        """Return packets end to end, [samples, ...]."""
        return np.concatenate([packet.astype(np.float64) for packet in packets])

    def packets(self, wave: Wave) -> list[Array]:
        """Cut a wave into packets again; what does not fill the last one is left out."""
        whole = wave[: len(wave) // self.chunk * self.chunk]
        if np.issubdtype(self.dtype, np.integer):
            info = np.iinfo(self.dtype)
            whole = np.clip(np.round(whole), info.min, info.max)
        return [np.asarray(part, self.dtype) for part in np.split(whole, len(whole) // self.chunk)] if len(whole) else []


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One showing of `name`: packets before it, during it, after it."""

    name: str
    before: list[Array]
    during: list[Array]
    after: list[Array]


def loudness(source: Source, packets: list[Array], rest: Wave) -> Wave:
    """How far each packet is from rest, [N]: the root mean square of its difference from `rest`, the mean sample."""
    return np.array([float(np.sqrt(((packet.astype(np.float64) - rest) ** 2).mean())) for packet in packets])


def vary(source: Source, example: Example, rng: np.random.Generator, noise: float, cut: bool = False) -> tuple[list[Array], int, int]:
    """Return a variant of the example as a stream, and the packets at which it begins and ends.

    `noise`: standard deviation of the sense at rest. `cut`: break the event off; what follows it follows then.
    """
    if source.picture:
        return _vary_pictures(example, rng)
    before, during, after = (source.wave(part) if part else np.zeros((0, *example.during[0].shape[1:])) for part in (
        example.before, example.during, example.after))  # fmt: skip
    rest = before[-2 * source.chunk :].mean(0) if len(before) else np.zeros(during.shape[1:])
    if cut:
        during = during[: max(1, int(len(during) * rng.uniform(*CUT)))]
    during = _stretched(during, float(np.exp(rng.uniform(-np.log(PACE), np.log(PACE)))))
    during = rest + (during - rest) * 10.0 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20.0)
    lead = before[int(rng.integers(0, source.chunk)) :] if len(before) >= source.chunk else before  # another phase
    wave = np.concatenate([lead, during, after])
    wave = wave + rng.standard_normal(wave.shape) * noise * float(rng.uniform(0.0, 0.7))
    first, last = len(lead) / source.chunk, (len(lead) + len(during)) / source.chunk
    return source.packets(wave), int(first), int(np.ceil(last))


def _stretched(wave: Wave, factor: float) -> Wave:
    count = max(2, round(len(wave) * factor))
    at = np.linspace(0.0, len(wave) - 1.0, count)
    low = np.floor(at).astype(int)
    high = np.minimum(low + 1, len(wave) - 1)
    part = (at - low).reshape(-1, *[1] * (wave.ndim - 1))
    return np.asarray(wave[low] * (1.0 - part) + wave[high] * part)


def _vary_pictures(example: Example, rng: np.random.Generator) -> tuple[list[Array], int, int]:
    gain, lift = 1.0 + rng.uniform(-LIGHT, LIGHT), rng.uniform(-20.0, 20.0)
    down, right = (int(v) for v in rng.integers(-SHIFT_PX, SHIFT_PX + 1, 2))

    def seen(frame: npt.NDArray[Any]) -> Array:
        moved = np.roll(frame.astype(np.float64), (down, right), (0, 1))
        grain = rng.standard_normal(moved.shape) * 3.0
        return np.asarray(np.clip(moved * gain + lift + grain, 0, 255), frame.dtype)

    packets = [seen(frame) for frame in (*example.before, *example.during, *example.after)]
    return packets, len(example.before), len(example.before) + len(example.during)
