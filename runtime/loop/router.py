"""The router: reads the backbone's output and decides who is spoken to.

    nothing open     every row of the vocabulary is scored     a byte        goes to the voice
                                                               <so_x>        opens x, its position is pinned in the context
                                                               <idle>        ends the tick
    x open           only the control rows are scored          <idle>        ends the tick
                                                               <eo_x>        closes x, which goes to its safe value
                                                               <so_x>        a new goal for x: pinned anew
                                                               <so_y>        closes x, opens y

Every emitted token but `<idle>` is fed back as input; the hidden state at the fed token is the next output. When the tick ends
with x open, the last hidden state goes to x's decoder. A tick emits STEP_BUDGET tokens at most.

The pin keeps the moment at which a component was opened, and with it what for, in the context for as long as it is open.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from innervate.runtime.ali.space import Floats
from innervate.runtime.loop.events import Close, Log, Open, seconds
from innervate.runtime.loop.limb import Limb, Voice

STEP_BUDGET = 64  # tokens a tick: an answer of 64 bytes, some 40 ms on one thread
BYTES = 256  # rows 0 to 255 are the bytes; control rows follow


class Backbone(Protocol):
    """What the loop needs of the engine (`innervate.runtime.backbone.engine.Engine`)."""

    @property
    def rows_max(self) -> int:
        """Longest pass."""
        ...

    def append(self, x: Floats, *, pin: str | None = None) -> Floats:
        """Run one pass over `x` [T, D]; return the hidden states [T, D], valid until the next call."""
        ...

    def unpin(self, name: str) -> None:
        """Release a pinned position; no effect when there is none of that name."""
        ...


class Vocabulary(Protocol):
    """What the router needs of the vocabulary (`innervate.runtime.backbone.vocabulary.Vocabulary`)."""

    @property
    def control(self) -> Sequence[str]:
        """Names of the control tokens."""
        ...

    @property
    def control_ids(self) -> Sequence[int]:
        """Their ids, in the same order."""
        ...

    def row(self, token: int) -> Floats:
        """Return the embedding of a token, [D]."""
        ...

    def logits(self, h: Floats) -> Floats:
        """Return the scores of all rows for `h` [D]."""
        ...

    def control_logits(self, h: Floats) -> Floats:
        """Return the scores of the control rows for `h` [D]."""
        ...


class Router:
    """Knows which component is open; see the table above. `emit` never raises for a component's failure."""

    def __init__(self, backbone: Backbone, vocabulary: Vocabulary, limbs: Mapping[str, Limb], voice: Voice, log: Log) -> None:
        self.open: str | None = None
        self._backbone = backbone
        self._vocabulary = vocabulary
        self._limbs = limbs
        self._voice = voice
        self._log = log
        ids = dict(zip(vocabulary.control, vocabulary.control_ids, strict=True))
        self._idle = ids["<idle>"]
        self._opens = {ids[f"<so_{name}>"]: name for name in limbs if f"<so_{name}>" in ids}
        self._closes = {ids[f"<eo_{name}>"]: name for name in limbs if f"<eo_{name}>" in ids}
        # A component that this board lacks cannot be opened: its rows are never chosen.
        self._barred = [token for token in ids.values() if token not in {self._idle, *self._opens, *self._closes}]

    def emit(self, hidden: Floats, now_ns: int) -> int:
        """Act on the output `hidden` [D] of this tick; return the number of tokens emitted before `<idle>`."""
        self._check_open(now_ns)
        steps = 0
        while steps < STEP_BUDGET:
            token = self._choose(hidden)
            if token == self._idle:
                break
            hidden = self._feed(token, now_ns)
            steps += 1
        if self.open is not None and not self._limbs[self.open].steer(hidden, now_ns):
            self._abandon(now_ns)
        return steps

    def _choose(self, hidden: Floats) -> int:
        if self.open is None:
            scores = self._vocabulary.logits(hidden).copy()
            first = 0
        else:
            scores = self._vocabulary.control_logits(hidden).copy()
            first = BYTES
        for token in self._barred:
            scores[token - first] = -np.inf
        return int(scores.argmax()) + first

    def _feed(self, token: int, now_ns: int) -> Floats:
        """Carry out an emitted token and feed it back; return the hidden state that answers it, [D]."""
        opened, closed = self._opens.get(token), self._closes.get(token)
        if token < BYTES:
            self._voice.speak(token, now_ns)
        elif opened is not None:
            if self.open not in (None, opened):
                self._close("closed by the model", now_ns)
            self._backbone.unpin(opened)
            self.open = opened
            self._log.emit(Open(seconds(now_ns), opened))
        elif closed is not None and closed == self.open:
            self._close("closed by the model", now_ns)
        row = self._vocabulary.row(token)[None, :]  # [1, D]
        hidden: Floats = self._backbone.append(row, pin=opened)[-1]
        return hidden

    def _close(self, cause: str, now_ns: int) -> None:
        if self.open is not None:
            name, self.open = self.open, None
            self._backbone.unpin(name)
            self._limbs[name].safe(now_ns, cause)
            self._log.emit(Close(seconds(now_ns), name))

    def _check_open(self, now_ns: int) -> None:
        if self.open is not None and not self._limbs[self.open].up:
            self._abandon(now_ns)

    def _abandon(self, now_ns: int) -> None:
        """Close a component that failed, and tell the model so: motion must not resume by itself when it is back."""
        name = self.open
        if name is None:
            return
        self._close("the component failed", now_ns)
        told = [token for token, closed in self._closes.items() if closed == name]
        for token in told:
            self._backbone.append(self._vocabulary.row(token)[None, :])
