"""Gists: a long context as a few latents, found through the Gradient API.

The few latents K stand where the context stood, and what follows them should be answered as before: at every position of what follows, the same
odds of the next token and the same latent. The search goes down that difference through the deployed weights; what follows is drawn from a
minute of ordinary life, with a command in it now and then. How well it worked is measured on other draws, on the engine as it runs, beside the same
figures with no context at all: without them nobody could say whether there was anything to keep.

A gist belongs to one set of weights in one quantisation. It says nothing of what was open: a file cannot switch a limb on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import InnervateError, LatentError, SpaceMismatch
from innervate.runtime.ali.space import Floats, Space
from innervate.runtime.backbone.bundle import TEXT_ROWS
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.teach.files import write_whole
from innervate.runtime.teach.fit import Adam
from innervate.runtime.teach.recording import Moment
from innervate.runtime.teach.rehearsal import Beat, Rehearsal

FOLLOWING = 8  # ticks after the context that are compared
LEARN, JUDGE = 10, 12  # draws of what follows: to search on, to judge by
STEPS, BATCH, RATE = 90, 2, 0.08
HIDDEN_WEIGHT = 1.0
TYPED_SHARE = 0.3  # draws in which something is typed two ticks after the context
TYPED = (b"look left\n", b"look up\n", b"stop\n", b"how hard am i squeezing\n", b"it was cold\n")
ALIKE_MIN = 0.9  # cosine between latents that steer alike
ROWS_MAX = 400  # of a context: with what follows it must fit the gradient's cap


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What is to be compressed: rows [T, D] as the backbone was given them, `kept` [N, D] that stay after them, and what is open at the end."""

    rows: Floats
    open: str | None
    kept: Floats | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """How well something stands for a context: mean KL divergence of the next token in nats, and the share of ticks that go as they would have."""

    kl: float
    agreement: float


@dataclass(frozen=True, slots=True, eq=False)
class Gist:
    """Latents [K, D] that stand for a context of `stands_for` rows in one space."""

    latents: Floats
    space_id: str
    exact_id: str
    stands_for: int
    match: Match

    def check(self, space: Space) -> None:
        """Raise SpaceMismatch unless it was made on these weights in this quantisation."""
        if (self.space_id, self.exact_id) != (space.space_id, space.exact_id):
            came = f"made on {self.space_id[:12]}, exact {self.exact_id[:12]}"
            raise SpaceMismatch("gist", came, str(space), "make it again on this bundle and variant: innervate gist")


def save(gist: Gist, path: Path) -> None:
    """Write a gist, whole or not at all. Raises InnervateError when the disc refuses."""
    arrays: dict[str, Any] = {
        "latents": gist.latents, "space_id": np.array(gist.space_id), "exact_id": np.array(gist.exact_id),
        "stands_for": np.array(gist.stands_for), "match": np.array([gist.match.kl, gist.match.agreement]),
    }  # fmt: skip
    write_whole(path, lambda file: np.savez(file, **arrays))


