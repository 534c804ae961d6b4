"""Figures of what an owner teaches: a gesture, what it costs, what is left of it, gists.

Each function measures some rows of the table and can be called alone. Scenarios are drawn here, with seeds that no example in docs/ has.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.scenario import AudioInput, Input, Label, Scenario, SqueezeInput, TextInput
from innervate.boards.emulator.still import StillWorld
from innervate.boards.emulator.world import World
from innervate.models.bench.teach import Row
from innervate.models.evaluation.cases import make_case
from innervate.models.evaluation.judge import verdict
from innervate.models.evaluation.play import Player, Tape
from innervate.runtime.ali.registry import Registry
from innervate.runtime.ali.space import Floats
from innervate.runtime.backbone.bench import engine_pass, medians_us
from innervate.runtime.backbone.bundle import Bundle, sha256_of
from innervate.runtime.backbone.engine import Engine
from innervate.runtime.backbone.gradient import Gradient
from innervate.runtime.backbone.vocabulary import Vocabulary
from innervate.runtime.board import Board, find_board, load_board
from innervate.runtime.loop.assemble import assemble
from innervate.runtime.loop.clock import VirtualClock
from innervate.runtime.loop.device import Turn
from innervate.runtime.teach import store
from innervate.runtime.teach.gist import FOLLOWING, Compressor, Context, alike
from innervate.runtime.teach.lesson import Lesson, Order
from innervate.runtime.teach.life import live, of_twins
from innervate.runtime.teach.recording import Recording, labelled, make_recorder
from innervate.runtime.teach.rehearsal import Beat, Rehearsal

RATE_HZ = 16_000
ACT_S, LATE_S = 2.5, 0.9  # after a gesture: time to act in; time in which it may be recognised
LEFT_DEG, NEAR_DEG = 60.0, 8.0  # where "look left" leads, and how near counts, as in the row `directions` of `innervate eval`
FRESH_SEEDS = (901, 902, 903, 904)
GIST_COMMANDS = (b"look left", b"look right", b"look up", b"follow the red cube", b"find the green ball", b"look straight ahead")
CONTEXT_ROWS, GIST_LATENTS = 200, 8
WINDOW_ROWS = 390  # with what follows, still inside the window of 512
OLD_ROWS = ("directions", "find", "follow", "stop", "squeeze", "see", "force")


def squeezes(rng: np.random.Generator, count: int) -> tuple[tuple[float, float], ...]:
    """`count` short squeezes of a hand, in seconds and newtons."""
    points, at, peak, gap = [(0.0, 0.0)], 0.0, float(rng.uniform(9, 20)), float(rng.uniform(0.14, 0.26))
    for number in range(count):
        rise, hold, fall = (float(rng.uniform(*span)) for span in ((0.04, 0.08), (0.06, 0.12), (0.04, 0.08)))
        force = peak * float(rng.uniform(0.85, 1.15))
        points += [(at, 0.0)] if number else []
        points += [(at + rise, force), (at + rise + hold, force), (at + rise + hold + fall, 0.0)]
        at += rise + hold + fall + gap
    return tuple(points)


def hand(seed: int, threes: int = 10, others: int = 12, away: bool = False) -> Scenario:
    """Somebody who squeezes three times now and then, and does other things with the hand: once, twice, long.

    `away`: after each three there is time to act, then "look right" is typed, so that the next one has something to do.
    """
    rng = np.random.default_rng(seed)
    kinds = [3] * threes + [(1, 2, 0)[i % 3] for i in range(others)]
    inputs: list[Input] = []
    labels: list[Label] = []
    at = 2.0
    for kind in rng.permutation(kinds):
        grip = ((0.0, 0.0), (0.3, 12.0), (0.3 + float(rng.uniform(0.6, 1.8)), 12.0), (2.5, 0.0)) if kind == 0 else squeezes(rng, int(kind))
        inputs.append(SqueezeInput(at, grip))
        labels.append(Label(at - 0.1, at + grip[-1][0] + 0.1, "three" if kind == 3 else "other"))
        at += grip[-1][0] + float(rng.uniform(1.2, 2.0))
        if away and kind == 3:
            inputs.append(TextInput(at + ACT_S - 1.0, "look right"))
            at += ACT_S + 1.5
    return Scenario(at + 0.5, seed, (), tuple(inputs), None, tuple(labels))


def _noise(rng: np.random.Generator, claps: int) -> npt.NDArray[np.int16]:
    """So many claps, or a hum for 0."""
    if claps == 0:
        t = np.arange(int(rng.uniform(0.4, 0.8) * RATE_HZ)) / RATE_HZ
        return (np.sin(2 * np.pi * rng.uniform(200, 900) * t) * rng.uniform(4000, 12000)).astype(np.int16)
    parts = []
    for _ in range(claps):
        length = int(0.08 * RATE_HZ)
        parts += [rng.standard_normal(length) * np.exp(-np.arange(length) / RATE_HZ / 0.015), np.zeros(int(rng.uniform(0.15, 0.25) * RATE_HZ))]
    return np.clip(np.concatenate(parts) * rng.uniform(8000, 14000), -32768, 32767).astype(np.int16)


def claps(seed: int, shown: int = 10, others: int = 10) -> Scenario:
    """Somebody who claps twice, and makes other noises."""
    rng = np.random.default_rng(seed)
    inputs: list[Input] = []
    labels: list[Label] = []
    at = 2.5
    for kind in rng.permutation([2] * shown + [i % 2 for i in range(others)]):
        pcm = _noise(rng, int(kind))
        inputs.append(AudioInput(at, pcm=pcm))
        labels.append(Label(at - 0.1, at + len(pcm) / RATE_HZ + 0.2, "clap_clap" if kind == 2 else "other"))
        at += len(pcm) / RATE_HZ + float(rng.uniform(1.4, 2.2))
    return Scenario(at + 1.0, seed, (), tuple(inputs), None, tuple(labels))


def emulator() -> Board:
    """The emulator's board in the world without a renderer."""
    return replace(load_board(find_board("emulator")), world="innervate.boards.emulator:make_still")


