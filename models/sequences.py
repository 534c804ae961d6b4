"""Training sequences for the backbone: ticks whose sensors are drawn independently, with what the expert would emit.

A sequence is a stretch of some ticks out of a track.  Sound comes from the track, so time runs as it does in life; the frame, pose and
speed of every tick are drawn afresh, since the expert needs no history: target off centre, centred, absent, or something else centred.  What
the model has to carry over time is only which component is open and for what: that is the open component's own token, which
stays visible to attention (the engine pins it) when the window of the newest W positions slides on.

Positions of a tick: sound 1, frame 6 (or dropped), force 1, pose 1, in random order; typed bytes; the query; then emissions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .banks import FrameBank, TrackBank
from .expert import Action, act, is_meant
from .feeling import FORCE_WINDOW, SAMPLES_PER_TICK
from .language import COLOURS, DIRECTIONS, HELD_OUT, SHAPES, TRAINED_PAIRS, VERBS, Intent, command, describe, loosely, other
from .scenes import bearing, pixel
from .seeing import CELL, GLIMPSES, GRID
from .speech import TICKS
from .squeezes import squeeze_track

IDLE, SO_MOTOR, EO_MOTOR = 256, 257, 258
NEWLINE = 10
IGNORE = -100
SOUND, FRAME, FORCE, POSE, TOKEN = range(5)
# How much an emission weighs against an idle tick, which sets the odds at which it is made.  To end a search too early loses it,
# to end it a tick late costs nothing, and a search asks in every tick: so only when sure.  A halt comes late rather than never.
ACT, HALT, DONE = 2.0, 5.0, 0.5
_COUNTED = np.array([0.13, 0.22, 0.29, 0.29, 0.07])  # how often 0, 1, ... of them


@dataclass
class Sequence:
    """One sequence as flat lists; positions are numbered in the order of appending."""

    kind: list[int] = field(default_factory=list)  # SOUND .. TOKEN of each position
    source: list[int] = field(default_factory=list)  # tick, frame * 6 + glimpse, row of force, row of pose, or token id
    pin: list[int] = field(default_factory=list)  # position of the open component's token, or -1
    emit: list[int] = field(default_factory=list)  # token due at this position, IGNORE where none
    weight: list[float] = field(default_factory=list)
    closed: list[bool] = field(default_factory=list)  # whether all rows compete here, or the control rows alone
    delta: list[tuple[float, float]] = field(default_factory=list)  # degrees due from the motor decoder, NaN where none
    goal: list[tuple[int, int, int]] = field(default_factory=list)  # intent at a <so_motor>, verb 0 elsewhere
    visible: list[int] = field(default_factory=list)  # 1, 0, IGNORE
    match: list[tuple[int, int, int]] = field(default_factory=list)  # of a glimpse: what is looked for? its colour? its shape? 1, 0, IGNORE
    naming: list[tuple[int, int]] = field(default_factory=list)  # colour and shape that an answer names here, IGNORE where none
    force: list[list[float]] = field(default_factory=list)
    newtons: list[float] = field(default_factory=list)
    double: list[int] = field(default_factory=list)
    pose: list[tuple[float, float, float, float]] = field(default_factory=list)
    track: int = 0
    first: int = 0  # tick of the track that this begins with

    def add(self, kind: int, source: int, pin: int) -> int:
        """Append a position without a target; returns its number."""
        self.kind.append(kind)
        self.source.append(source)
        self.pin.append(pin)
        self.emit.append(IGNORE)
        self.weight.append(0.0)
        self.closed.append(True)
        self.delta.append((math.nan, math.nan))
        self.goal.append((0, 0, 0))
        self.visible.append(IGNORE)
        self.match.append((IGNORE, IGNORE, IGNORE))
        self.naming.append((IGNORE, IGNORE))
        return len(self.kind) - 1


QUIZ_SHARE = 0.6  # sequences full of questions: naming what is in view is the longest chain of all
# ticks of a sequence: attention costs the square, and the longer ones reach as far back as the deployed window
LENGTHS, _LENGTHS = (32, 60), (0.75, 0.25)
TYPED_OTHER_SHARE = 0.25  # typed lines that ask for nothing
# questions and stops more often than in speech: bytes are the harder half of what is learnt from typed lines
_TYPED = np.array([0.08, 0.08, 0.08, 0.08, 0.08, 0.15, 0.12, 0.10, 0.13, 0.10])
# what is done late, and may be done before: without it nothing shows how a missed tick is made up for
LATE_SHARE = 0.35
LOOSE_SHARE = 0.4  # of typed wishes to see something: only a colour or a shape named


class Builder:
    """Draws sequences from the banks; all randomness comes from the generator given."""

    def __init__(self, frames: FrameBank, tracks: TrackBank) -> None:
        self.frames, self.tracks = frames, tracks

    def build(self, rng: np.random.Generator, ticks: int = TICKS) -> Sequence:
        """One sequence of `ticks`."""
        s = Sequence(track=int(rng.integers(len(self.tracks.states))), first=int(rng.integers(TICKS - ticks + 1)))
        span = range(s.first, s.first + ticks)
        due, asked, typed = self._commands(rng, s.track, span)
        force, double = squeeze_track(rng, asked)
        for begun in np.flatnonzero((double == 1) & (np.roll(double, 1) != 1)):
            if rng.random() < LATE_SHARE:
                double[begun : begun + int(rng.integers(1, 3))] = IGNORE
        state = _State()
        for tick in span:
            self._tick(rng, s, state, tick, due.get(tick), typed.get(tick), force, double)
        return s

    def _commands(self, rng: np.random.Generator, track: int, span: range) -> tuple[dict[int, tuple[Intent, bool]], list[int], dict[int, bytes]]:
        """Tick -> (intent, whether from here on either emission is right), ticks of force questions, tick -> typed line."""
        due: dict[int, tuple[Intent, bool]] = {}
        busy: set[int] = set()
        for end, ids in self.tracks.spoken[track]:
            wait = 14 if VERBS[ids[0]] == "stop" else 20
            tick = -(-(end + wait) // 8) - 1
            late = int(rng.integers(1, 4)) if rng.random() < LATE_SHARE else 0
            busy |= set(range(tick - (8 if VERBS[ids[0]] == "stop" else 20), tick + 8))
            if tick not in span or tick + late not in span:
                continue
            intent = _intent(ids)
            for k in range(tick, tick + late):
                due[k] = (intent, True)
            due[tick + late] = (intent, False)
        typed: dict[int, bytes] = {}
        for stop in [tick for tick, (intent, either) in due.items() if intent.verb == "stop" and not either]:
            tick = stop - int(rng.integers(11, 24))  # there must be something to stop
            if tick in span and tick not in busy and rng.random() < 0.8:
                text, intent = command(rng, verb="follow" if rng.random() < 0.5 else "find")
                due[tick], typed[tick] = (intent, False), text.encode() + b"\n"
                busy |= set(range(tick - 4, stop))
        if rng.random() < QUIZ_SHARE:
            for tick in range(span.start + int(rng.integers(1, 7)), span.stop, 7):
                if tick not in busy and rng.random() < 0.9:
                    intent = Intent("see" if rng.random() < 0.75 else "force")
                    busy |= {tick - 1, tick, tick + 1}
                    due[tick] = (intent, False)
                    typed[tick] = b"what do you see\n" if intent.verb == "see" else b"how hard am i squeezing\n"
        for attempt in range(int(rng.integers(1, 3 + len(span) // 20))):
            tick = span.start + int(rng.integers(0, len(span) if attempt else 6))
            if tick in busy:
                continue
            busy |= set(range(tick - 4, tick + 5))
            if attempt and rng.random() < TYPED_OTHER_SHARE:
                text = other(rng)
            else:
                text, intent = command(rng, verb=str(rng.choice(VERBS[1:], p=_TYPED)) if attempt else None)
                if intent.visual and rng.random() < LOOSE_SHARE:
                    text, intent = loosely(rng, intent)
                due[tick] = (intent, False)
            line = text if rng.random() < 0.6 else text.capitalize() + ("", ".", "?", "!")[int(rng.integers(4))]
            typed[tick] = line.encode() + b"\n"
        return due, [k for k, (i, either) in due.items() if i.verb == "force" and not either], typed

    def _tick(
        self, rng: np.random.Generator, s: Sequence, state: _State, tick: int, due: tuple[Intent, bool] | None,
        typed: bytes | None, force: npt.NDArray[np.float32], double: npt.NDArray[np.int64],
    ) -> None:
        intent, either = due if due is not None else (None, False)
        frame = self._choose_frame(rng, state, intent)
        pose = self._choose_pose(rng, state, intent, frame)
        window = force[(tick + 1) * SAMPLES_PER_TICK : (tick + 1) * SAMPLES_PER_TICK + FORCE_WINDOW]
        s.force.append(window.tolist())
        s.newtons.append(float(window[-8:].mean()))
        s.double.append(int(double[tick]))
        s.pose.append(pose)
        blocks = [[(SOUND, tick - s.first)], [(FORCE, tick - s.first)], [(POSE, tick - s.first)]]
        if frame is not None:
            blocks.insert(1, [(FRAME, frame * GLIMPSES + g) for g in range(GLIMPSES)])
        if rng.random() < 0.5:
            rng.shuffle(blocks)
        matches = self._matches(frame, state.goal) if frame is not None else []
        for block in blocks:
            for kind, source in block:
                at = s.add(kind, source, state.pin)
                if kind == FRAME and matches:
                    s.match[at] = matches[source % GLIMPSES]
        for byte in typed or b"":
            s.add(TOKEN, byte, state.pin)
        at = s.add(TOKEN, IDLE, state.pin)
        self._emit(s, state, at, intent, either, frame, pose, bool(double[tick] == 1), bool(double[tick] == IGNORE), s.newtons[-1])

    def _emit(
        self, s: Sequence, state: _State, at: int, intent: Intent | None, either: bool, frame: int | None,
        pose: tuple[float, float, float, float], doubled: bool, unsure: bool, newtons: float,
    ) -> None:
        objects = None if frame is None else self.frames.objects[frame]
        if either:
            intent = None
        if state.goal is not None and (doubled or (intent is not None and intent.verb in ("stop", "see", "force"))):
            at = self._token(s, state, at, EO_MOTOR, HALT)
        elif state.goal is not None and intent is None:
            action = act(state.goal, np.array(pose), objects)
            if action.done and not (either or unsure):
                at = self._token(s, state, at, EO_MOTOR, DONE)
            else:
                self._drive(s, state, at, action)
                s.emit[at] = IGNORE if either or unsure or not action.known else IDLE
                s.weight[at] = 1.0
                return
        if intent is not None and intent.verb not in ("stop", "see", "force") and not doubled:
            at = self._token(s, state, at, SO_MOTOR, ACT, intent)
            action = act(intent, np.array(pose), objects)
            self._drive(s, state, at, action)
            s.emit[at] = IGNORE if action.done or not action.known else IDLE
            s.weight[at] = 1.0
            return
        if intent is not None and intent.verb in ("see", "force"):
            pairs = self.frames.seen(frame) if intent.verb == "see" and frame is not None else []
            answer = describe(pairs) if intent.verb == "see" else f"about {max(0, round(newtons))} newtons"
            names = named(answer, pairs)
            for index, byte in enumerate(answer.encode() + b"\n"):
                s.naming[at] = names[index]
                at = self._token(s, state, at, byte, 1.0 if index else ACT)
        s.closed[at] = state.goal is None
        s.emit[at] = IGNORE if either else IDLE
        s.weight[at] = 1.0

    def _token(self, s: Sequence, state: _State, at: int, token: int, weight: float, intent: Intent | None = None) -> int:
        """The model emits `token` at `at` and is fed it back; returns the new position."""
        s.emit[at], s.weight[at] = token, weight
        s.closed[at] = state.goal is None
        if token == EO_MOTOR:
            state.goal, state.pin = None, -1
        new = s.add(TOKEN, token, state.pin)
        if token == SO_MOTOR and intent is not None:
            state.goal, state.pin = intent, new
            s.pin[new] = new
            s.goal[new] = intent.ids
        return new

    def _drive(self, s: Sequence, state: _State, at: int, action: Action) -> None:
        s.closed[at] = False
        if not action.known:
            return
        s.delta[at] = (action.pan_deg, action.tilt_deg)
        if state.goal is not None and state.goal.visual:
            s.visible[at] = int(action.visible)

    def _matches(self, frame: int, goal: Intent | None) -> list[tuple[int, int, int]]:
        """Per glimpse whether it shows what `goal` names, its colour, its shape; held-out pairs are left out: nothing shall learn to avoid them."""
        if goal is None or not goal.visual:
            return []
        head = (float(self.frames.heads[frame, 0]), float(self.frames.heads[frame, 1]))
        out = np.zeros((GLIMPSES, 3), np.int64)
        for item in self.frames.objects[frame]:
            column, row = pixel(*bearing(item.pan_deg, item.tilt_deg, *head))
            meant, colour, shape = (is_meant(part, item) for part in (goal, Intent(goal.verb, goal.colour), Intent(goal.verb, None, goal.shape)))
            held_out = (item.colour, item.shape) in HELD_OUT
            alike = np.array([IGNORE if known is None or held_out else int(known) for known in (meant, colour, shape)])
            for k, cell in enumerate(self.frames.cells[frame]):
                apart = max(abs(column - (int(cell) % GRID + 0.5) * CELL), abs(row - (int(cell) // GRID + 0.5) * CELL))
                if apart < 0.6 * CELL:
                    out[k][(out[k] != 1) & (alike != 0)] = alike[(out[k] != 1) & (alike != 0)]
                elif apart < 1.6 * CELL:
                    out[k][(out[k] == 0) & (alike != 0)] = IGNORE
        out[:, np.array([False, goal.colour is None, goal.shape is None])] = IGNORE
        return [(int(a), int(b), int(c)) for a, b, c in out]

    def _choose_frame(self, rng: np.random.Generator, state: _State, intent: Intent | None) -> int | None:
        goal = intent if intent is not None and intent.visual else state.goal
        bank = self.frames
        if intent is not None and intent.verb == "see":
            some = bank.countable[int(rng.choice(len(_COUNTED), p=_COUNTED))]
            return int(some[rng.integers(len(some))]) if len(some) else None
        if goal is None or not goal.visual:
            return int(rng.integers(len(bank.cells))) if rng.random() < 0.5 else None
        if rng.random() < 0.15:
            return None
        if goal.partial and rng.random() < 0.6 and len(rows := bank.loose[goal.colour or goal.shape or ""]):
            return int(rows[rng.integers(len(rows))])
        fitting = [p for p in TRAINED_PAIRS if goal.colour in (p[0], None) and goal.shape in (p[1], None)]
        pair = fitting[int(rng.integers(len(fitting)))]
        # what is in the middle must say nothing about what is meant: as often the one as the other
        draw, strange = rng.random(), TRAINED_PAIRS[int(rng.integers(len(TRAINED_PAIRS)))]
        rows = bank.by_pair[pair]
        if draw < 0.12:
            rows = bank.centred[pair]
        elif draw < 0.32:
            rows = bank.beside[pair]
        elif draw < 0.40:
            rows = bank.centred[strange]
        elif draw < 0.58:
            return int(rng.integers(len(bank.cells)))
        return int(rows[rng.integers(len(rows))]) if len(rows) else None

    def _choose_pose(self, rng: np.random.Generator, state: _State, intent: Intent | None, frame: int | None) -> tuple[float, float, float, float]:
        goal = intent if intent is not None else state.goal
        slow = rng.random() < 0.45
        rates = rng.normal(0, 1.5, 2) if slow else np.array([rng.uniform(-150, 150), rng.uniform(-60, 60) * (rng.random() < 0.5)])
        if frame is not None:
            pan, tilt = (float(v) for v in self.frames.heads[frame])
        else:
            pan, tilt = float(rng.uniform(-90, 90)) * (rng.random() < 0.85), float(rng.uniform(-30, 30)) * (rng.random() < 0.7)
            if goal is not None and goal.verb in DIRECTIONS and rng.random() < 0.35:  # near the goal, where precision counts
                pan, tilt = (float(angle + rng.normal(0, 2)) for angle in DIRECTIONS[goal.verb])
        return (pan, tilt, float(rates[0]), float(rates[1]))


@dataclass
class _State:
    goal: Intent | None = None
    pin: int = -1


def named(answer: str, pairs: list[tuple[str, str]]) -> list[tuple[int, int]]:
    """Per byte of `answer` and the newline after it: colour and shape (indices) of the thing that this byte helps to name, IGNORE after the last."""
    out = [(IGNORE, IGNORE)] * (len(answer) + 1)
    start = 0
    for colour, shape in pairs:
        end = answer.index(f"{colour} {shape}", start) + len(f"{colour} {shape}")
        out[start:end] = [(COLOURS.index(colour), SHAPES.index(shape))] * (end - start)
        start = end
    return out


def _intent(ids: tuple[int, int, int]) -> Intent:
    return Intent(VERBS[ids[0]], COLOURS[ids[1] - 1] if ids[1] else None, SHAPES[ids[2] - 1] if ids[2] else None)


class Sequences(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    """Endless padded batches of `ticks` ticks in all; every tensor is [B, T] or [B, T, k], ticks' sensors [B, ticks of one, k].

    All sequences of a batch are equally long. `rank` makes batches of their own, as long as those of the other ranks at the same step.
    """

    def __init__(self, frames: FrameBank, tracks: TrackBank, ticks: int, seed: int, rank: int = 0) -> None:
        self._builder, self._ticks, self._seed, self._rank = Builder(frames, tracks), ticks, seed, rank

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        torch.set_num_threads(1)
        lengths, rng = np.random.default_rng([self._seed, 1]), np.random.default_rng([self._seed, 2, self._rank])
        while True:
            length = int(lengths.choice(LENGTHS, p=_LENGTHS))
            yield collate([self._builder.build(rng, length) for _ in range(max(1, self._ticks // length))], rng)


def collate(items: list[Sequence], rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Pad to the longest; draw a window for every sequence."""
    longest = max(len(s.kind) for s in items)

    def padded(name: str, fill: float, dtype: type) -> torch.Tensor:
        rows: list[npt.NDArray[Any]] = [np.asarray(getattr(s, name), dtype=dtype) for s in items]
        out = np.full((len(items), longest, *rows[0].shape[1:]), fill, dtype)
        for row, s in zip(out, rows, strict=True):
            row[: len(s)] = s
        return torch.from_numpy(out)

    batch = {
        "kind": padded("kind", -1, np.int64), "source": padded("source", 0, np.int64), "pin": padded("pin", -1, np.int64),
        "emit": padded("emit", IGNORE, np.int64), "weight": padded("weight", 0, np.float32), "closed": padded("closed", True, bool),
        "delta": padded("delta", math.nan, np.float32), "goal": padded("goal", 0, np.int64), "visible": padded("visible", IGNORE, np.int64),
        "match": padded("match", IGNORE, np.int64), "naming": padded("naming", IGNORE, np.int64),
    }
    for name, dtype in (("force", np.float32), ("newtons", np.float32), ("double", np.int64), ("pose", np.float32)):
        batch[name] = torch.from_numpy(np.asarray([getattr(s, name) for s in items], dtype))
    batch["track"], batch["first"] = torch.tensor([s.track for s in items]), torch.tensor([s.first for s in items])
    batch["window"] = torch.from_numpy(np.where(rng.random(len(items)) < 0.5, 2000, rng.integers(90, 400, len(items))))
    return batch
