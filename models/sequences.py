"""Training sequences for the backbone: ticks whose sensors are drawn independently, with what the expert would emit.

A sequence is TICKS ticks.  Sound comes from a track, so time runs as it does in life; the frame, pose and speed of every
tick are drawn afresh and balanced between target off centre, centred and absent, since the expert needs no history.  What
the model has to carry over time is only which component is open and for what: that is the open component's own token, which
stays visible to attention (the engine pins it) when the window of the newest W positions slides on.

Positions of a tick: sound 1, frame 6 (or dropped), force 1, pose 1, in random order; typed bytes; the query; then emissions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from innervate.boards.emulator.scene import SceneObject

from .expert import Action, act, in_view
from .feeling import FORCE_HZ, FORCE_WINDOW
from .language import COLOURS, DIRECTIONS, HELD_OUT, SHAPES, TRAINED_PAIRS, VERBS, Intent, command, describe, other
from .scenes import bearing, pixel
from .seeing import CELL, GLIMPSES, GRID
from .speech import TICKS

IDLE, SO_MOTOR, EO_MOTOR = 256, 257, 258
NEWLINE = 10
SAMPLES_PER_TICK = 8  # of force
IGNORE = -100
SOUND, FRAME, FORCE, POSE, TOKEN = range(5)
# How much an emission weighs against an idle tick, which sets the odds at which it is made.  To end a search too early loses it,
# to end it a tick late costs nothing, and a search asks in every tick: so only when sure.  A halt comes late rather than never.
ACT, HALT, DONE = 2.0, 5.0, 0.5
SQUEEZE_N = 5.0
DOUBLE_S = 0.8


@dataclass(frozen=True)
class FrameBank:
    """Frames that the eye has seen: features before its last layer, and the scene behind each."""

    features: npt.NDArray[np.float16]  # [N, 6, 129]
    cells: npt.NDArray[np.int16]  # [N, 6]
    heads: npt.NDArray[np.float32]  # [N, 2] pan, tilt
    objects: list[list[SceneObject]]
    by_pair: dict[tuple[str, str], npt.NDArray[np.int64]]  # trained pair -> frames with it in view
    centred: dict[tuple[str, str], npt.NDArray[np.int64]]  # ... within a few degrees of the middle
    countable: npt.NDArray[np.int64]  # frames fit for "what do you see": nothing cut by the border, no held-out pair

    @staticmethod
    def index(
        features: npt.NDArray[np.float16], cells: npt.NDArray[np.int16], heads: npt.NDArray[np.float32], objects: list[list[SceneObject]]
    ) -> FrameBank:
        """Build the look-ups of a bank."""
        by_pair: dict[tuple[str, str], list[int]] = {p: [] for p in TRAINED_PAIRS}
        centred: dict[tuple[str, str], list[int]] = {p: [] for p in TRAINED_PAIRS}
        countable = []
        for i, things in enumerate(objects):
            head = (float(heads[i, 0]), float(heads[i, 1]))
            seen = [o for o in things if in_view(o, head)]
            for o in seen:
                pair = (o.colour, o.shape)
                if pair in by_pair:
                    by_pair[pair].append(i)
                    if math.hypot(o.pan_deg - head[0], o.tilt_deg - head[1]) < 3.0:
                        centred[pair].append(i)
            sure = [o for o in things if in_view(o, head, margin_px=4.0)]
            near = [o for o in things if in_view(o, head, margin_px=-8.0)]
            apart = all(math.hypot(a.pan_deg - b.pan_deg, a.tilt_deg - b.tilt_deg) > 7.0 for k, a in enumerate(near) for b in near[:k])
            if len(sure) == len(near) <= 4 and apart and not any((o.colour, o.shape) in HELD_OUT for o in near):
                countable.append(i)
        arrays = [{pair: np.array(rows) for pair, rows in table.items()} for table in (by_pair, centred)]
        return FrameBank(features, cells, heads, objects, arrays[0], arrays[1], np.array(countable))

    def seen(self, i: int) -> list[tuple[str, str]]:
        """Colour and shape of what is in view in frame `i`, from left to right."""
        head = (float(self.heads[i, 0]), float(self.heads[i, 1]))
        things = [(bearing(o.pan_deg, o.tilt_deg, *head)[0], o) for o in self.objects[i] if in_view(o, head)]
        return [(o.colour, o.shape) for _, o in sorted(things, key=lambda row: -row[0])]


@dataclass(frozen=True)
class TrackBank:
    """Sound that the ear has heard: its state [N, TICKS, 320] before the last layer, and the commands in it."""

    states: npt.NDArray[np.float16]
    spoken: list[list[tuple[int, tuple[int, int, int]]]]  # per track: (frame of its end, intent ids)


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
    match: list[int] = field(default_factory=list)  # of a glimpse: is this what is looked for? 1, 0, IGNORE
    force: list[list[float]] = field(default_factory=list)
    newtons: list[float] = field(default_factory=list)
    double: list[int] = field(default_factory=list)
    pose: list[tuple[float, float, float, float]] = field(default_factory=list)
    track: int = 0

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
        self.match.append(IGNORE)
        return len(self.kind) - 1


def squeeze_track(rng: np.random.Generator, asked: list[int]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Force [FORCE_WINDOW + TICKS * 8] and per tick whether a second squeeze has just begun (1), not (0), or either (IGNORE)."""
    n = FORCE_WINDOW + TICKS * SAMPLES_PER_TICK
    force = np.zeros(n, np.float32)

    def pulse(start: int, peak: float, rise: int, hold: int, fall: int) -> None:
        shape = np.concatenate([np.linspace(0, peak, rise + 1)[1:], np.full(hold, peak), np.linspace(peak, 0, fall + 1)[1:]])
        stop = min(n, start + len(shape))
        if start < n:
            force[start:stop] = np.maximum(force[start:stop], shape[: stop - start])

    for tick in asked:  # somebody squeezes while asking, mostly
        if rng.random() < 0.75:
            lead, steady = ((40, 250), (260, 420)) if len(asked) < 3 else ((14, 34), (24, 50))
            start = FORCE_WINDOW + (tick + 1) * SAMPLES_PER_TICK - int(rng.integers(*lead))
            pulse(max(0, start), float(rng.uniform(0.5, 45)), int(rng.integers(2, 14)), int(rng.integers(*steady)), int(rng.integers(2, 14)))
    for _ in range(int(rng.integers(0, 4))):
        start = int(rng.integers(0, n))
        kind = rng.random()
        peak = float(rng.uniform(5.5, 40)) if rng.random() < 0.8 else float(rng.uniform(1, 4.5))
        if kind < 0.4:
            pulse(start, peak, int(rng.integers(2, 35)), int(rng.integers(2, 250)), int(rng.integers(2, 35)))
            continue
        for _ in range(2 if kind < 0.9 else 3):
            rise, hold, fall = int(rng.integers(2, 16)), int(rng.integers(1, 22)), int(rng.integers(2, 16))
            pulse(start, peak * float(rng.uniform(0.8, 1.25)), rise, hold, fall)
            start += rise + hold + fall + int(rng.integers(3, 55))
    force += rng.normal(0, rng.uniform(0.0, 0.12), n).astype(np.float32)
    return force, double_labels(force)


