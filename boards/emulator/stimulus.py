"""What reaches the senses that need no picture: sound, typed text and the force of the hand.

Everything here is a function of the time asked for and of the seed, never of a generator's state or of earlier calls:
spans may be read in any order and cut in any way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scenario import RATE_HZ, AudioInput, Scenario, SpeechInput, SqueezeInput, TextInput

FORCE_NS = 10_000_000  # the grip is sampled at 100 Hz
FORCE_NOISE_N = 0.02  # RMS of its sensor
MICROPHONE_NOISE = 4.0  # RMS in units of int16: about -78 dBFS
_BLOCK = 1280  # samples of microphone noise drawn at once
_AMBIENT, _FORCE = 1, 2  # streams of noise


class Stimulus:
    """Sound, text and force of one scenario under one seed.

    Renders all speech at once: raises DeviceError without espeak-ng, ScenarioError for a sound that cannot be read.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._seed = seed & (2**64 - 1)
        self._noise = scenario.noise
        self._squeezes = [i for i in scenario.inputs if isinstance(i, SqueezeInput)]
        self._typed = sorted((round(i.t_s * 1e9), i.text) for i in scenario.inputs if isinstance(i, TextInput))
        self._clips: list[tuple[int, NDArray[np.float32]]] = []
        for item in scenario.inputs:
            if isinstance(item, (AudioInput, SpeechInput)):
                gain = np.float32(10.0 ** (item.gain_db / 20.0))
                self._clips.append((round(item.t_s * RATE_HZ), item.samples().astype(np.float32) * gain))

    def _generator(self, stream: int, index: int) -> np.random.Generator:
        # counter-based: block `index` of a stream can be drawn at any time, in any order
        return np.random.Generator(np.random.Philox(key=[self._seed, stream], counter=[0, 0, 0, index]))

    def audio(self, t0_ns: int, t1_ns: int) -> NDArray[np.int16]:
        """What the microphone hears from t0 up to t1: int16 [N] mono at 16 kHz."""
        first, last = t0_ns * RATE_HZ // 1_000_000_000, t1_ns * RATE_HZ // 1_000_000_000
        mix = self._ambient(first, last)
        for start, clip in self._clips:
            low, high = max(first, start), min(last, start + len(clip))
            if low < high:
                mix[low - first : high - first] += clip[low - start : high - start]
        if self._noise is not None and len(self._noise):
            mix += self._noise[np.arange(first, last) % len(self._noise)]
        heard: NDArray[np.int16] = np.clip(np.rint(mix), -32768, 32767).astype(np.int16)
        return heard

    def _ambient(self, first: int, last: int) -> NDArray[np.float32]:
        """The microphone's own noise from sample `first` up to `last`, float32 in units of int16."""
        if last <= first:
            return np.zeros(0, np.float32)
        head, tail = max(0, first) // _BLOCK, max(0, last - 1) // _BLOCK
        blocks = [self._generator(_AMBIENT, k).standard_normal(_BLOCK, np.float32) for k in range(head, tail + 1)]
        noise = np.concatenate(blocks)[max(0, first) - head * _BLOCK : max(0, last) - head * _BLOCK]
        before = np.zeros(last - first - len(noise), np.float32)  # silence before time began
        return np.concatenate([before, np.float32(MICROPHONE_NOISE) * noise])

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        """What was typed from t0 up to t1, UTF-8, each input ended by a newline."""
        return b"".join(text.encode() + b"\n" for t_ns, text in self._typed if t0_ns <= t_ns < t1_ns)

    def squeeze_n(self, t_s: float) -> float:
        """True force on the grip at `t_s`, in newtons."""
        return sum(s.force_at(t_s) for s in self._squeezes)

    def sensed_n(self, k: int, force_n: float) -> float:
        """What the grip's sensor makes of `force_n` at sample `k` of its 100 Hz grid: a little noise, never negative."""
        return max(0.0, force_n + FORCE_NOISE_N * float(self._generator(_FORCE, k).standard_normal()))


def force_instants(t0_ns: int, t1_ns: int) -> range:
    """Sample numbers of the 100 Hz grid in (t0, t1]; sample 0 is at t = 0 and is in spans that begin before it."""
    return range(max(0, t0_ns // FORCE_NS + 1), t1_ns // FORCE_NS + 1)
