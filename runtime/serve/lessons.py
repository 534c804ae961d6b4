"""Teaching a component of one's own from examples, over the wire: when the model shall open it, and what it shall read out of the latent.

    moments = watch(client)                                             # what the device sensed in the last seconds
    learnt = learn(client, {"ring red": 0, "ring blue": 1, "stop": None}, moments)
    client.register({"name": "acme/ring", "kind": "downstream"}, learnt.side)
    (hidden @ learnt.decoder[:-1] + learnt.decoder[-1]).argmax()        # 0 or 1

Nothing of the backbone changes. The classifier rows of the two new tokens are fitted to hidden states of the deployed weights: the start
token must score above all others after the lines that name a value, and below them everywhere else; the end token must do so in the turn
after. The embedding rows are those of a token after which the model falls silent. Rows and decoder are tried on moments that they were
not fitted to. Needs numpy alone.

Known weakness: lines that are worded as none of the examples may not be understood. Give several wordings, and lines that must not open it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, pairwise

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import LatentError
from innervate.runtime.serve.client import Client
from innervate.runtime.serve.wire import Floats

CONTEXT = 160  # rows of a moment before the line: a second and a half, so that many moments fit into what is recent
TURNS_MIN = 4  # turns that a recording must have
STEPS, RATE, SHRINK = 500, 0.05, 1e-3  # of the fit by Adam: a convex problem, long converged by then
RIDGE = 10.0
BUSY_TRIES = 8  # lines tried until one makes the model act
TEXT = 256  # ids below are bytes
MARGIN = 2.0  # in scores: so much higher or lower than the others, at least
HELD_OUT = 5  # every so-many-th moment is for the trial


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A stretch of a device's life: `context` [T, D] ends a turn, `senses` [N, D] is what the next one sensed, without its query."""

    context: Floats
    senses: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What `learn` found. side: token rows [4, D] for `register`. decoder: [D + 1, values], the last row is the bias.

    Shares on moments that were held out: `opened` after lines that should open it, `false` after lines and in pauses that should not,
    `right` values.
    """

    side: Floats
    decoder: Floats
    opened: float
    false: float
    right: float


def watch(client: Client, recordings: int = 5, every_s: float = 1.2) -> list[Moment]:
    """Collect moments of the device's present life, for `recordings` times `every_s` seconds. Raises LatentError when it senses too little."""
    idle = client.rows([256])[0]
    moments: list[Moment] = []
    for turn in range(recordings):
        if turn:
            time.sleep(every_s)
        moments += cut(client.recent(), idle)
    return moments