def load(path: Path, space: Space) -> Gist:
    """Read a gist for `space`. Raises InnervateError when it cannot be read, SpaceMismatch when it is another model's."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            kl, agreement = (float(value) for value in file["match"])
            gist = Gist(
                np.ascontiguousarray(file["latents"], np.float32), str(file["space_id"]), str(file["exact_id"]), int(file["stands_for"]),
                Match(kl, agreement),
            )  # fmt: skip
    except Exception as error:  # a damaged archive raises a dozen kinds
        raise InnervateError(str(path), f"is no gist ({error})", "a file that `innervate gist` wrote", "make it again") from error
    gist.check(space)
    if gist.latents.ndim != 2 or gist.latents.shape[1] != space.width or not np.isfinite(gist.latents).all():
        raise LatentError(str(path), f"latents {list(gist.latents.shape)}", f"[K, {space.width}], finite", "make it again")
    return gist


@dataclass(frozen=True, slots=True, eq=False)
class _Draw:
    """What follows a context: packets by tick; the rows that the backbone was given for them, where it answered, and its answers there."""

    ticks: list[list[Floats]]
    rows: Floats
    answers: list[int]
    hidden: Floats
    control_only: npt.NDArray[np.bool_]


class Compressor:
    """Compresses one context. `moments`: the company that follows it, tick by tick (a minute of life).

    Raises InnervateError for a context that is too short or too long.
    """

    def __init__(
        self, engine: Engine, gradient: Gradient, vocabulary: Vocabulary, context: Context, moments: Sequence[Moment], seed: int = 0
    ) -> None:
        if not 2 <= len(context.rows) <= ROWS_MAX:
            step = "give it in parts, a gist for each" if len(context.rows) > ROWS_MAX else "there is nothing to compress"
            raise InnervateError("gist", f"a context of {len(context.rows)} latents", f"2 to {ROWS_MAX}", step)
        gradient.require(engine.space)
        self._engine, self._gradient, self._vocabulary, self.context = engine, gradient, vocabulary, context
        self._rehearsal = Rehearsal(engine, vocabulary)
        self._kept = context.kept if context.kept is not None else np.zeros((0, engine.width), np.float32)
        self._table = vocabulary.classifier().astype(np.float64)
        self._rng = np.random.default_rng([seed, 41])
        self._draws = [self._draw(moments) for _ in range(LEARN + JUDGE)]

    def compress(self, count: int, steps: int = STEPS, seed: int = 0, show: Callable[[int, int, str], None] | None = None) -> Gist:
        """Search for `count` latents; return them with how well they stand for the context."""
        rows = self.context.rows
        # The newest rows as they are, and means of pieces of the rest: what was said last matters most, and a token keeps its meaning.
        newest = count // 2
        pieces = np.array_split(rows[: len(rows) - newest], count - newest)
        latents = np.concatenate([np.stack([piece.mean(0) for piece in pieces]), rows[len(rows) - newest :]]).astype(np.float32)
        weights: dict[str, npt.NDArray[np.floating[Any]]] = {"latents": latents}  # changed in place
        adam, rng = Adam(weights, RATE * float(np.sqrt((rows**2).mean())), 0.0), np.random.default_rng([seed, 43])
        best, best_loss = latents.copy(), np.inf
        for step in range(1, steps + 1):
            total, grad = 0.0, np.zeros_like(latents)
            for number in rng.choice(LEARN, BATCH, replace=False):
                loss, dx = self._loss(latents, self._draws[int(number)])
                total += loss / BATCH
                grad += dx / BATCH
            if total < best_loss:
                best, best_loss = latents.copy(), total
            adam.step({"latents": grad}, 0.5 * (1.0 + float(np.cos(np.pi * step / (steps + 1)))))
            if show is not None:
                show(step, steps, f"{count} latents, loss {total:.3f}")
        found = max((latents, best), key=lambda one: -self._learnt(one))
        space = self._engine.space
        return Gist(found, space.space_id, space.exact_id, len(rows), self.judge(found))

    def judge(self, latents: Floats) -> Match:
        """How well `latents` [K, D] (K may be 0) stand for the context in draws that no search has seen."""
        kls: list[float] = []
        same = ticks = 0
        for draw in self._draws[LEARN:]:
            kls.append(float(self._divergence(self._answers(latents, draw), draw)[0].mean()))
            for wanted, came in zip(self._played(self.context.rows, draw), self._played(latents, draw), strict=True):
                same += alike(wanted, came)
                ticks += 1
        return Match(float(np.mean(kls)), same / ticks)

    def _learnt(self, latents: Floats) -> float:
        return sum(self._loss(latents, draw, gradient=False)[0] for draw in self._draws[:LEARN])

    def _draw(self, moments: Sequence[Moment]) -> _Draw:
        first = int(self._rng.integers(0, len(moments) - FOLLOWING))
        ticks = [[data for name, data in moment.packets if name != "text_in"] for moment in moments[first : first + FOLLOWING]]
        if self._rng.random() < TYPED_SHARE:
            ticks[2] = [*ticks[2], self._vocabulary.rows(TYPED[int(self._rng.integers(len(TYPED)))])]
        self._rehearsal.begin(self._whole(self.context.rows), self.context.open)
        answers: list[int] = []
        only: list[bool] = []
        at = 0
        for packets in ticks:
            beat = self._rehearsal.tick(packets)
            at += sum(len(packet) for packet in packets)
            open_now = beat.open_before
            for token in (*beat.tokens, -1):
                answers.append(at)
                only.append(open_now is not None)
                name = self._vocabulary.name(token) if token >= TEXT_ROWS else ""
                open_now = name[4:-1] if name.startswith("<so_") else None if name.startswith("<eo_") else open_now
                at += 1
        rows = self._rehearsal.rows[len(self.context.rows) + len(self._kept) :]
        control = np.array(only)
        draw = _Draw(ticks, rows, answers, np.zeros((0, rows.shape[1]), np.float32), control)
        return _Draw(ticks, rows, answers, self._answers(self.context.rows, draw), control)

    def _answers(self, prefix: Floats, draw: _Draw) -> Floats:
        """The engine's latents where it answers, with `prefix` before the draw, [N, D]."""
        self._engine.reset()
        whole = self._whole(prefix)
        x, most = np.concatenate([whole, draw.rows]), self._engine.rows_max
        hidden = np.concatenate([self._engine.append(x[start : start + most]).copy() for start in range(0, len(x), most)])
        return np.asarray(hidden[len(whole) + np.array(draw.answers)])

    def _whole(self, prefix: Floats) -> Floats:
        return np.concatenate([prefix, self._kept])

    def _odds(self, hidden: Floats, draw: _Draw) -> npt.NDArray[np.float64]:
        scores = hidden.astype(np.float64) @ self._table.T
        scores[:, ~self._vocabulary.in_use()] = -np.inf
        scores[draw.control_only, :TEXT_ROWS] = -np.inf
        odds = np.exp(scores - scores.max(1, keepdims=True))
        return np.asarray(odds / odds.sum(1, keepdims=True))

    def _divergence(self, hidden: Floats, draw: _Draw) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """KL(context || hidden) at each answer, [N], and its gradient in the scores, [N, V]."""
        wanted, came = self._odds(draw.hidden, draw), self._odds(hidden, draw)
        logs = np.log(np.maximum(wanted, 1e-30)) - np.log(np.maximum(came, 1e-30))
        return (wanted * logs).sum(1), came - wanted

    def _loss(self, latents: Floats, draw: _Draw, gradient: bool = True) -> tuple[float, Floats]:
        hidden = self._answers(latents, draw)
        kl, g_scores = self._divergence(hidden, draw)
        apart = hidden - draw.hidden
        scale = (draw.hidden**2).sum(1, keepdims=True)
        loss = float(kl.mean() + HIDDEN_WEIGHT * ((apart**2).sum(1, keepdims=True) / scale).mean())
        if not gradient:
            return loss, latents
        whole = self._whole(latents)
        x = np.concatenate([whole, draw.rows]).astype(np.float32)
        g = np.zeros_like(x)
        g[len(whole) + np.array(draw.answers)] = (g_scores @ self._table + 2.0 * HIDDEN_WEIGHT * apart / scale) / len(hidden)
        return loss, self._gradient.vjp(x, g)[1][: len(latents)]

    def _played(self, prefix: Floats, draw: _Draw) -> list[Beat]:
        self._rehearsal.begin(self._whole(prefix), self.context.open)
        return [self._rehearsal.tick(packets) for packets in draw.ticks]


