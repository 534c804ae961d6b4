"""What a skill does: latents that make the deployed model act as a typed command would, found through the Gradient API.

The command's own byte rows are latents that do it already: pushed at once, they are what typing would be. A few latents found by gradient descent
do the same in less room, and can say what no command says (an utterance of the owner's). Each candidate is judged on the engine as it runs,
quantised activations included, in moments that the search has not seen; the shortest that is as good as the command itself wins, and the byte
rows are the fallback.

The moments come from a minute of life (`life.py`): other poses, other components open. In each the sense that is taught shows what was recorded at
the end of an example, because that is the company in which the latents will arrive; the command is given in the same moment at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import InnervateError
from innervate.runtime.ali.space import Floats
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.loss import token_loss
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.teach.fit import Adam
from innervate.runtime.teach.recording import Moment
from innervate.runtime.teach.rehearsal import Beat, Rehearsal

BEFORE, AFTER = (4, 8, 16, 24), 2  # ticks of a scene before the moment, one of these; and after it
RESTLESS = 10  # a model that is quiet in less than one moment in so many is taken as it is
SHOWN = 12  # packets of an example at the end of what comes before
SCENES, HELD_OUT = 24, 16  # moments to learn in, and to be judged in
LENGTHS = (6, 8)  # of the latents that are tried for a command; with four, some searches end nowhere
UTTERANCE_LATENTS, UTTERANCE_MAX = 16, 48  # ... for an utterance; its longest, in bytes: a tick emits 64 tokens
STEPS, UTTERANCE_STEPS, BATCH, RATE = 80, 280, 3, 0.08  # of the search; the rate is in units of a row's own size
ENOUGH = 0.02  # loss below which it ends early: right with a margin, because no scene is quite like life
HIDDEN_WEIGHT = 0.5  # of the latents that steer, beside the tokens
OPENERS = (b"look right\n", b"find the red ball\n", b"follow the blue cube\n")  # what may have been going on before
ALIKE_MIN = 0.9  # cosine between two latents that steer alike
SHARE_MIN = 0.8  # of the held-out moments in which an utterance must work; a command, as often as when it is typed, and half of this


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A moment to act in: rows before it [T, D] with what was emitted, this tick's packets, the next ticks' packets, and what is due.

    `beats`: what should be emitted in this tick and the next ones.
    """

    before: Floats
    ticks: tuple[tuple[Floats, ...], ...]  # of the ticks before, for the engine
    now: tuple[Floats, ...]
    after: tuple[tuple[Floats, ...], ...]
    beats: tuple[Beat, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Action:
    """Latents [K, D] that make the model do `what`; `how`: "learnt" or "typed"; `share` of the held-out moments in which they do.

    `typed`: the same share for the typed command itself, 0 for an utterance; `steps` of the search.
    """

    latents: Floats
    how: str
    share: float
    typed: float
    steps: int
    what: str


class Company:
    """Scenes out of a minute of life, with the taught sense's latents put in place of its own."""

    def __init__(self, moments: Sequence[Moment], source: str, shown: Sequence[Sequence[Floats]], rest: Floats, seed: int) -> None:
        self._moments, self._source, self._shown, self._rest = moments, source, shown, rest
        self._rng = np.random.default_rng([seed, 5])

    def draw(self) -> tuple[int, list[list[Floats]], list[list[Floats]]]:
        """Draw a moment; return how many ticks lie before it, and the ticks around it, at rest and with an example."""
        before = int(self._rng.choice(BEFORE))
        number = int(self._rng.integers(before + 1, len(self._moments) - AFTER - 1))
        shown = self._shown[int(self._rng.integers(len(self._shown)))]
        span = self._moments[number - before : number + AFTER + 1]
        at_rest = [self._tick(moment, [self._rest]) for moment in span]
        lead = shown[-(before + 1) :]
        lead = [*[self._rest] * (before + 1 - len(lead)), *lead]
        acted = [self._tick(moment, [lead[min(i, before)]]) for i, moment in enumerate(span)]
        return before, at_rest, acted

    def _tick(self, moment: Moment, packets: list[Floats]) -> list[Floats]:
        rows = [data for name, data in moment.packets if name != self._source and name != "text_in"]
        place = sum(1 for name, _ in moment.packets[: self._first(moment)] if name != "text_in")
        return [*rows[:place], *packets, *rows[place:]]

    def _first(self, moment: Moment) -> int:
        return next((i for i, (name, _) in enumerate(moment.packets) if name == self._source), len(moment.packets))


class Teacher:
    """Makes scenes in which it is known what the model should do."""

    def __init__(self, engine: Engine, vocabulary: Vocabulary, company: Company, openers: Sequence[bytes]) -> None:
        self._rehearsal = Rehearsal(engine, vocabulary)
        self._vocabulary, self._company, self._openers = vocabulary, company, openers
        self._rng = np.random.default_rng(17)
        self._drawn = self._quiet = 0

    def command(self, text: str, count: int) -> list[Scene]:
        """Scenes in which the typed command does something. Raises InnervateError when it does in less than half of those tried."""
        said = self._vocabulary.rows(text.encode() + b"\n")
        scenes: list[Scene] = []
        tried = 0
        while tried < 4 * count and not (tried >= count and len(scenes) < tried // 4):
            if not self._draw():
                continue
            tried += 1
            scene = self._scene(said, None)
            if scene is not None:
                scenes.append(scene)
            if len(scenes) == count:
                return scenes
        came = f"typed, it made the model act in {len(scenes)} of {tried} moments"
        step = 'try it typed in `innervate run` first, such as "look left"'
        raise InnervateError(f"teach: {text!r}", came, "a command that the device knows", step)

    def utterance(self, text: str, count: int) -> list[Scene]:
        """Scenes in which the model should say `text`. Raises InnervateError for one that is too long or no single line."""
        if not 0 < len(text.encode()) <= UTTERANCE_MAX or not text.isprintable():
            raise InnervateError(f"teach: {text!r}", f"{len(text.encode())} bytes", f"one line of 1 to {UTTERANCE_MAX}", "make it shorter")
        said = tuple(text.encode() + b"\n")
        scenes: list[Scene] = []
        while len(scenes) < count:
            scene = self._scene(None, said) if self._draw() else None
            scenes += [scene] if scene is not None else []
        return scenes

    def _draw(self) -> bool:
        """Draw a moment; return whether the model leaves it alone by itself: where it acts already, for what it has heard, nothing can be told."""
        self._drawn += 1
        self._count, self._at_rest, self._acted = self._company.draw()
        opener = self._openers[int(self._rng.integers(len(self._openers)))] if self._rng.random() < 0.5 else b""
        self._first = [self._vocabulary.rows(opener)] if opener else []
        self._before(self._acted)
        self._rows = self._rehearsal.rows
        quiet = not any(self._rehearsal.tick(packets).tokens for packets in self._acted[self._count :])
        self._quiet += quiet
        return quiet or (self._drawn > RESTLESS and self._quiet < self._drawn // RESTLESS)  # one that never rests has to do

    def _before(self, ticks: list[list[Floats]]) -> list[list[Floats]]:
        """Rehearse what comes before the moment; return its ticks with what was typed."""
        self._rehearsal.reset()
        told = [[*packets, *self._first] if i == 0 else packets for i, packets in enumerate(ticks[: self._count])]
        for packets in told:
            self._rehearsal.tick(packets)
        return told

    def _scene(self, said: Floats | None, utterance: tuple[int, ...] | None) -> Scene | None:
        count, at_rest, acted = self._count, self._at_rest, self._acted
        ticks = self._before(acted)
        if utterance is not None:
            beats = self._spoken(utterance)
        else:
            self._before(at_rest)
            beats = [self._rehearsal.tick([*at_rest[count], *([said] if said is not None else [])])]
            beats += [self._rehearsal.tick(packets) for packets in at_rest[count + 1 :]]
            if not beats[0].tokens:
                return None
        frozen = [tuple(packets) for packets in acted]
        return Scene(self._rows, tuple(tuple(packets) for packets in ticks), frozen[count], tuple(frozen[count + 1 :]), tuple(beats))

    def _spoken(self, utterance: tuple[int, ...]) -> list[Beat]:
        open_now = self._rehearsal.open
        hidden = np.zeros(len(self._vocabulary.row(0)), np.float32)
        closing = () if open_now is None else (self._vocabulary.id(f"<eo_{open_now}>"),)
        return [Beat((*closing, *utterance), open_now, None, hidden)] + [Beat((), None, None, hidden)] * AFTER


@dataclass(frozen=True, slots=True, eq=False)
class _Sequence:
    """A scene laid out for the gradient: rows [T, D], where the latents go, and what each row should answer."""

    x: Floats
    place: slice
    targets: npt.NDArray[np.int64]
    control_only: npt.NDArray[np.bool_]
    steer: list[tuple[int, Floats]]


class Search:
    """Finds latents by descent through the deployed weights."""

    def __init__(self, gradient: Gradient, engine: Engine, vocabulary: Vocabulary) -> None:
        gradient.require(engine.space)
        self._gradient, self._engine, self._vocabulary = gradient, engine, vocabulary
        self._idle_id = vocabulary.id("<idle>")
        self._idle = vocabulary.row(self._idle_id)
        self._starts = {vocabulary.id(name) for name in vocabulary.control if name.startswith("<so_")}

    def loss(self, scene: Scene, latents: Floats) -> tuple[float, Floats, bool]:
        """Loss in one scene, its gradient with respect to the latents [K, D], and whether every token came out right."""
        s = self._lay(scene, latents)
        # The engine's own answer, rounded activations included: it is what counts, and half the time of the gradient's forward half.
        self._engine.reset()
        parts = range(0, len(s.x), self._engine.rows_max)
        y = np.concatenate([self._engine.append(s.x[start : start + self._engine.rows_max]).copy() for start in parts])
        told = token_loss(self._vocabulary, y, s.targets, control_only=s.control_only)
        loss, g = told.loss, told.g_hidden.copy()
        for at, wanted in s.steer:
            apart = y[at] - wanted
            scale = float((wanted**2).sum()) * len(s.steer)
            loss += HIDDEN_WEIGHT * float((apart**2).sum()) / scale
            g[at] += 2.0 * HIDDEN_WEIGHT * apart / scale
        _, dx = self._gradient.vjp(s.x, g)
        return loss, dx[s.place], bool(told.right[s.targets >= 0].all())

    def find(
        self, scenes: Sequence[Scene], start: Floats, steps: int = STEPS, seed: int = 0, show: Callable[[int, int, str], None] | None = None
    ) -> tuple[Floats, int]:
        """Descend from `start` [K, D]; return the latents and the steps taken. Ends early when they have been right for a while."""
        latents: Floats = start.astype(np.float32).copy()
        weights: dict[str, npt.NDArray[np.floating[Any]]] = {"latents": latents}  # changed in place
        size = float(np.sqrt((start**2).mean()))
        adam = Adam(weights, RATE * size, 0.0)
        rng, right = np.random.default_rng([seed, 3]), 0
        for step in range(1, steps + 1):
            total, grad, good = 0.0, np.zeros_like(latents), True
            for number in rng.choice(len(scenes), min(BATCH, len(scenes)), replace=False):
                loss, dx, correct = self.loss(scenes[int(number)], latents)
                total, good = total + loss / BATCH, good and correct
                grad += dx / BATCH
            adam.step({"latents": grad}, 0.5 * (1.0 + float(np.cos(np.pi * step / (steps + 1)))))
            right = right + 1 if good else 0
            if show is not None:
                show(step, steps, f"{len(start)} latents, loss {total:.3f}")
            if right >= 2 * len(scenes) // BATCH and total < ENOUGH:
                break
        return latents, step

    def _lay(self, scene: Scene, latents: Floats) -> _Sequence:
        rows: list[Floats] = [scene.before, *scene.now]
        at = sum(len(part) for part in rows)
        place = slice(at, at + len(latents))
        rows.append(latents)
        targets: dict[int, tuple[int, bool]] = {}
        steer: list[tuple[int, Floats]] = []
        length = at + len(latents)
        for number, beat in enumerate(scene.beats):
            if number:
                rows += scene.after[number - 1]
                length += sum(len(part) for part in scene.after[number - 1])
            open_now = beat.open_before is not None
            rows.append(self._idle[None])
            for token in (*beat.tokens, self._idle_id):
                targets[length] = (token, open_now)
                length += 1
                if token != self._idle_id:
                    rows.append(self._vocabulary.row(token)[None])
                    open_now = token in self._starts
            if beat.open_after is not None:
                steer.append((length - 1, beat.hidden))
        wanted, only = np.full(length, -1, np.int64), np.zeros(length, np.bool_)
        for position, (token, closed) in targets.items():
            wanted[position], only[position] = token, closed
        return _Sequence(np.concatenate(rows).astype(np.float32), place, wanted, only, steer)


def works(rehearsal: Rehearsal, scene: Scene, latents: Floats) -> bool:
    """Whether the latents make the engine do in this scene what is due: the same tokens, and latents that steer alike."""
    rehearsal.reset()
    for packets in scene.ticks:
        rehearsal.tick(packets)
    for number, wanted in enumerate(scene.beats):
        came = rehearsal.tick([*scene.now, latents] if number == 0 else scene.after[number - 1])
        if number == 0 and came.tokens != wanted.tokens:
            return False
        if wanted.open_after is not None:
            if came.open_after != wanted.open_after:
                return False
            alike = float(came.hidden @ wanted.hidden) / float(np.linalg.norm(came.hidden) * np.linalg.norm(wanted.hidden))
            if alike < ALIKE_MIN:
                return False
    return True


def find_action(
    engine: Engine, gradient: Gradient | None, vocabulary: Vocabulary, company: Company, what: str, says: bool, seed: int = 0,
    show: Callable[[int, int, str], None] | None = None,
) -> Action:  # fmt: skip
    """Find the latents for a command (`says` False) or an utterance, and judge them.

    Without a gradient a command's own byte rows are taken. Raises InnervateError when the device does not know the command, or when no latents
    were found that make it say the utterance.
    """
    teacher, rehearsal = Teacher(engine, vocabulary, company, OPENERS), Rehearsal(engine, vocabulary)
    count = SCENES + HELD_OUT
    scenes = teacher.utterance(what, count) if says else teacher.command(what, count)
    seen, unseen = scenes[:SCENES], scenes[SCENES:]
    typed = vocabulary.rows(what.encode() + b"\n")
    usual = 0.0 if says else share(rehearsal, unseen, typed)
    best = Action(typed, "typed", usual, usual, 0, what)
    wanted = SHARE_MIN if says else max(usual, SHARE_MIN / 2)
    for length in () if gradient is None else (UTTERANCE_LATENTS,) if says else LENGTHS:
        pieces = np.array_split(typed, length) if len(typed) >= length else [typed[i % len(typed)][None] for i in range(length)]
        start = np.stack([piece.mean(0) for piece in pieces])
        steps = UTTERANCE_STEPS if says else STEPS
        latents, taken = Search(gradient, engine, vocabulary).find(seen, start, steps, seed, show) if gradient is not None else (start, 0)
        learnt = Action(latents, "learnt", share(rehearsal, unseen, latents), usual, taken, what)
        if learnt.share >= wanted:
            return learnt
        best = max(best, learnt, key=lambda action: action.share)
    if best.share < wanted:
        came = f"works in {100 * best.share:.0f} % of the moments it was tried in"
        raise InnervateError(f"teach: {what!r}", came, f"at least {100 * wanted:.0f} %", "choose a shorter utterance or another command")
    return best


def share(rehearsal: Rehearsal, scenes: Sequence[Scene], latents: Floats) -> float:
    """Share of the scenes in which the latents work."""
    return sum(works(rehearsal, scene, latents) for scene in scenes) / max(1, len(scenes))
