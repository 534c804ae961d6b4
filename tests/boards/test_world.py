"""The world: determinism, servos, senses, geometry of what the camera sees."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from innervate.boards.emulator import make_still, make_world
from innervate.boards.emulator.scenario import AudioInput, Scenario, SqueezeInput, TextInput
from innervate.boards.emulator.scene import COLOURS, SHAPES, Colour, SceneObject, Seen, Shape, look_up
from innervate.boards.emulator.servo import ACCELERATION_LIMIT_DEG_S2, RATE_LIMIT_DEG_S
from innervate.boards.emulator.still import StillWorld
from innervate.boards.emulator.studio import Studio
from innervate.boards.emulator.world import World
from innervate.runtime.ali.errors import ScenarioError

MS = 1_000_000
TICK = 80 * MS
TONE = (8000 * np.sin(np.arange(8000) * 0.3)).astype(np.int16)
SCENARIO = Scenario(
    duration_s=4.0,
    seed=11,
    objects=(SceneObject("cube", "red", 20.0, -5.0), SceneObject("ball", "blue", -20.0, 5.0, pan_rate_deg_s=15.0)),
    inputs=(
        AudioInput(0.5, pcm=TONE, gain_db=-6.0),
        SqueezeInput(1.0, ((0.0, 0.0), (0.3, 12.0), (1.0, 12.0), (1.2, 0.0))),
        TextInput(0.0, "hello"),
        TextInput(1.0, "look left"),
    ),
    noise=np.arange(-50, 50, dtype=np.int16),
)


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    with Studio() as made:
        yield made


def live(world: World, ticks: int, look: bool = True) -> list[bytes]:
    """Drive a world through `ticks` and keep the bytes of every sense."""
    kept = []
    for tick in range(1, ticks + 1):
        if tick == 5:
            world.drive(50.0, -12.0)
        if tick == 12:
            world.hold()
        now = tick * TICK
        world.advance_to(now)
        picture = world.frame().tobytes() if look else b""
        kept.append(picture + world.audio(now - TICK, now).tobytes())
        kept.append(world.force(now - TICK, now).tobytes() + world.pose().tobytes() + world.typed(now - TICK, now))
    return kept


def test_same_seed_gives_the_same_bytes_from_every_sense() -> None:
    with World(SCENARIO) as one, World(SCENARIO) as other:
        assert live(one, 20) == live(other, 20)


def test_another_seed_gives_another_light_and_noise() -> None:
    with World(SCENARIO, seed=1) as one, World(SCENARIO, seed=2) as other:
        assert not np.array_equal(one.frame(), other.frame())
        assert not np.array_equal(one.audio(0, TICK), other.audio(0, TICK))


def test_looking_does_not_change_what_happens() -> None:
    with World(SCENARIO) as one, World(SCENARIO) as other:
        blind = live(one, 12, look=False)[1::2]
        assert blind == live(other, 12)[1::2]


def test_time_cut_differently_gives_the_same_world() -> None:
    with World(SCENARIO) as one, World(SCENARIO) as other:
        one.drive(40.0, 10.0)
        other.drive(40.0, 10.0)
        one.advance_to(480 * MS)
        for t_ms in (7, 8, 123, 300, 480):
            other.advance_to(t_ms * MS)
        assert np.array_equal(one.pose(), other.pose())
        assert np.array_equal(one.frame(), other.frame())
        assert np.array_equal(one.force(0, 480 * MS), other.force(0, 480 * MS))


def test_time_never_goes_back() -> None:
    with World(SCENARIO) as world:
        world.advance_to(TICK)
        with pytest.raises(ValueError, match="time never goes back"):
            world.advance_to(TICK - 1)


@pytest.mark.parametrize("make", [World, StillWorld])
def test_head_obeys_its_limits_and_settles(make: type[World] | type[StillWorld]) -> None:
    world = make(Scenario())
    world.drive(500.0, -500.0)
    last = world.pose()
    for k in range(1, 100):
        world.advance_to(k * 10 * MS)
        pose = world.pose()
        assert np.abs(pose[2:]).max() <= 1.02 * RATE_LIMIT_DEG_S
        # the joint follows the servo's reference by a spring: a tenth more for a moment
        assert np.abs(pose[2:] - last[2:]).max() <= 1.1 * ACCELERATION_LIMIT_DEG_S2 * 0.010
        assert abs(pose[0]) <= 90.05 and abs(pose[1]) <= 30.05
        last = pose
    assert last == pytest.approx([90.0, -30.0, 0.0, 0.0], abs=0.02)
    world.close()


@pytest.mark.parametrize("make", [World, StillWorld])
def test_hold_stops_within_150_ms_without_going_back(make: type[World] | type[StillWorld]) -> None:
    world = make(Scenario())
    world.drive(90.0, 0.0)
    world.advance_to(300 * MS)
    assert world.pose()[2] == pytest.approx(RATE_LIMIT_DEG_S, abs=0.5)
    world.hold()
    pans = []
    for t_ms in range(302, 452, 2):
        world.advance_to(t_ms * MS)
        pans.append(float(world.pose()[0]))
    assert np.diff(pans).min() >= -0.03
    stopped = world.pose()
    assert abs(stopped[2]) < 0.5
    world.advance_to(1000 * MS)
    assert world.pose()[0] == pytest.approx(stopped[0], abs=0.02)
    world.close()


def test_setpoints_must_be_finite() -> None:
    with World(Scenario()) as world, pytest.raises(ValueError, match="finite"):
        world.drive(math.nan, 0.0)


def test_sound_is_mixed_with_gain_noise_and_the_microphone() -> None:
    with World(SCENARIO) as world:
        assert world.audio(0, TICK).dtype == np.int16
        assert len(world.audio(0, TICK)) == 1280
        second = world.audio(0, 1_000 * MS).astype(float)
        track = np.resize(np.arange(-50, 50), 16000)
        quiet = second[:7000] - track[:7000]
        assert 3.0 < quiet.std() < 5.0  # the microphone's own noise
        heard = second[8000:16000] - track[8000:16000]
        assert np.abs(heard - TONE * 10 ** (-6 / 20)).max() < 30
        cut = [world.audio(a * MS, b * MS) for a, b in ((0, 40), (40, 433), (433, 1000))]
        assert np.array_equal(np.concatenate(cut), second)
        assert len(world.audio(TICK, TICK)) == 0


@pytest.mark.parametrize("make", [World, StillWorld])
def test_grip_reads_the_hand_within_a_tenth_of_a_newton(make: type[World] | type[StillWorld]) -> None:
    world = make(SCENARIO)
    assert len(world.force(-1, 0)) == 1  # the sample at t = 0
    world.advance_to(3_000 * MS)
    felt = world.force(0, 3_000 * MS)
    assert felt.dtype == np.float32 and len(felt) == 300
    t_s = np.arange(1, 301) * 0.01 - 1.0
    true = np.interp(t_s, [0.0, 0.3, 1.0, 1.2], [0.0, 12.0, 12.0, 0.0])
    assert np.abs(felt - true).max() < 0.1
    assert felt.min() >= 0.0
    world.close()


def test_force_of_the_future_or_the_far_past_is_refused() -> None:
    with World(SCENARIO) as world:
        world.advance_to(25_000 * MS)
        with pytest.raises(ValueError, match="advance first"):
            world.force(24_990 * MS, 25_010 * MS)
        with pytest.raises(ValueError, match="20 s before"):
            world.force(0, TICK)
        assert len(world.force(24_920 * MS, 25_000 * MS)) == 8


def test_typed_text_arrives_once_with_its_newline() -> None:
    with World(SCENARIO) as world:
        assert world.typed(0, TICK) == b"hello\n"
        assert world.typed(TICK, 1_000 * MS) == b""
        assert world.typed(1_000 * MS, 1_000 * MS + 1) == b"look left\n"


def test_worlds_without_a_scenario_never_end() -> None:
    with make_world(None) as world:
        assert world.end_ns > 10**15 and world.truth() == []
        assert world.frame().shape == (96, 96, 3)
    still = make_still(None)
    assert still.frame().shape == (96, 96, 3) and still.end_ns > 10**15


def test_both_worlds_give_the_same_sound_force_and_truth(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(
        '[run]\nduration_s = 2.0\nseed = 3\n[[object]]\nshape = "cone"\ncolour = "white"\npan_deg = 5.0\n'
        '[[input]]\nt_s = 0.2\nkind = "squeeze"\nforce_n = [[0.0, 3.0], [0.4, 9.0]]\n'
    )
    still = make_still(file, 5)
    with make_world(file, 5) as world:
        assert world.end_ns == still.end_ns == 2_000 * MS
        world.advance_to(800 * MS)
        still.advance_to(800 * MS)
        assert np.array_equal(world.audio(0, 800 * MS), still.audio(0, 800 * MS))
        assert world.force(0, 800 * MS) == pytest.approx(still.force(0, 800 * MS), abs=1e-5)
        assert world.truth() == still.truth()


# -- what the camera sees ---------------------------------------------------------------------------------------------


def patch(frame: np.ndarray, empty: np.ndarray) -> tuple[float, float]:
    """Bearings in degrees of the centre of what differs between two frames."""
    differs = np.abs(frame.astype(int) - empty.astype(int)).sum(axis=2) > 24
    rows, columns = np.nonzero(differs)
    assert len(rows) >= 12
    x = (47.5 - (columns.min() + columns.max()) / 2) / 48 * math.tan(math.radians(30))
    z = (47.5 - (rows.min() + rows.max()) / 2) / 48 * math.tan(math.radians(30))
    return math.degrees(math.atan(x)), math.degrees(math.atan2(z, math.hypot(1.0, x)))


@pytest.mark.parametrize("head", [(0.0, 0.0), (60.0, 20.0), (-85.0, -28.0)])
@pytest.mark.parametrize("offset", [(0.0, 0.0), (15.0, 8.0), (-22.0, -10.0)])
def test_objects_appear_at_their_bearing(studio: Studio, head: tuple[float, float], offset: tuple[float, float]) -> None:
    item = SceneObject("ball", "red", head[0] + offset[0], head[1] + offset[1])
    studio.arrange([], 5)
    empty = studio.look(*head)
    studio.arrange([item], 5)
    (seen,) = look_up([item], *head, 0.0)
    assert seen.in_view
    bearing = patch(studio.look(*head), empty)
    # a ball off the axis is drawn as an ellipse whose middle lies a little outwards
    assert bearing == pytest.approx((seen.bearing_pan_deg, seen.bearing_tilt_deg), abs=1.0)


def test_left_is_left_and_up_is_up(studio: Studio) -> None:
    studio.arrange([], 1)
    empty = studio.look(0.0, 0.0)
    studio.arrange([SceneObject("cube", "red", 15.0, 10.0)], 1)
    differs = np.abs(studio.look(0.0, 0.0).astype(int) - empty.astype(int)).sum(axis=2) > 24
    rows, columns = np.nonzero(differs)
    assert columns.max() < 48 and rows.max() < 48


def test_things_in_motion_and_out_of_view(studio: Studio) -> None:
    item = SceneObject("ball", "blue", 170.0, 0.0, pan_rate_deg_s=20.0)
    assert item.pan_at(1.0) == pytest.approx(-170.0)
    behind, _ = look_up([item, item], 0.0, 0.0, 0.0)
    assert behind == Seen("blue", "ball", 170.0, 0.0, 0.8, behind.bearing_pan_deg, behind.bearing_tilt_deg, False)
    edge = [SceneObject("ball", "blue", pan) for pan in (29.0, 31.0, -29.0, -31.0)]
    assert [seen.in_view for seen in look_up(edge, 0.0, 0.0, 0.0)] == [True, False, True, False]


@pytest.mark.parametrize("shape", SHAPES)
def test_objects_at_80_cm_are_8_to_16_pixels_wide(studio: Studio, shape: Shape) -> None:
    for seed in range(6):
        studio.arrange([], seed)
        empty = studio.look(0.0, 0.0)
        studio.arrange([SceneObject(shape, "yellow", 0.0)], seed)
        differs = np.abs(studio.look(0.0, 0.0).astype(int) - empty.astype(int)).sum(axis=2) > 24
        rows, columns = np.nonzero(differs)
        assert 7 <= np.ptp(columns) + 1 <= 16, seed
        assert 9 <= np.ptp(rows) + 1 <= 18, seed


def named(rgb: np.ndarray) -> str:
    """The colour name of a mean RGB, by simple rules that hold under every light."""
    red, green, blue = (rgb / rgb.max()).tolist()
    if min(red, green, blue) > 0.72:
        return "white"
    if min(red, green) > 0.6:
        return "yellow"
    if green == 1.0:
        return "green"
    if blue < 0.5:
        return "red"
    return "purple" if red > 0.55 else "blue"


@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_unambiguous_under_every_light(studio: Studio, colour: Colour) -> None:
    for seed in range(60):
        for t_s in (0.0, 7.0):
            studio.arrange([SceneObject(SHAPES[seed % 4], colour, 0.0)], seed)
            middle = studio.look(0.0, 0.0, t_s)[46:51, 46:50].reshape(-1, 3).mean(axis=0)
            assert named(middle) == colour, (seed, middle)


def test_frames_depend_only_on_the_arguments(studio: Studio) -> None:
    scenes = [([SceneObject(SHAPES[k % 4], COLOURS[k % 6], 5.0 * k)], k) for k in range(4)]
    first = []
    for objects, seed in scenes:
        studio.arrange(objects, seed)
        first.append(studio.look(3.0, -4.0, 1.0))
    for (objects, seed), frame in reversed(list(zip(scenes, first, strict=True))):
        studio.arrange(objects, seed)
        assert np.array_equal(studio.look(3.0, -4.0, 1.0), frame)


def test_light_drifts(studio: Studio) -> None:
    studio.arrange([], 4)
    assert not np.array_equal(studio.look(0.0, 0.0, 0.0), studio.look(0.0, 0.0, 3.0))


def test_too_many_objects_are_refused(studio: Studio) -> None:
    with pytest.raises(ScenarioError, match="13 objects"):
        studio.arrange([SceneObject("ball", "red", 0.0)] * 13, 0)


def test_close_may_be_called_twice() -> None:
    made = Studio()
    made.look(0.0, 0.0)
    made.close()
    made.close()
    assert made.look(0.0, 0.0).shape == (96, 96, 3)  # a new renderer
    made.close()


@pytest.mark.parametrize("gl", ["bogus", "glfw"])
def test_a_renderer_that_cannot_start_is_a_device_error(gl: str) -> None:
    program = "from innervate.boards.emulator import make_world; make_world(None).frame()"
    links = str(Path(__file__).parents[2] / ".links")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": links, "MUJOCO_GL": gl})
    assert done.returncode == 1
    assert "DeviceError: emulator: " in done.stderr and gl in done.stderr and "apt-get install libosmesa6" in done.stderr