def double_labels(force: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Per tick 1 when the second of two rises over 5 N within 0.8 s lies in its last 0.24 s; IGNORE near the limits."""
    rises, armed = [], True
    for i, value in enumerate(force):
        if armed and value > SQUEEZE_N:
            rises.append(i)
            armed = False
        elif value < SQUEEZE_N - 0.7:
            armed = True
    out = np.zeros(TICKS, np.int64)
    for first, second in pairwise(rises):
        apart = (second - first) / FORCE_HZ
        if apart > DOUBLE_S + 0.12:
            continue
        tick = max(0, (second - FORCE_WINDOW) // SAMPLES_PER_TICK)
        for k in range(tick, min(TICKS, tick + 4)):
            age = FORCE_WINDOW + (k + 1) * SAMPLES_PER_TICK - 1 - second
            sure = 1 <= age < 24 and apart < DOUBLE_S - 0.04
            out[k] = 1 if sure or out[k] == 1 else IGNORE
    return out


QUIZ_SHARE = 0.5  # sequences full of questions: naming what is in view is the longest chain of all
TYPED_OTHER_SHARE = 0.25  # typed lines that ask for nothing
# questions and stops more often than in speech: bytes are the harder half of what is learnt from typed lines
_TYPED = np.array([0.06, 0.06, 0.06, 0.06, 0.06, 0.18, 0.12, 0.10, 0.18, 0.12])


class Builder:
    """Draws sequences from the banks; all randomness comes from the generator given."""

    def __init__(self, frames: FrameBank, tracks: TrackBank) -> None:
        self.frames, self.tracks = frames, tracks

    def build(self, rng: np.random.Generator) -> Sequence:
        """One sequence."""
        s = Sequence(track=int(rng.integers(len(self.tracks.states))))
        due, asked, typed = self._commands(rng, s.track)
        force, double = squeeze_track(rng, asked)
        state = _State()
        for tick in range(TICKS):
            self._tick(rng, s, state, tick, due.get(tick), typed.get(tick), force, double)
        return s

    def _commands(self, rng: np.random.Generator, track: int) -> tuple[dict[int, tuple[Intent, bool]], list[int], dict[int, bytes]]:
        """Tick -> (intent, whether from here on either emission is right), ticks of force questions, tick -> typed line."""
        due: dict[int, tuple[Intent, bool]] = {}
        busy: set[int] = set()
        for end, ids in self.tracks.spoken[track]:
            wait = 14 if VERBS[ids[0]] == "stop" else 20
            tick = -(-(end + wait) // 8) - 1
            # now and then it is done late, so that a missed tick is made up for; a stop never is
            late = int(rng.integers(1, 4)) if rng.random() < 0.3 and VERBS[ids[0]] != "stop" else 0
            busy |= set(range(tick - 20, tick + 8))
            if tick + late >= TICKS:
                continue
            intent = _intent(ids)
            for k in range(tick, tick + late):
                due[k] = (intent, True)
            due[tick + late] = (intent, False)
        typed: dict[int, bytes] = {}
        if rng.random() < QUIZ_SHARE:
            for tick in range(int(rng.integers(1, 7)), TICKS, 7):
                if tick not in busy and rng.random() < 0.9:
                    intent = Intent("see" if rng.random() < 0.6 else "force")
                    busy |= {tick - 1, tick, tick + 1}
                    due[tick] = (intent, False)
                    typed[tick] = b"what do you see\n" if intent.verb == "see" else b"how hard am i squeezing\n"
        for attempt in range(int(rng.integers(2, 8))):
            tick = int(rng.integers(0, TICKS if attempt else 6))
            if tick in busy:
                continue
            busy |= set(range(tick - 4, tick + 5))
            if attempt and rng.random() < TYPED_OTHER_SHARE:
                text = other(rng)
            else:
                text, intent = command(rng, verb=str(rng.choice(VERBS[1:], p=_TYPED)) if attempt else None)
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
        blocks = [[(SOUND, tick)], [(FORCE, tick)], [(POSE, tick)]]
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
                s.emit[at] = IGNORE if either or unsure else IDLE
                s.weight[at] = 1.0
                return
        if intent is not None and intent.verb not in ("stop", "see", "force") and not doubled:
            at = self._token(s, state, at, SO_MOTOR, ACT, intent)
            action = act(intent, np.array(pose), objects)
            self._drive(s, state, at, action)
            s.emit[at] = IGNORE if action.done else IDLE
            s.weight[at] = 1.0
            return
        if intent is not None and intent.verb in ("see", "force"):
            answer = describe(self.frames.seen(frame)) if intent.verb == "see" and frame is not None else f"about {max(0, round(newtons))} newtons"
            for index, byte in enumerate(answer.encode() + b"\n"):
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
        s.delta[at] = (action.pan_deg, action.tilt_deg)
        s.closed[at] = False
        if state.goal is not None and state.goal.colour is not None:
            s.visible[at] = int(action.visible)

    def _matches(self, frame: int, goal: Intent | None) -> list[int]:
        """Per glimpse whether it shows what `goal` names; held-out pairs are left out, so that nothing learns to avoid them."""
        if goal is None or goal.colour is None:
            return []
        head = (float(self.frames.heads[frame, 0]), float(self.frames.heads[frame, 1]))
        out = [0] * GLIMPSES
        for item in self.frames.objects[frame]:
            column, row = pixel(*bearing(item.pan_deg, item.tilt_deg, *head))
            wanted = (item.colour, item.shape) == (goal.colour, goal.shape)
            for k, cell in enumerate(self.frames.cells[frame]):
                apart = max(abs(column - (int(cell) % GRID + 0.5) * CELL), abs(row - (int(cell) // GRID + 0.5) * CELL))
                if apart < 0.6 * CELL and wanted:
                    out[k] = 1
                elif apart < 1.6 * CELL and out[k] == 0 and (wanted or (item.colour, item.shape) in HELD_OUT):
                    out[k] = IGNORE
        return out

    def _choose_frame(self, rng: np.random.Generator, state: _State, intent: Intent | None) -> int | None:
        goal = intent if intent is not None and intent.colour is not None else state.goal
        bank = self.frames
        if intent is not None and intent.verb == "see":
            return int(bank.countable[rng.integers(len(bank.countable))])
        if goal is None or goal.colour is None or goal.shape is None:
            return int(rng.integers(len(bank.cells))) if rng.random() < 0.5 else None
        if rng.random() < 0.15:
            return None
        pair = (goal.colour, goal.shape)
        draw = rng.random()
        if draw < 0.16 and len(bank.centred[pair]) and (goal.verb != "find" or rng.random() < 0.6):
            return int(bank.centred[pair][rng.integers(len(bank.centred[pair]))])
        if draw < 0.7:
            return int(bank.by_pair[pair][rng.integers(len(bank.by_pair[pair]))])
        return int(rng.integers(len(bank.cells)))

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


def _intent(ids: tuple[int, int, int]) -> Intent:
    return Intent(VERBS[ids[0]], COLOURS[ids[1] - 1] if ids[1] else None, SHAPES[ids[2] - 1] if ids[2] else None)


class Sequences(torch.utils.data.IterableDataset[dict[str, torch.Tensor]]):
    """Endless padded batches; every tensor is [B, T] or [B, T, k], ticks' sensors [B, TICKS, k]."""

    def __init__(self, frames: FrameBank, tracks: TrackBank, batch: int, seed: int) -> None:
        self._builder, self._batch, self._seed = Builder(frames, tracks), batch, seed

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self._seed, worker.id if worker else 0])
        while True:
            yield collate([self._builder.build(rng) for _ in range(self._batch)], rng)


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
        "match": padded("match", IGNORE, np.int64),
    }
    for name, dtype in (("force", np.float32), ("newtons", np.float32), ("double", np.int64), ("pose", np.float32)):
        batch[name] = torch.from_numpy(np.asarray([getattr(s, name) for s in items], dtype))
    batch["track"] = torch.tensor([s.track for s in items])
    batch["window"] = torch.from_numpy(np.where(rng.random(len(items)) < 0.3, 2000, rng.integers(140, 513, len(items))))
    return batch


def bank_paths(folder: Path) -> tuple[Path, Path]:
    """Where the encoded frames and tracks are kept."""
    return folder / "frames_bank.npz", folder / "tracks_bank.npz"
