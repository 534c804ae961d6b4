"""The loop without a body: ticks of latents go in, the router's emissions come out, and every row that the backbone was given is kept.

It is the device's own router on the device's own engine; limbs are stand-ins that note the latent that would have steered them. The rows that were
kept are what the Gradient API takes, so that what is learnt is learnt on the very sequence that the device would see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from innervate.runtime.ali.space import Floats
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.loop.events import Event
from innervate.runtime.loop.limb import Voice
from innervate.runtime.loop.router import Router

START, END = "<so_", "<eo_"


@dataclass(frozen=True, slots=True, eq=False)
class Beat:
    """What one tick emitted: the tokens before `<idle>`, what was open before and after them, and the latent [D] at its end."""

    tokens: tuple[int, ...]
    open_before: str | None
    open_after: str | None
    hidden: Floats


class _Limb:
    """Stands where a limb would."""

    up = True

    def __init__(self, name: str) -> None:
        self.name = name

    def steer(self, hidden: Floats, now_ns: int) -> bool:
        """Take the latent."""
        return True

    def safe(self, now_ns: int, cause: str) -> None:
        """Stand still, as always."""


class _Silence:
    def emit(self, event: Event) -> None:
        """Take one event."""


class _Backbone:
    """The engine, with what it was given."""

    def __init__(self, engine: Engine) -> None:
        self.rows: list[Floats] = []
        self.newest: Floats = np.zeros(engine.width, np.float32)
        self.rows_max = engine.rows_max
        self._engine = engine

    def append(self, x: Floats, *, pin: str | None = None) -> Floats:
        self.rows.append(np.array(x, np.float32))
        hidden = self._engine.append(np.ascontiguousarray(x, np.float32), pin=pin)
        self.newest = hidden[-1].copy()
        return hidden

    def unpin(self, name: str) -> None:
        self._engine.unpin(name)


class _Tokens:
    """The vocabulary, with the rows that were fed back."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.control, self.control_ids = vocabulary.control, vocabulary.control_ids
        self.emitted: list[int] = []
        self._vocabulary = vocabulary

    def row(self, token: int) -> Floats:
        self.emitted.append(token)
        return self._vocabulary.row(token)

    def logits(self, h: Floats) -> Floats:
        return self._vocabulary.logits(h)

    def control_logits(self, h: Floats) -> Floats:
        return self._vocabulary.control_logits(h)


class Rehearsal:
    """One session on an engine of its own (it is reset)."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary) -> None:
        self._engine, self._vocabulary = engine, vocabulary
        self._idle = vocabulary.row(vocabulary.id("<idle>"))
        self.reset()

    def reset(self) -> None:
        """Begin anew: empty context, nothing open."""
        self._engine.reset()
        self._backbone, self._tokens = _Backbone(self._engine), _Tokens(self._vocabulary)
        names = [name.removeprefix(START).removesuffix(">") for name in self._vocabulary.control if name.startswith(START)]
        limbs = {name: _Limb(name) for name in names}
        self._router = Router(self._backbone, self._tokens, limbs, Voice(None, _Silence()), _Silence())

    def begin(self, rows: Floats, open_now: str | None) -> None:
        """Begin anew after a context [T, D] at whose end a component is open (None: nothing is)."""
        self.reset()
        for start in range(0, len(rows), self._backbone.rows_max):
            self._backbone.append(rows[start : start + self._backbone.rows_max])
        self._router.open = open_now

    @property
    def rows(self) -> Floats:
        """Every row that the backbone was given so far, [T, D]."""
        return np.concatenate(self._backbone.rows) if self._backbone.rows else np.zeros((0, self._engine.width), np.float32)

    @property
    def open(self) -> str | None:
        """The component that is open."""
        return self._router.open

    def tick(self, packets: Sequence[Floats]) -> Beat:
        """One turn of the loop over the latents of its senses."""
        before, self._tokens.emitted = self._router.open, []
        x = np.concatenate([*packets, self._idle[None]])
        for start in range(0, len(x), self._backbone.rows_max):
            hidden = self._backbone.append(x[start : start + self._backbone.rows_max])
        self._router.emit(hidden[-1].copy(), 0)
        return Beat(tuple(self._tokens.emitted), before, self._router.open, self._backbone.newest)