def shown(board: Board, bundle: Bundle, source: str, scenario: Scenario) -> Recording:
    """Record a scenario as `innervate teach --recording` does."""
    world = StillWorld(scenario)
    device, recorder = make_recorder(board, bundle, Registry(), VirtualClock(), world, source, Tape())
    device.run(world.end_ns)
    recorder.recording.spans = labelled(world)
    return recorder.recording


def teach(bundle: Bundle, folder: Path, order: Order, scenario: Scenario) -> float:
    """Teach one skill into `folder`; return the seconds that it took, showing not counted."""
    board = emulator()
    recording = shown(board, bundle, order.source, scenario)
    lesson = Lesson(order, board, bundle, folder)
    began = time.monotonic()
    lesson.keep(lesson.learn(recording))
    return time.monotonic() - began


def gesture(bundle: Bundle) -> list[Row]:
    """A new touch gesture from ten examples: recognised and acted on by the whole device, in four runs that nobody has seen."""
    with tempfile.TemporaryDirectory() as place:
        took_s = teach(bundle, Path(place), Order("three", "force", "look left"), hand(900))
        right = trials = acted = threes = 0
        for seed in FRESH_SEEDS:
            scenario = hand(seed, away=True)
            heard, poses = _listened(bundle, Path(place), "three", scenario)
            for label in scenario.labels:
                came = [t_s for t_s in heard if label.t_s <= t_s <= label.until_s + LATE_S]
                wanted = label.name == "three"
                trials, right = trials + 1, right + (len(came) == wanted)
                threes += wanted
                acted += wanted and any(abs(poses.get(round((t_s + ACT_S - 0.5) / 0.08), 0.0) - LEFT_DEG) <= NEAR_DEG for t_s in came)
    share = right / trials
    return [
        Row("a new touch gesture from 10 examples, held out", f"{right}/{trials}, {100 * share:.1f} %", "at least 95 %", share >= 0.95),
        Row("... time on one core", f"{took_s:.0f} s", "at most 60 s", took_s <= 60),
        Row("... and the head was there within two seconds", f"{acted}/{threes}"),
    ]