def alike(wanted: Beat, came: Beat) -> bool:
    """Whether two ticks went the same way: the same tokens, and, where something is open, latents that steer alike."""
    if wanted.tokens != came.tokens or wanted.open_after != came.open_after:
        return False
    if wanted.open_after is None:
        return True
    lengths = float(np.linalg.norm(wanted.hidden) * np.linalg.norm(came.hidden))
    return float(wanted.hidden @ came.hidden) >= ALIKE_MIN * lengths


def instruction(engine: Engine, vocabulary: Vocabulary, lines: Sequence[bytes], moments: Sequence[Moment], gap: int = 2) -> Context:
    """The context of lines typed one after the other in ordinary company, `gap` ticks apart. Raises InnervateError when it is too long."""
    rehearsal = Rehearsal(engine, vocabulary)
    at = 0
    for line in lines:
        for wait in range(gap + 1):
            packets = [data for name, data in moments[at % len(moments)].packets if name != "text_in"]
            rehearsal.tick([*packets, vocabulary.rows(line + b"\n")] if wait == 0 else packets)
            at += 1
        if len(rehearsal.rows) > ROWS_MAX:
            came = f"{len(rehearsal.rows)} latents up to line {line.decode(errors='replace')!r}"
            raise InnervateError("gist", came, f"at most {ROWS_MAX}", "give it in parts, a gist for each")
    return Context(rehearsal.rows, rehearsal.open)
