"""Light to latents."""

import numpy as np

from innervate.runtime.ali.component import Encoder, Sample
from innervate.runtime.ali.space import Floats

from .driver import DARK_LUX

SAID_IN_THE_DARK = b"stop\n"
SAID_IN_THE_LIGHT = b"what do you see\n"


class LightEncoder(Encoder):
    """One sample, float32 [1] lux, to the rows of what a person would have typed, [N, D]."""

    def _encode(self, sample: Sample) -> Floats:
        said = SAID_IN_THE_DARK if sample.data[0] < DARK_LUX else SAID_IN_THE_LIGHT
        return self.graph.run(np.frombuffer(said, np.uint8)).copy()
