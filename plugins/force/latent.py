"""Grip force to latents."""

import numpy as np

from innervate.runtime.ali.component import Encoder, Graph, Sample
from innervate.runtime.ali.space import Floats, Space

RATE_HZ = 100
WINDOW = 104  # samples that the encoder sees: 1.04 s, enough for two squeezes within 0.8 s


class ForceEncoder(Encoder):
    """New samples in newtons, float32 [N] at 100 Hz, to one latent [1, D] of the last 1.04 s, oldest first.

    What lies before the first sample counts as no force.
    """

    def __init__(self, graph: Graph, space: Space, source: str) -> None:
        super().__init__(graph, space, source)
        self._window = np.zeros(WINDOW, np.float32)

    def _encode(self, sample: Sample) -> Floats:
        self._window = np.concatenate([self._window, sample.data])[-WINDOW:]  # [104]
        return self.graph.run(self._window[None, :]).copy()  # [1, D]

    def _reset(self) -> None:
        self._window = np.zeros(WINDOW, np.float32)
