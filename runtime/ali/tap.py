"""A tap: what one component senses, for another one that has no device of its own.

Rules: the loop puts what it has just encoded and admitted, in the order of capture; the listener takes it in the same tick. A listener
that does not take loses the oldest and is told how many. Both ends live in the loop's thread.
"""

from __future__ import annotations

from collections import deque

from innervate.runtime.ali.component import Sample
from innervate.runtime.ali.latents import Latents

CAPACITY = 64  # packets that wait: five seconds of a component with one a tick


class Tap:
    """Samples of the component `source` with the latents that they became."""

    def __init__(self, source: str, capacity: int = CAPACITY) -> None:
        self.source = source
        self.lost = 0
        self._waiting: deque[tuple[Sample, Latents]] = deque(maxlen=capacity)

    def put(self, sample: Sample, latents: Latents) -> None:
        """Add what `source` sensed; never raises, never waits."""
        self.lost += len(self._waiting) == self._waiting.maxlen
        self._waiting.append((sample, latents))

    def take(self) -> list[tuple[Sample, Latents]]:
        """Return what came since the last take, oldest first."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken
