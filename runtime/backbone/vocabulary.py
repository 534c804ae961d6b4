"""Rows of tokens outside the graph: what a token looks like as an input latent, and how much a hidden state means it.

Ids 0-255 are the bytes, control tokens follow in the order of the bundle. The tables are numpy, so a new token is a new
row and no graph is exported again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import BundleError, LatentError, nearest
from innervate.runtime.backbone.bundle import TEXT_ROWS, Bundle

Floats = npt.NDArray[np.float32]


class Vocabulary:
    """The token tables of a bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self._embedding, self._classifier = bundle.rows()  # [V, D] each
        self._embedding.flags.writeable = False
        self.control: tuple[str, ...] = tuple(bundle.toml.tokens.control)
        self.control_ids: tuple[int, ...] = tuple(range(TEXT_ROWS, TEXT_ROWS + len(self.control)))
        self._ids = dict(zip(self.control, self.control_ids, strict=True))
        self._control_classifier = self._classifier[TEXT_ROWS:]  # [controls, D], a view
        # answers go into kept arrays: a fresh one costs 5 us between two passes, when nothing is in the processor's cache
        self._logits = np.zeros(len(self._classifier), np.float32)
        self._control_logits = np.zeros(len(self.control), np.float32)
        self._who = str(bundle.folder / "bundle.toml")

    @property
    def size(self) -> int:
        """Number of rows: 256 bytes and the control tokens."""
        return len(self._embedding)

    def id(self, name: str) -> int:
        """Id of a control token, e.g. ``"<so_motor>"``. Raises BundleError for an unknown name."""
        token = self._ids.get(name)
        if token is None:
            raise BundleError(self._who, f"has no control token {name!r}", "one of [tokens] control", nearest(name, self._ids))
        return token

    def name(self, token: int) -> str:
        """A control token's name, or the byte's as ``0x0a``."""
        return self.control[token - TEXT_ROWS] if token >= TEXT_ROWS else f"0x{token:02x}"

    def row(self, token: int) -> Floats:
        """Input latent of a token, ``[D]`` float32, read-only. Raises LatentError for an id out of range."""
        if not 0 <= token < len(self._embedding):
            raise LatentError("vocabulary", f"token id {token}", f"0 to {self.size - 1}", "ask id() for control tokens")
        return np.asarray(self._embedding[token])

    def rows(self, text: bytes) -> Floats:
        """Input latents of typed bytes, ``[len(text), D]`` float32, a fresh array."""
        return np.asarray(self._embedding[np.frombuffer(text, np.uint8)])

    def logits(self, h: Floats) -> Floats:
        """Scores of all rows, ``[V]``, of one hidden state ``h [D]``; valid until the next call."""
        return np.dot(self._classifier, h, self._logits)

    def control_logits(self, h: Floats) -> Floats:
        """Scores of the control rows alone, ``[controls]`` in the order of ``control_ids``, of ``h [D]``; valid until the next call."""
        return np.dot(self._control_classifier, h, self._control_logits)