def cut(recent: Floats, idle: Floats) -> list[Moment]:
    """Cut a recording [T, D] at its turns, each of which ends with the row `idle` [D]. Raises LatentError when there are too few."""
    ends = np.flatnonzero((recent == idle).all(axis=1))
    if len(ends) < TURNS_MIN:
        came = f"a recording of {len(ends)} turns"
        raise LatentError("lessons", came, f"{TURNS_MIN} or more", "wait until the device has run for a second")
    pairs = list(pairwise(ends))
    chosen = pairs[len(pairs) // 2 :: max(1, len(pairs) // 8)]  # a few: neighbours are alike
    return [Moment(recent[max(0, end + 1 - CONTEXT) : end + 1], recent[end + 1 : after]) for end, after in chosen]


def learn(client: Client, lines: Mapping[str, int | None], moments: Sequence[Moment]) -> Learnt:
    """Fit rows and decoder to `lines`: the value 0, 1, ... that each names, None for those that must not open the component.

    Raises LatentError when an example is missing.
    """
    values = sorted({value for value in lines.values() if value is not None})
    if values != list(range(len(values))) or len(values) < 1 or None not in lines.values() or len(moments) < HELD_OUT:
        came = f"values {values}, {sum(value is None for value in lines.values())} lines that open nothing, {len(moments)} moments"
        wanted = f"values 0, 1, ..., a line that opens nothing, and {HELD_OUT} moments"
        raise LatentError("lessons", came, wanted, "add examples")
    opens = [TEXT + index for index, name in enumerate(client.facts.control) if name.startswith("<so_")]
    closed = next(index for index, name in enumerate(client.facts.control) if name.startswith("<eo_")) + TEXT
    embedding = np.repeat(client.rows([closed]), 2, axis=0)  # after such a token the model falls silent
    seen = _Seen(client, embedding, opens)
    for number, moment in enumerate(moments):
        # In every other moment the model is busy: a line has made it open one of its own components.
        seen.see(moment, lines, number // 2 if opens and number % 2 else None, number % HELD_OUT == HELD_OUT - 1)
    shares = seen.trial(seen.fit("asked"), seen.decoder(len(values)))
    seen.use_all()  # what is kept is fitted to everything
    start, end = seen.fit("asked"), seen.fit("open")
    return Learnt(np.concatenate([embedding, start[None], end[None]]), seen.decoder(len(values)), *shares)


class _Seen:
    """Hidden states of an own session after each line in each moment, and what ought to happen there.

    kinds: "asked" is the end of a turn in which the component ought to open, "opened" is right after its start token, "open" the end of
    the next turn, where it ought to close, "shut" is everywhere else.
    """

    def __init__(self, client: Client, embedding: Floats, opens: Sequence[int]) -> None:
        self._client = client
        self._opens = list(opens)
        self._embedding = embedding
        self._idle = client.rows([256])
        self._rows: dict[str, Floats] = {}
        self._hidden: list[Floats] = []
        self._kinds: list[str] = []
        self._values: list[int] = []
        self._busy: list[bool] = []  # a component is open, so that only control tokens are scored
        self._held: list[bool] = []

    def see(self, moment: Moment, lines: Mapping[str, int | None], busy: int | None, held: bool) -> None:
        """Play every line in one moment; `busy` is the number of a line before it that makes the model open something, None for none."""
        client, idle, (start, end) = self._client, self._idle, self._embedding[:, None]
        context = moment.context if busy is None else self._made_busy(moment, [line for line, value in lines.items() if value is None], busy)
        client.reset()
        before = self._append(context)
        now = client.snapshot()
        for position in np.flatnonzero((context == idle).all(axis=1)):
            self._keep(before[position], "shut", -1, False, held)
        others = cycle(line for line, value in lines.items() if value is None)
        for line, value in lines.items():
            parts = [moment.senses, self._said(line), idle]
            if value is not None:  # it opens, closes in the next turn, and then something else is said
                parts += [start, moment.senses, idle, end, moment.senses, self._said(next(others)), idle]
            client.rewind_to(now)
            hidden = self._append(np.concatenate(parts))
            ends = np.cumsum([len(part) for part in parts]) - 1
            if value is None:
                self._keep(hidden[ends[2]], "shut", -1, busy is not None, held)
            else:
                self._keep(hidden[ends[2]], "asked", value, busy is not None, held)
                for part, kind in ((3, "opened"), (5, "open")):
                    self._keep(hidden[ends[part]], kind, value, True, held)
                for part in (6, 9):
                    self._keep(hidden[ends[part]], "shut", -1, False, held)

    def _made_busy(self, moment: Moment, lines: Sequence[str], number: int) -> Floats:
        """Return a context at whose end something is open: after line `number`, or the next that the model answers so, else after none."""
        client, idle, token = self._client, self._idle, self._opens[0]
        client.reset()
        self._append(moment.context)
        now, told = client.snapshot(), np.zeros((0, idle.shape[1]), np.float32)
        for line in [*lines[number % len(lines) :], *lines[: number % len(lines)]][:BUSY_TRIES]:
            rows = np.concatenate([moment.senses, self._said(line), idle])
            client.rewind_to(now)
            best = int(client.logits(self._append(rows)[-1:])[0].argmax())
            if best in self._opens:
                token, told = best, rows
                break
        return np.concatenate([moment.context, told, client.rows([token]), moment.senses, idle, moment.senses, idle])

    def _append(self, x: Floats) -> Floats:
        """Append any number of rows; return their hidden states."""
        most = self._client.facts.rows_max
        return np.concatenate([self._client.append(x[i : i + most]) for i in range(0, len(x), most)])

    def _said(self, line: str) -> Floats:
        if line not in self._rows:
            self._rows[line] = self._client.rows(line.encode() + b"\n")
        return self._rows[line]

    def _keep(self, hidden: Floats, kind: str, value: int, busy: bool, held: bool) -> None:
        self._busy.append(busy)
        self._hidden.append(np.array(hidden, np.float32))
        self._kinds.append(kind)
        self._values.append(value)
        self._held.append(held)

    def _of(self, kinds: Sequence[str], held: bool) -> npt.NDArray[np.intp]:
        return np.array([i for i, kind in enumerate(self._kinds) if kind in kinds and self._held[i] == held], np.intp)

    def _others(self, here: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
        """Return hidden states [N, D], and for each the highest score of any of the base's tokens, and of its control tokens."""
        hidden = np.stack(self._hidden)[here]
        scores = np.concatenate([self._client.logits(hidden[i : i + 256]) for i in range(0, len(hidden), 256)])
        return hidden, scores.max(axis=1), scores[:, TEXT:].max(axis=1)

    def use_all(self) -> None:
        """Hold nothing out any more."""
        self._held = [False] * len(self._held)

    def fit(self, kind: str) -> Floats:
        """Return the row [D] that scores above the others where `kind` is and below them elsewhere: logistic regression with margins."""
        here = self._of(("asked", "opened", "open", "shut"), False)
        x, every, control = self._others(here)
        sign = np.where([self._kinds[i] == kind for i in here], 1.0, -1.0)
        weight = np.where(sign > 0, 0.5 / (sign > 0).sum(), 0.5 / (sign < 0).sum())
        # The harder of the two ways: above every token, and below the control tokens alone. The model may be surer or less sure another time.
        other = np.where(sign > 0, every, control) + sign * MARGIN
        row, mean, square = np.zeros(x.shape[1]), np.zeros(x.shape[1]), np.zeros(x.shape[1])
        for step in range(1, STEPS + 1):
            wrong = weight * sign / (1.0 + np.exp(np.clip(sign * (x @ row - other), -60.0, 60.0)))
            gradient = SHRINK * row - wrong @ x
            mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
            row -= RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
        return row.astype(np.float32)

    def decoder(self, values: int) -> Floats:
        """Return the ridge regression from the latent after the start token to the value, [D + 1, values]."""
        here = self._of(("opened",), False)
        x = self._with_one(here)
        right = np.eye(values)[np.array(self._values)[here]]
        found: Floats = np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ right).astype(np.float32)
        return found

    def trial(self, start: Floats, decoder: Floats) -> tuple[float, float, float]:
        """Return the shares opened, opened wrongly, and of right values, on what was held out."""
        shares = []
        for kind in ("asked", "shut"):
            here = self._of((kind,), True)
            x, every, control = self._others(here)
            shares.append(float(np.mean(x @ start > np.where(np.array(self._busy)[here], control, every))))
        here = self._of(("opened",), True)
        right = np.mean((self._with_one(here) @ decoder).argmax(axis=1) == np.array(self._values)[here])
        return shares[0], shares[1], float(right)

    def _with_one(self, here: npt.NDArray[np.intp]) -> Floats:
        x = np.stack(self._hidden)[here]
        return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
