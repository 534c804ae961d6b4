"""Typed bytes to latents."""

from innervate.runtime.ali.component import Encoder, Sample
from innervate.runtime.ali.space import Floats


class ByteEncoder(Encoder):
    """Bytes, uint8 [N], to their rows of the vocabulary, [N, D]: the 256 bytes are the alphabet, there is no tokenizer."""

    def _encode(self, sample: Sample) -> Floats:
        return self.graph.run(sample.data).copy()  # [N, D]