def _listened(bundle: Bundle, folder: Path, name: str, scenario: Scenario) -> tuple[list[float], dict[int, float]]:
    """Run the whole device with the skills of `folder`; return when `name` was recognised, and the head's pan by tick."""
    board, registry, _ = store.with_skills(emulator(), bundle, folder)
    heard: dict[int, float] = {}

    def watch(turn: Turn) -> None:
        if name in turn.samples:
            heard.setdefault(turn.samples[name].seq, turn.t_ns / 1e9)

    tape, world = Tape(), StillWorld(scenario)
    assemble(board, bundle, registry, VirtualClock(), world, tape, [watch]).run(world.end_ns)
    poses = {round(line["t_s"] / 0.08): float(line["pan_deg"]) for line in tape.lines if line["event"] == "pose"}
    return list(heard.values()), poses


def untouched(bundle: Bundle) -> list[Row]:
    """The base's files after two skills were taught and forgotten."""
    files = sorted(path for path in bundle.folder.rglob("*") if path.is_file())
    before = {path: sha256_of(path) for path in files}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        teach(bundle, folder, Order("three", "force", "look left", learnt=False), hand(900))
        teach(bundle, folder, Order("clap_clap", "mic", "look right", learnt=False), claps(900))
        taught = store.names(folder)
        for name in taught:
            store.forget(folder, name)
    same = before == {path: sha256_of(path) for path in sorted(path for path in bundle.folder.rglob("*") if path.is_file())}
    return [Row(f"base files after teaching and forgetting {len(taught)} skills", "identical" if same else "CHANGED", "bit-identical", same)]


def old_skills(bundle: Bundle, count: int = 6, rows: Sequence[str] = OLD_ROWS) -> list[Row]:
    """Cases of `innervate eval`, each played with and without two taught skills; the worst row counts."""
    plain = Player(bundle)
    worst, cases, alike = 0.0, 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        teach(bundle, folder, Order("three", "force", "look left"), hand(900))
        teach(bundle, folder, Order("clap_clap", "mic", "look right"), claps(900))
        board, registry, _ = store.with_skills(plain.board, bundle, folder)
        for row in rows:
            passed = [0, 0]
            for number in range(count):
                case = make_case(row, number, 0, "held-out")
                tapes = [_played(case.scenario, bundle, *setting) for setting in ((plain.board, plain.registry), (board, registry))]
                for i, tape in enumerate(tapes):
                    passed[i] += not verdict(case.expected, tape.lines)
                cases += 1
                alike += tapes[0].lines[:-1] == tapes[1].lines[:-1]  # all but the summary, which has wall times
            worst = max(worst, 100 * (passed[0] - passed[1]) / count)
    what = f"loss of an old skill with two taught, {len(rows)} rows of {count} cases"
    return [Row(what, f"{worst:.1f} points; {alike}/{cases} runs without any difference", "at most 1 point", worst <= 1.0)]


def _played(scenario: Scenario, bundle: Bundle, board: Board, registry: Registry) -> Tape:
    tape, world = Tape(), World(scenario)
    try:
        device = assemble(board, bundle, registry, VirtualClock(), world, tape)
        with contextlib.suppress(Exception):  # told in a fault event
            device.run(world.end_ns)
    finally:
        world.close()
    return tape


def _contexts(engine: Engine, vocabulary: Vocabulary, rows: int, moments: list[list[Floats]]) -> list[tuple[bytes, Context]]:
    """Stretches of life in which a command has been given and what it opened is still open."""
    made = []
    for number, command in enumerate(GIST_COMMANDS):
        rehearsal, at = Rehearsal(engine, vocabulary), 60 + 70 * number
        for tick in range(200):
            if tick > 3 and len(rehearsal.rows) >= rows:
                break
            packets = moments[(at + tick) % len(moments)]
            rehearsal.tick([*packets, vocabulary.rows(command + b"\n")] if tick == 2 else packets)
        made.append((command, Context(rehearsal.rows, rehearsal.open)))
    return made


