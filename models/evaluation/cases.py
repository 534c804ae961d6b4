"""The rows of the table: seeded cases, each a scenario and what must follow.

Case k of a row is a function of (row, k, seed, voices) alone, so that variants of a model meet the same cases. Seeds of rooms and light
are 2^31 and up, where training never draws; voices are held out from training; one case in four is typed rather than spoken.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from innervate.boards.emulator.scenario import RATE_HZ, AudioInput, Scenario, SqueezeInput
from innervate.boards.emulator.scene import FOV_DEG, SceneObject, look_up
from innervate.models.evaluation.judge import Aimed, Answered, AnsweredForce, Expectation, Followed, Quiet, Stilled, Turned
from innervate.models.evaluation.sentences import another
from innervate.models.evaluation.sound import SNR_DB, Script, coloured
from innervate.models.language import COLOURS, DIRECTIONS, HELD_OUT, SHAPES, TRAINED_PAIRS, describe

Pair = tuple[str, str]

HELD_OUT_PAIRS: tuple[Pair, ...] = tuple(sorted(HELD_OUT))
ALL_PAIRS: tuple[Pair, ...] = (*TRAINED_PAIRS, *HELD_OUT_PAIRS)
ROOM_SEED_MIN, ROOM_SEED_MAX = 2**31, 2**32
FRAME_PX = 96
FOCAL_PX = FRAME_PX / 2 / math.tan(math.radians(FOV_DEG / 2))
BODY_M = 0.075  # half the height of the largest things, about
BORDER_PX = 4.0
APART_DEG = 12.0  # centres of things in a scene
QUIET_S = 60.0  # of a case of the row "false"
ANSWER_S = 3.0  # from the end of a question to the end of the run


@dataclass(frozen=True)
class Case:
    """One scenario with what must follow. `said`: (t_s, what was said or typed, by whom)."""

    row: str
    number: int
    scenario: Scenario
    expected: Expectation
    said: tuple[tuple[float, str], ...]


class _Draft:
    """A case in the making: its generator, its script, its objects."""

    def __init__(self, row: str, number: int, seed: int, group: str) -> None:
        self.row, self.number = row, number
        self.rng = np.random.default_rng([seed, *row.encode(), number, 0xE7A1])
        self.script = Script(self.rng, group)
        self.by = "keys" if number % 4 == 3 else "voice"
        self.begin_s = float(self.rng.uniform(0.4, 1.2))
        self.objects: list[SceneObject] = []

    def case(self, duration_s: float, expected: Expectation, squeezes: tuple[SqueezeInput, ...] = (), snr_db: float | None = SNR_DB) -> Case:
        """Finish it."""
        ticks = math.ceil(duration_s / 0.08 - 1e-9)
        duration_s = round(ticks * 0.08, 2)
        sound = AudioInput(0.0, pcm=self.script.track(duration_s, snr_db))
        room = int(self.rng.integers(ROOM_SEED_MIN, ROOM_SEED_MAX))
        scenario = Scenario(duration_s, room, tuple(self.objects), (sound, *self.script.typed, *squeezes))
        return Case(self.row, self.number, scenario, expected, tuple(self.script.said))

    def thing(self, pair: Pair, pan_deg: float, tilt_deg: float, rate_deg_s: float = 0.0) -> SceneObject:
        """Return a thing at a random distance."""
        distance_m = float(self.rng.uniform(0.5, 1.3))
        return SceneObject(pair[1], pair[0], pan_deg, tilt_deg, distance_m, rate_deg_s)  # type: ignore[arg-type]

    def pair(self, pairs: tuple[Pair, ...]) -> Pair:
        """Draw one of `pairs`."""
        return pairs[int(self.rng.integers(len(pairs)))]

    def sign(self) -> float:
        """Return 1 or -1."""
        return float(self.rng.choice([-1.0, 1.0]))

    def add_distractors(self, most: int, target: Pair | None, clear_tilt: float | None = None) -> None:
        """Put 0 to `most` other things about, half of them like the target in colour or shape.

        `clear_tilt`: where something moves; they stay away from its path.
        """
        for _ in range(int(self.rng.integers(0, most + 1))):
            pairs = [p for p in ALL_PAIRS if p != target]
            if target is not None and self.rng.random() < 0.5:
                pairs = [p for p in pairs if p[0] == target[0] or p[1] == target[1]]
            for _attempt in range(20):
                pan, tilt = float(self.rng.uniform(-85, 85)), float(self.rng.uniform(-26, 26))
                if clear_tilt is not None and abs(tilt - clear_tilt) < APART_DEG:
                    continue
                if all(math.hypot(pan - o.pan_deg, tilt - o.tilt_deg) >= APART_DEG for o in self.objects):
                    self.objects.append(self.thing(self.pair(tuple(pairs)), pan, tilt))
                    break


def _directions(draft: _Draft) -> Case:
    verb = tuple(DIRECTIONS)[draft.number % len(DIRECTIONS)]
    draft.add_distractors(3, None)
    begin_s = draft.begin_s
    if verb == "ahead" or draft.rng.random() < 0.3:
        first = str(draft.rng.choice([v for v in DIRECTIONS if v not in ("ahead", verb)]))
        begin_s = draft.script.ask(f"look {first}", begin_s, draft.by) + float(draft.rng.uniform(1.8, 2.5))
    end_s = draft.script.ask("look straight ahead" if verb == "ahead" else f"look {verb}", begin_s, draft.by)
    pan, tilt = DIRECTIONS[verb]
    return draft.case(end_s + 3.2, Turned(pan, tilt, begin_s, end_s + 3.0))


def _find(draft: _Draft, pairs: tuple[Pair, ...]) -> Case:
    pair = draft.pair(pairs)
    if draft.number % 3 == 0:  # out of view at first
        pan = draft.sign() * float(draft.rng.uniform(38.0, 82.0))
    else:
        pan = float(draft.rng.uniform(-23.0, 23.0))
    target = draft.thing(pair, pan, float(draft.rng.uniform(-20.0, 20.0)))
    draft.objects.append(target)
    draft.add_distractors(3, pair)
    verb = str(draft.rng.choice(["look at", "find"]))
    end_s = draft.script.ask(f"{verb} the {pair[0]} {pair[1]}", draft.begin_s, draft.by)
    return draft.case(end_s + 5.2, Aimed(target, end_s + 5.0))


PATH_DEG = 80.0  # to either side, where moving things stay
FOLLOW_S = 8.0  # of a run: the command takes two of them, the last four are judged


def _moving(draft: _Draft, pair: Pair, slowest: float) -> SceneObject:
    """Return something that passes by at `slowest` to 20 degrees/s and stays within PATH_DEG for the run."""
    rate = draft.sign() * float(draft.rng.uniform(slowest, 20.0))
    way = abs(rate) * FOLLOW_S
    start = float(draft.rng.uniform(0.0, 2 * PATH_DEG - way)) - PATH_DEG + (way if rate < 0 else 0.0)
    return draft.thing(pair, start, float(draft.rng.uniform(-12.0, 12.0)), rate)


def _follow(draft: _Draft) -> Case:
    pair = draft.pair(TRAINED_PAIRS)
    target = _moving(draft, pair, 3.0)
    draft.objects.append(target)
    draft.add_distractors(2, pair, target.tilt_deg)
    draft.script.ask(f"follow the {pair[0]} {pair[1]}", 0.4, draft.by)
    return draft.case(FOLLOW_S, Followed(target, FOLLOW_S - 4.0, FOLLOW_S))


def _set_moving(draft: _Draft) -> float:
    """Have the head move for as long as nothing stops it; return when it surely does."""
    pair = draft.pair(TRAINED_PAIRS)
    if draft.number % 2:
        target = _moving(draft, pair, 10.0)
        draft.objects.append(target)
        draft.add_distractors(2, pair, target.tilt_deg)
        draft.script.ask(f"follow the {pair[0]} {pair[1]}", 0.3, "keys")
    else:  # it looks for what is not there
        draft.add_distractors(3, pair)
        verb = str(draft.rng.choice(["look at", "find", "follow"]))
        draft.script.ask(f"{verb} the {pair[0]} {pair[1]}", 0.3, "keys")
    return float(draft.rng.uniform(2.0, 4.0))


def _stop(draft: _Draft) -> Case:
    asked_s = _set_moving(draft)
    end_s = draft.script.ask("stop", asked_s, "voice")
    return draft.case(end_s + 1.6, Stilled(asked_s, end_s + 0.5))


def _squeeze(draft: _Draft) -> Case:
    asked_s = _set_moving(draft)
    rng, points, at, crossings = draft.rng, [(0.0, 0.0)], 0.0, []
    apart_s = float(rng.uniform(0.3, 0.75))  # between the two rises over 5 N
    peak = float(rng.uniform(7.0, 35.0))
    rise = float(rng.uniform(0.03, 0.1))
    for k in range(2):
        at = k * apart_s
        crossings.append(at + rise * 5.0 / peak)
        hold = float(rng.uniform(0.02, apart_s - 2 * rise - 0.06)) if k == 0 else float(rng.uniform(0.03, 0.3))
        points += [(at + (0.0 if k else 0.001), 0.0), (at + rise, peak), (at + rise + hold, peak), (at + 2 * rise + hold, 0.0)]
    press = SqueezeInput(asked_s, tuple(points))
    second_s = asked_s + crossings[1]
    return draft.case(second_s + 1.4, Stilled(asked_s, second_s + 0.25), (press,))


def _fits(objects: list[SceneObject], inside: int) -> bool:
    """Return whether the first `inside` things are wholly in view of a head at rest, the others wholly out, none before another."""
    spots: list[tuple[float, float, float]] = []
    for k, (item, seen) in enumerate(zip(objects, look_up(objects, 0.0, 0.0, 0.0), strict=True)):
        radius = FOCAL_PX * BODY_M / item.distance_m
        if abs(seen.bearing_pan_deg) > 80.0:
            continue
        x = FOCAL_PX * math.tan(math.radians(seen.bearing_pan_deg))
        y = FOCAL_PX * math.tan(math.radians(seen.bearing_tilt_deg)) * math.hypot(1.0, x / FOCAL_PX)
        far = max(abs(x), abs(y))
        if k < inside and far + radius > FRAME_PX / 2 - BORDER_PX:
            return False
        if k >= inside and far - radius < FRAME_PX / 2 + BORDER_PX:
            return False
        if k < inside:
            if any(math.hypot(x - a, y - b) < radius + r + 2.0 or abs(x - a) < BORDER_PX for a, b, r in spots):
                return False
            spots.append((x, y, radius))
    return True


def _see(draft: _Draft, pairs: tuple[Pair, ...]) -> Case:
    inside = int(draft.rng.integers(0, 4))
    if pairs is not TRAINED_PAIRS:
        inside = max(1, inside)
    while True:
        chosen = [pairs[int(i)] for i in draft.rng.choice(len(pairs), inside, replace=False)]
        if inside and pairs is not TRAINED_PAIRS and not any(p in HELD_OUT for p in chosen):
            continue
        objects = [draft.thing(p, float(draft.rng.uniform(-26, 26)), float(draft.rng.uniform(-26, 26))) for p in chosen]
        for _ in range(int(draft.rng.integers(0, 3))):
            objects.append(draft.thing(draft.pair(TRAINED_PAIRS), draft.sign() * float(draft.rng.uniform(36, 85)), float(draft.rng.uniform(-26, 26))))
        if _fits(objects, inside):
            break
    draft.objects = objects
    end_s = draft.script.ask("what do you see", draft.begin_s, draft.by)
    from_left = sorted(objects[:inside], key=lambda o: -o.pan_deg)
    return draft.case(end_s + ANSWER_S, Answered(describe([(o.colour, o.shape) for o in from_left])))


def _force(draft: _Draft) -> Case:
    draft.add_distractors(3, None)
    force_n = 0.0 if draft.rng.random() < 0.1 else float(draft.rng.uniform(1.0, 40.0))
    end_s = draft.script.ask("how hard am i squeezing", draft.begin_s, draft.by)
    duration_s = end_s + ANSWER_S
    rise = float(draft.rng.uniform(0.05, 0.3))
    press = SqueezeInput(0.05, ((0.0, 0.0), (rise, force_n), (duration_s, force_n)))
    return draft.case(duration_s, AnsweredForce(force_n), (press,))


def _quiet(draft: _Draft, by: str) -> Case:
    """A minute: in one of four nothing is said, first in silence, then in noise as loud as speech; sentences in the others."""
    draft.add_distractors(3, None)
    rng, script = draft.rng, draft.script
    if draft.number % 4 == 0 and by == "voice":
        case = draft.case(QUIET_S, Quiet(), snr_db=None)
        sound = case.scenario.inputs[0]
        assert isinstance(sound, AudioInput) and sound.pcm is not None
        half = len(sound.pcm) // 2
        for start in range(half, len(sound.pcm), 5 * RATE_HZ):  # another noise every 5 s
            piece = sound.pcm[start : start + 5 * RATE_HZ]
            piece[:] = np.clip(coloured(rng, len(piece)) * script.level, -32768, 32767).astype(np.int16)
        return case
    at_s = draft.begin_s
    while at_s < QUIET_S - 6.0:
        at_s = script.ask(another(rng), at_s, by) + float(rng.uniform(0.5, 2.5))
    return draft.case(QUIET_S, Quiet(tuple(script.said)))


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. `goal` is a share, or for `false` a count in ten minutes; None: printed for information."""

    name: str
    title: str
    goal: float | None
    make: Callable[[_Draft], Case]


