"""Training sequences: what is emitted when, and what may be looked at."""

import math

import numpy as np
import pytest
import torch

from innervate.boards.emulator.scene import SceneObject
from innervate.models.banks import FrameBank, TrackBank
from innervate.models.language import COLOURS, HELD_OUT, SHAPES, VERBS, Intent
from innervate.models.policy import attention_mask
from innervate.models.scenes import draw_scene
from innervate.models.sequences import (
    EO_MOTOR,
    FRAME,
    IDLE,
    IGNORE,
    SO_MOTOR,
    SOUND,
    TOKEN,
    Builder,
    Sequence,
    collate,
    named,
)
from innervate.models.speech import TICKS
from innervate.models.squeezes import double_labels


@pytest.fixture(scope="module")
def builder() -> Builder:
    drawn = [draw_scene(i, aimed=i % 3 == 0) for i in range(900)]
    drawn = [(head, objects, seed, t) for head, objects, seed, t in drawn]
    frames = FrameBank.index(
        np.zeros((900, 6, 129), np.float16), np.zeros((900, 6), np.int16), np.array([d[0] for d in drawn], np.float32), [d[1] for d in drawn]
    )
    spoken = [[(100 + 40 * i % 300, Intent("find", "red", "cube").ids), (500, Intent("stop").ids)] for i in range(20)]
    return Builder(frames, TrackBank(np.zeros((20, TICKS, 320), np.float16), spoken))


@pytest.fixture(scope="module")
def many(builder: Builder) -> list[Sequence]:
    rng = np.random.default_rng(5)
    return [builder.build(rng) for _ in range(60)]


def test_every_opening_is_closed_before_the_next_thing_is_said(many: list[Sequence]) -> None:
    for s in many:
        is_open = False
        for kind, source in zip(s.kind, s.source, strict=True):
            if kind != TOKEN:
                continue
            if source == SO_MOTOR:
                is_open = True
            elif source == EO_MOTOR:
                assert is_open
                is_open = False


def test_the_motor_is_driven_only_while_open_and_only_to_where_it_may_go(many: list[Sequence]) -> None:
    for s in many:
        for pin, delta in zip(s.pin, s.delta, strict=True):
            if not math.isnan(delta[0]):
                assert pin >= 0
                assert s.source[pin] == SO_MOTOR


def test_no_goal_and_no_answer_names_a_held_out_pair(many: list[Sequence]) -> None:
    for s in many:
        said = bytes(e for e in s.emit if 0 <= e < 256).decode()
        assert not any(f"{c} {shape}" in said for c, shape in HELD_OUT)
        for verb, colour, shape in s.goal:
            assert verb < len(VERBS)
            assert (colour, shape) not in {(5, 1), (4, 4), (2, 2), (6, 3)}


def test_all_skills_occur(many: list[Sequence]) -> None:
    emitted = {e for s in many for e in s.emit}
    assert {IDLE, SO_MOTOR, EO_MOTOR, 10} <= emitted
    assert {1, 0} <= {v for s in many for v in s.visible}


def test_questions_are_answered_from_the_frame_of_the_same_tick(builder: Builder, many: list[Sequence]) -> None:
    checked = 0
    for s in many:
        text, frame = b"", -1
        for kind, source, emit in zip(s.kind, s.source, s.emit, strict=True):
            if kind == FRAME:
                frame = source // 6
            if 0 <= emit < 256:
                text += bytes([emit])
            if emit == 10:
                if not text.startswith(b"about"):
                    words = text.decode().strip()
                    assert all(f"a {c} {shape}" in words for c, shape in builder.frames.seen(frame))
                    checked += 1
                text = b""
    assert checked > 5


def test_attention_sees_the_window_and_the_pin_and_nothing_to_come(many: list[Sequence]) -> None:
    batch = collate(many[:3], np.random.default_rng(0))
    batch["window"] = torch.tensor([50, 50, 2000])
    mask = attention_mask(batch)
    length = mask.shape[1]
    assert not mask[:, torch.arange(length - 1), torch.arange(1, length)].any()
    row = 300
    pin = int(batch["pin"][0, row])
    visible = set(torch.nonzero(mask[0, row]).flatten().tolist())
    assert visible == set(range(row - 49, row + 1)) | ({pin} if pin >= 0 else set())
    assert bool(mask[2, row, : row + 1].all())


def test_most_spoken_stops_have_something_to_stop(many: list[Sequence]) -> None:
    halted = sum(1 for s in many for emit, weight in zip(s.emit, s.weight, strict=True) if emit == EO_MOTOR and weight > 1)
    assert halted > 0.5 * len(many)


def test_a_stretch_of_a_track_hears_that_stretch(builder: Builder) -> None:
    s = builder.build(np.random.default_rng(3), 32)
    assert [source for kind, source in zip(s.kind, s.source, strict=True) if kind == SOUND] == list(range(32))
    assert 0 < s.first <= TICKS - 32
    assert len(s.force) == len(s.pose) == len(s.double) == 32


def test_what_is_in_the_middle_is_meant_as_often_as_not(builder: Builder, many: list[Sequence]) -> None:
    meant = other = 0
    for s in many:
        for at, (kind, source) in enumerate(zip(s.kind, s.source, strict=True)):
            goal = s.goal[s.pin[at]] if s.pin[at] >= 0 else (0, 0, 0)
            if kind != FRAME or source % 6 or not goal[1]:
                continue
            pan, tilt = builder.frames.heads[source // 6]
            middle = [o for o in builder.frames.objects[source // 6] if math.hypot(o.pan_deg - pan, o.tilt_deg - tilt) < 3.0]
            here = any((1 + COLOURS.index(o.colour), 1 + SHAPES.index(o.shape)) == goal[1:] for o in middle)
            meant, other = meant + here, other + (bool(middle) and not here)
    assert meant + other > 100
    assert 0.25 < meant / (meant + other) < 0.6


def test_every_byte_of_a_name_says_what_it_names() -> None:
    answer = "a red cube and a blue ball"
    names = named(answer, [("red", "cube"), ("blue", "ball")])
    assert len(names) == len(answer) + 1
    assert names[0] == names[9] == (0, 0)
    assert names[10] == names[25] == (2, 1)
    assert names[26] == (IGNORE, IGNORE)
    assert named("nothing", []) == [(IGNORE, IGNORE)] * 8


def pulses(*starts_s: float) -> np.ndarray:
    force = np.zeros(104 + TICKS * 8, np.float32)
    for start in starts_s:
        at = 104 + round(start * 100)
        force[at : at + 12] = 12.0
    return force


def test_two_rises_within_the_limit_are_a_double_squeeze() -> None:
    labels = double_labels(pulses(1.0, 1.5))
    assert np.flatnonzero(labels == 1).tolist() == [18, 19, 20]
    assert not (double_labels(pulses(1.0)) == 1).any()
    assert not (double_labels(pulses(1.0, 2.2)) == 1).any()
    assert (double_labels(pulses(1.0, 1.8)) == IGNORE).any()


def test_the_eye_is_asked_about_objects_that_are_drawn() -> None:
    head, objects, _, _ = draw_scene(7, aimed=True)
    assert objects and all(isinstance(o, SceneObject) for o in objects)
    assert min(math.hypot(o.pan_deg - head[0], o.tilt_deg - head[1]) for o in objects) < 25.0
