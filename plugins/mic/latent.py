"""Sound to latents."""

import numpy as np

from innervate.runtime.ali.component import Encoder, Sample
from innervate.runtime.ali.space import Floats

FULL_SCALE = np.float32(32768.0)


class SoundEncoder(Encoder):
    """One block of sound, int16 [1280] at 16 kHz, to one latent [1, D]; the graph keeps what came before."""

    def _encode(self, sample: Sample) -> Floats:
        pcm = sample.data.astype(np.float32) / FULL_SCALE  # [1280], in [-1, 1]
        return self.graph.run(pcm[None, :]).copy()  # [1, D]