def _company(bundle: Bundle) -> tuple[list[list[Floats]], Recording]:
    registry = Registry()
    recording = live(of_twins(load_board(find_board("emulator")), registry), bundle, registry, "").recording
    return [[data for name, data in moment.packets if name != "text_in"] for moment in recording.moments], recording


def gist(bundle: Bundle, variant: str = "auto") -> list[Row]:
    """200 latents of context as eight: what follows goes as it would have, and takes less time."""
    engine, gradient, vocabulary = Engine(bundle, variant), Gradient(bundle, variant), Vocabulary(bundle)
    moments, recording = _company(bundle)
    kept, without = [], []
    for _, context in _contexts(engine, vocabulary, CONTEXT_ROWS, moments):
        compressor = Compressor(engine, gradient, vocabulary, context, recording.moments)
        without.append(compressor.judge(np.zeros((0, engine.width), np.float32)).agreement)
        kept.append(compressor.compress(GIST_LATENTS).match.agreement)
    loss = 100 * (1.0 - float(np.mean(kept)))
    after = GIST_LATENTS + 1
    passes = [engine_pass(Engine(bundle, variant), length, 1) for length in (CONTEXT_ROWS + 1, after)]
    full_us, short_us = medians_us(passes)
    saved = 100 * (1 - short_us / full_us)
    lost = 100 * (1.0 - float(np.mean(without)))
    return [
        Row(
            f"gist: {CONTEXT_ROWS} latents into {GIST_LATENTS}, loss of accuracy",
            f"{loss:.1f} points ({lost:.1f} with none)",
            "at most 2 points",
            loss <= 2,
        ),
        Row("... step time saved at that context", f"{saved:.0f} % ({full_us:.0f} to {short_us:.0f} us)", "at least 25 %", saved >= 25),
    ]


def window(bundle: Bundle, variant: str = "auto") -> list[Row]:
    """What falls out of the window: how the following ticks go when the engine slides, against a window that holds everything, and with a gist.

    A slide keeps the newest half of the window and the token that opened a component, keys and values as they were; the gist is of the older half.
    """
    engine, gradient, vocabulary = Engine(bundle, variant), Gradient(bundle, variant), Vocabulary(bundle)
    moments, recording = _company(bundle)
    slid, summed = [], []
    for number, (command, context) in enumerate(_contexts(engine, vocabulary, WINDOW_ROWS, moments)):
        beats: list[list[Beat]] = []
        for slides in (False, True):
            rehearsal, at, tick = Rehearsal(engine, vocabulary), 60 + 70 * number, 0
            while len(rehearsal.rows) < len(context.rows):
                packets = moments[(at + tick) % len(moments)]
                rehearsal.tick([*packets, vocabulary.rows(command + b"\n")] if tick == 2 else packets)
                tick += 1
            if slides:
                engine._cache.prepare(engine.rows_max)  # as a full window would
            beats.append([rehearsal.tick(moments[(at + tick + k) % len(moments)]) for k in range(FOLLOWING)])
        slid += [alike(one, other) for one, other in zip(*beats, strict=True)]
        half = len(context.rows) // 2
        older = Context(context.rows[:half], context.open, context.rows[half:])
        summed.append(Compressor(engine, gradient, vocabulary, older, recording.moments).compress(GIST_LATENTS).match.agreement)
    reached = f"{100 * float(np.mean(slid)):.1f} % of ticks alike as the engine slides, {100 * float(np.mean(summed)):.1f} % with a gist"
    return [Row("what falls out of the window", reached)]


def rows(bundle: Bundle) -> Iterator[Row]:
    """Measure every row."""
    for measure in (gesture, untouched, old_skills, gist, window):
        yield from measure(bundle)