ROWS = {
    row.name: row
    for row in (
        Row("directions", "directions: pose within 8 degrees", 0.97, _directions),
        Row("find", "look at, find: within 5 degrees after 5 s", 0.92, lambda d: _find(d, TRAINED_PAIRS)),
        Row("find_held_out", "the same, the four held-out pairs", 0.80, lambda d: _find(d, HELD_OUT_PAIRS)),
        Row("follow", "follow: RMS error at most 8 degrees", 0.85, _follow),
        Row("stop", "stop heard: still within 0.5 s", 0.95, _stop),
        Row("squeeze", "double squeeze: still within 0.25 s", 0.98, _squeeze),
        Row("see", "what do you see: exact answer", 0.85, lambda d: _see(d, TRAINED_PAIRS)),
        Row("see_held_out", "the same with a held-out pair", None, lambda d: _see(d, ALL_PAIRS)),
        Row("force", "how hard: within 10 % or 1 N", 0.95, _force),
        Row("false", "false actions in 10 minutes of other sounds", 1.0, lambda d: _quiet(d, "voice")),
        Row("false_typed", "the same, other sentences typed", None, lambda d: _quiet(d, "keys")),
    )
}
COUNTED = ("false", "false_typed")  # rows whose reasons are counted, in minutes of QUIET_S

assert {c for c, _ in ALL_PAIRS} == set(COLOURS) and {s for _, s in ALL_PAIRS} == set(SHAPES)


def make_case(row: str, number: int, seed: int, group: str) -> Case:
    """Draw case `number` of `row` under `seed`, spoken by voices of `group`. Raises DeviceError without a synthesiser."""
    return ROWS[row].make(_Draft(row, number, seed, group))
