"""The Tokenizer API: rows of tokens outside the graph, and new ones for new components.

What a token looks like as an input latent (embedding), and how much a hidden state means it (classifier). Ids 0-255 are the bytes, the
base's control tokens follow in the order of the bundle, then two ids for each component that was added.

    vocabulary = Vocabulary(bundle)
    ring = vocabulary.add_component("acme/ring")  # <so_acme/ring>, <eo_acme/ring>
    ring.classifier -= 0.1 * gradient             # [2, D], trained in place, alone
    ring.save(folder / TOKENS_FILE)

Rules:

- The tables are numpy, so a new token is a new row and no graph is exported again. Rows of components lie in tables of their own beside
  the base's: gathered on input, their scores put behind the base's. Neither the base's rows nor a byte of the bundle change.
- New rows start at the mean of the base's control rows. A score of that row is the mean of their scores, so it is never the highest:
  a component that nobody trained changes nothing that the device does.
- Ids stay while a component is in; those of a removed one are given to the next, and until then score minus infinity.

A vocabulary belongs to one thread, the loop's: it is changed between two turns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import BundleError, LatentError, VocabularyError, nearest
from innervate.runtime.backbone.bundle import TEXT_ROWS, Bundle
from innervate.runtime.backbone.side import SIDE_MAX, SideTokens, check_name, end_token, read_tokens, start_token

Floats = npt.NDArray[np.float32]


class Vocabulary:
    """The token tables of a bundle, and those of components beside it."""

    def __init__(self, bundle: Bundle) -> None:
        self._embedding, self._classifier = bundle.rows()  # [V, D] each
        self._embedding.flags.writeable = False
        self._classifier.flags.writeable = False
        self._base_control = tuple(bundle.toml.tokens.control)
        self._control_classifier = self._classifier[TEXT_ROWS:]  # [controls, D], a view
        self._who = str(bundle.folder / "bundle.toml")
        self._space_id = bundle.header.space_id
        self.base_size = len(self._embedding)
        self._slots: list[SideTokens | None] = []
        self._side_embedding = np.zeros((0, bundle.header.width), np.float32)  # [2 SIDE_MAX, D] from the first component on
        self._side_classifier = self._side_embedding
        # answers go into kept arrays: a fresh one costs 5 us between two passes, when nothing is in the processor's cache
        self._all_logits = np.zeros(self.base_size + 2 * SIDE_MAX, np.float32)
        self._all_control_logits = self._all_logits.copy()[TEXT_ROWS:]
        self._number()

    @property
    def size(self) -> int:
        """Number of ids: 256 bytes, the base's control tokens, two for each place of a component."""
        return self.base_size + 2 * len(self._slots)

    @property
    def components(self) -> tuple[str, ...]:
        """Names of the components beside the base, in the order of their ids."""
        return tuple(side.name for side in self._slots if side is not None)

    def id(self, name: str) -> int:
        """Id of a control token, e.g. ``"<so_motor>"``. Raises BundleError for an unknown name."""
        token = self._ids.get(name)
        if token is None:
            expected = "one of [tokens] control, or of a component that was added"
            raise BundleError(self._who, f"has no control token {name!r}", expected, nearest(name, self._ids))
        return token

    def name(self, token: int) -> str:
        """A control token's name, or the byte's as ``0x0a``."""
        return self._names.get(token, f"free {token}") if token >= TEXT_ROWS else f"0x{token:02x}"

    def row(self, token: int) -> Floats:
        """Input latent of a token, ``[D]`` float32; the base's are read-only. Raises LatentError for an id out of range."""
        if 0 <= token < self.base_size:
            return np.asarray(self._embedding[token])
        if token not in self._names:
            raise LatentError("vocabulary", f"token id {token}", f"0 to {self.size - 1}, in use", "ask id() for control tokens")
        return np.asarray(self._side_embedding[token - self.base_size])

    def rows(self, text: bytes) -> Floats:
        """Input latents of typed bytes, ``[len(text), D]`` float32, a fresh array."""
        return np.asarray(self._embedding[np.frombuffer(text, np.uint8)])

    def logits(self, h: Floats) -> Floats:
        """Scores of all ids, ``[size]``, of one hidden state ``h [D]``; minus infinity at free ids; valid until the next call."""
        np.dot(self._classifier, h, self._logits)
        if self._slots:
            self._score_side(h, self._side_logits)
            return self._whole_logits
        return self._logits

    def control_logits(self, h: Floats) -> Floats:
        """Scores of the control rows alone, in the order of ``control_ids``, of ``h [D]``; valid until the next call."""
        np.dot(self._control_classifier, h, self._control_logits)
        if not self._slots:
            return self._control_logits
        self._score_side(h, self._side_control_logits)
        return self._whole_control_logits[self._loaded] if len(self._free) else self._whole_control_logits

    def classifier(self) -> Floats:
        """Classifier rows of all ids, ``[size, D]``, a fresh array; zeros at free ids."""
        return np.concatenate([self._classifier, np.where(self.in_use()[self.base_size :, None], self._side_rows, np.float32(0))])

    def in_use(self) -> npt.NDArray[np.bool_]:
        """Which ids stand for a token, ``[size]``: all but places that a removed component left free."""
        used = np.ones(self.size, bool)
        used[self._free + self.base_size] = False
        return used

    def add_component(self, name: str) -> SideTokens:
        """Add ``<so_NAME>`` and ``<eo_NAME>``, rows at the mean of the base's control rows.

        :raises VocabularyError: a name that is none or taken, or the budget of SIDE_MAX components used up.
        """
        self._check_new(name)
        mean = [table[TEXT_ROWS:].mean(axis=0, dtype=np.float64) for table in (self._embedding, self._classifier)]
        return self._take_place(name, *(np.tile(row.astype(np.float32), (2, 1)) for row in mean))

    def load_component(self, path: Path) -> SideTokens:
        """Add the component whose rows were saved at ``path``, under the name in the file.

        :raises VocabularyError: a file that is missing or damaged; a name taken, or the budget used up.
        :raises SpaceMismatch: rows of another latent space.
        """
        name, embedding, classifier = read_tokens(path, self._embedding.shape[1], self._space_id)
        self._check_new(name)
        return self._take_place(name, embedding, classifier)

    def component(self, name: str) -> SideTokens:
        """The rows of a component that was added. Raises VocabularyError when there is none of that name."""
        for side in self._slots:
            if side is not None and side.name == name:
                return side
        raise VocabularyError("vocabulary", f"no component {name!r} beside the base", "one that was added", nearest(name, self.components))

    def remove_component(self, name: str) -> None:
        """Take a component's tokens away; the others keep their ids. Raises VocabularyError when there is none of that name."""
        side = self.component(name)
        self._slots[self._slots.index(side)] = None
        side.detach()
        while self._slots and self._slots[-1] is None:
            self._slots.pop()
        self._number()

    def _check_new(self, name: str) -> None:
        check_name(name)
        if start_token(name) in self._ids:
            owner = "beside the base" if name in self.components else "the bundle's own"
            step = "choose another name, or remove that component first" if name in self.components else "choose another name"
            raise VocabularyError("vocabulary", f"component {name!r}, {owner}, is there already", "a free name", step)
        if len(self.components) >= SIDE_MAX:
            held = ", ".join(self.components)
            raise VocabularyError("vocabulary", f"a component beside {SIDE_MAX} others", f"at most {SIDE_MAX}", f"remove one of {held}")

    def _take_place(self, name: str, embedding: Floats, classifier: Floats) -> SideTokens:
        if not len(self._side_embedding):
            shape = (2 * SIDE_MAX, self._embedding.shape[1])
            self._side_embedding, self._side_classifier = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        if None not in self._slots:
            self._slots.append(None)
        slot = self._slots.index(None)
        place = slice(2 * slot, 2 * slot + 2)
        self._side_embedding[place], self._side_classifier[place] = embedding, classifier
        start = self.base_size + 2 * slot
        side = SideTokens(name, start, self._side_embedding[place], self._side_classifier[place], self._space_id)
        self._slots[slot] = side
        self._number()
        return side

    def _number(self) -> None:
        """Names, ids and the views that answers go into, after the components have changed."""
        base = range(TEXT_ROWS, self.base_size)
        names = dict(zip(base, self._base_control, strict=True))
        for side in self._slots:
            if side is not None:
                names |= {side.start: start_token(side.name), side.end: end_token(side.name)}
        self._names = names
        self._ids = {name: token for token, name in names.items()}
        self.control: tuple[str, ...] = tuple(names.values())
        self.control_ids: tuple[int, ...] = tuple(names)
        self._free = np.array([token - self.base_size for token in range(self.base_size, self.size) if token not in names], np.intp)
        self._loaded = np.array(self.control_ids, np.intp) - TEXT_ROWS
        self._side_rows = self._side_classifier[: 2 * len(self._slots)]
        controls, whole = self.base_size - TEXT_ROWS, self.size - TEXT_ROWS
        self._logits, self._whole_logits = self._all_logits[: self.base_size], self._all_logits[: self.size]
        self._side_logits = self._all_logits[self.base_size : self.size]
        self._control_logits, self._whole_control_logits = self._all_control_logits[:controls], self._all_control_logits[:whole]
        self._side_control_logits = self._all_control_logits[controls:whole]

    def _score_side(self, h: Floats, out: Floats) -> None:
        np.dot(self._side_rows, h, out)
        if len(self._free):
            out[self._free] = -np.inf
