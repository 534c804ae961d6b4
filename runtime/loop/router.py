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

Components may come and go between two turns (`attach`, `detach`): the board's and those of other processes are opened alike. A component
that nobody attached cannot be opened, whether or not the vocabulary knows its tokens: its rows are never chosen.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from innervate.runtime.ali.errors import VocabularyError, nearest
from innervate.runtime.ali.space import Floats
from innervate.runtime.loop.events import Close, Log, Open, seconds
from innervate.runtime.loop.limb import Voice

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


class Downstream(Protocol):
    """What the router needs of a component that it opens (`innervate.runtime.loop.limb.Limb`); no method raises."""

    name: str

    @property
    def up(self) -> bool:
        """True while it can be driven."""
        ...

    def steer(self, hidden: Floats, now_ns: int) -> bool:
        """Take the output latent [D] of a tick; return False when it failed and now stands safe."""
        ...

    def safe(self, now_ns: int, cause: str) -> None:
        """Go to the safe value."""
        ...


class Router:
    """Knows which component is open; see the table above. `emit` never raises for a component's failure.

    `spoken` gives the vocabulary's name of a limb where it is not the limb's own, e.g. {"ring": "acme/ring"}.
    """

    def __init__(
        self,
        backbone: Backbone,
        vocabulary: Vocabulary,
        limbs: Mapping[str, Downstream],
        voice: Voice,
        log: Log,
        spoken: Mapping[str, str] | None = None,
    ) -> None:
        self.open: str | None = None
        self.vocabulary = vocabulary
        self._backbone = backbone
        self._limbs = dict(limbs)
        self._voice = voice
        self._log = log
        self._spoken = {name: (spoken or {}).get(name, name) for name in limbs}
        self._known: Sequence[str] | None = None  # the control tokens that the tables below were made for
        self._read_vocabulary()

    @property
    def attached(self) -> tuple[str, ...]:
        """Names of the components that can be opened, or could if the vocabulary had their tokens."""
        return tuple(self._limbs)

    def attach(self, limb: Downstream, spoken: str | None = None) -> None:
        """Let the model open `limb` from the next turn on, by the tokens of `spoken` in the vocabulary (None: those of its own name).

        Raises VocabularyError when a component of that name is attached already, or when the vocabulary lacks the tokens.
        """
        name, wanted = limb.name, spoken or limb.name
        if name in self._limbs:
            raise VocabularyError("router", f"component {name!r} is attached already", "a free name", "detach it first, or choose another name")
        if wanted in self._spoken.values():
            raise VocabularyError("router", f"tokens of {wanted!r} already open another component", "tokens of its own", "detach that one first")
        if f"<so_{wanted}>" not in self.vocabulary.control:
            known = [token.removeprefix("<so_").removesuffix(">") for token in self.vocabulary.control if token.startswith("<so_")]
            raise VocabularyError("router", f"no tokens of {wanted!r}", "a component of the vocabulary", f"add them first; {nearest(wanted, known)}")
        self._limbs[name], self._spoken[name] = limb, wanted
        self._known = None

    def detach(self, name: str, now_ns: int, cause: str) -> None:
        """Take component `name` away, closed and safe if it was open; no effect when there is none of that name."""
        if name not in self._limbs:
            return
        if self.open == name:
            self._close(cause, now_ns)
            self._tell_closed(name)
        del self._limbs[name], self._spoken[name]
        self._known = None

    def emit(self, hidden: Floats, now_ns: int) -> int:
        """Act on the output `hidden` [D] of this tick; return the number of tokens emitted before `<idle>`."""
        if self.vocabulary.control is not self._known:
            self._read_vocabulary()
        if self.open is not None and not self._limbs[self.open].up:
            hidden = hidden.copy()  # what the model is told would overwrite it
            self._abandon(now_ns)
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

    def _read_vocabulary(self) -> None:
        """Make the tables of tokens anew, after the vocabulary or what is attached has changed."""
        self._known = self.vocabulary.control
        ids = dict(zip(self.vocabulary.control, self.vocabulary.control_ids, strict=True))
        self._control_ids = tuple(ids.values())
        self._idle = ids["<idle>"]
        spoken = self._spoken.items()
        self._opens = {ids[f"<so_{said}>"]: name for name, said in spoken if f"<so_{said}>" in ids}
        self._closes = {ids[f"<eo_{said}>"]: name for name, said in spoken if f"<eo_{said}>" in ids}
        # A component that this board lacks cannot be opened: its rows are never chosen.
        self._barred = [token for token in self._control_ids if token not in {self._idle, *self._opens, *self._closes}]
        self._barred_places = [self._control_ids.index(token) for token in self._barred]

    def _choose(self, hidden: Floats) -> int:
        if self.open is None:
            scores = self.vocabulary.logits(hidden).copy()
            for token in self._barred:
                scores[token] = -np.inf
            return int(scores.argmax())
        scores = self.vocabulary.control_logits(hidden).copy()
        for place in self._barred_places:
            scores[place] = -np.inf
        return self._control_ids[int(scores.argmax())]

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
        row = self.vocabulary.row(token)[None, :]  # [1, D]
        hidden: Floats = self._backbone.append(row, pin=opened)[-1]
        return hidden

    def _close(self, cause: str, now_ns: int) -> None:
        if self.open is not None:
            name, self.open = self.open, None
            self._backbone.unpin(name)
            self._limbs[name].safe(now_ns, cause)
            self._log.emit(Close(seconds(now_ns), name))

    def _abandon(self, now_ns: int) -> None:
        """Close a component that failed, and tell the model so: motion must not resume by itself when it is back."""
        name = self.open
        if name is None:
            return
        self._close("the component failed", now_ns)
        self._tell_closed(name)

    def _tell_closed(self, name: str) -> None:
        for token in [token for token, closed in self._closes.items() if closed == name]:
            self._backbone.append(self.vocabulary.row(token)[None, :])
