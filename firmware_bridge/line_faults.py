"""Faults of a serial line, from a seed: what a bad cable, a bad adapter or a test's proxy does to the bytes that pass."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Faults:
    """Probabilities of what happens to passing bytes; `keep` passes that many bytes and then nothing (None: no cut)."""

    lose: float = 0.0  # a byte
    flip: float = 0.0  # a bit
    drop: float = 0.0  # a whole chunk
    transpose: float = 0.0  # two neighbouring bytes
    duplicate: float = 0.0  # a whole chunk
    keep: int | None = None
    seed: int = 1
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def _hits(self, count: int, probability: float) -> list[int]:
        """Which of `count` things are hit; a random number for each hit, not for each thing."""
        hits = []
        at = -1
        while probability > 0.0:
            at += 1 + int(math.log(1.0 - self.rng.random()) / math.log1p(-probability))
            if at >= count:
                break
            hits.append(at)
        return hits

    def apply(self, data: bytes) -> bytes:
        """Return what is left of `data`."""
        if self.keep is not None:
            data = data[: self.keep]
            self.keep -= len(data)
        if not data or self.rng.random() < self.drop:
            return b""
        out = bytearray(data)
        for bit in self._hits(len(out) * 8, self.flip):
            out[bit // 8] ^= 1 << bit % 8
        for at in self._hits(len(out) - 1, self.transpose):
            out[at], out[at + 1] = out[at + 1], out[at]
        for at in reversed(self._hits(len(out), self.lose)):
            del out[at]
        return bytes(out) * (2 if self.rng.random() < self.duplicate else 1)
