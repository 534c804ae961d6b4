"""The boards that ship, the demo scenario, and that a device's world stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import innervate.boards
from innervate.boards.emulator import make_world
from innervate.boards.emulator.scenario import AudioInput, SqueezeInput, load_scenario
from innervate.boards.emulator.speech import speak
from innervate.runtime.ali.registry import Registry
from innervate.runtime.board import board_paths, load_board

BOARDS = Path(innervate.boards.__path__[0])
DEMO = BOARDS / "scenarios" / "demo.toml"
NAMES = {"emulator", "emulator_mcu", "laptop", "raspberry_pi_5", "raspberry_pi_4", "jetson_orin_nano"}
VOICES = {
    "look_at_the_red_cube": "en-gb+f2",
    "what_do_you_see": "en-us+m3",
    "follow_the_blue_ball": "en-gb-scotland+m7",
    "how_hard_am_i_squeezing": "en-us+f3",
}


def test_these_boards_ship() -> None:
    assert set(board_paths()) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_board_fits_its_plugins(name: str) -> None:
    board = load_board(board_paths()[name])
    registry = Registry(entry_points=False)
    assert board.name == name and board.summary and board.memory_mb
    assert [w.name for w in board.components] == ["mic", "camera", "force", "pose", "text_in", "motor", "text_out"]
    for wiring in board.components:
        entry = registry.component(wiring.plugin, wiring.name)
        assert getattr(entry, wiring.use), f"{name}: {wiring.name} has no {wiring.use}"
        board.options(wiring, entry)
        limits = board.limits(wiring, entry)
        if wiring.name == "motor":
            assert (limits["pan"].max, limits["tilt"].max, limits["pan"].rate_max) == (90.0, 30.0, 150.0)


def test_the_demo_is_what_the_readme_tells() -> None:
    demo = load_scenario(DEMO)
    sounds = [i.wav.stem for i in demo.inputs if isinstance(i, AudioInput) and i.wav]
    assert sounds == list(VOICES)
    assert sum(isinstance(i, SqueezeInput) for i in demo.inputs) == 2
    with make_world(DEMO) as world:
        assert world.end_ns == 25_000_000_000
        cube = world.truth()[0]
        assert (cube.colour, cube.shape, cube.in_view) == ("red", "cube", False)
        world.drive(cube.pan_deg, cube.tilt_deg)
        world.advance_to(6_500_000_000)
        in_view = [(s.colour, s.shape) for s in world.truth() if s.in_view]
        assert in_view == [("red", "cube"), ("green", "cone")]
        world.advance_to(10_800_000_000)
        assert any(s.colour == "blue" and s.in_view for s in world.truth())
        world.advance_to(18_500_000_000)
        assert world.force(18_000_000_000, 18_500_000_000).mean() == pytest.approx(12.0, abs=0.05)
        assert (world.force(14_400_000_000, 15_200_000_000) > 5.0).any()


@pytest.mark.parametrize("name", VOICES)
def test_the_demo_recordings_can_be_made_again(name: str) -> None:
    recorded = AudioInput(0.0, DEMO.parent / f"{name}.wav").samples()
    again = speak(name.replace("_", " "), VOICES[name], rate_wpm=150)
    # other releases of espeak-ng differ a little: same voice, same length within a tenth
    assert len(again) == pytest.approx(len(recorded), rel=0.1)
    assert np.abs(recorded).max() > 3000


def test_a_device_s_world_imports_no_simulator() -> None:
    program = (
        "import sys; from innervate.boards.emulator import make_still; w = make_still(None); w.drive(3, 4);"
        "w.advance_to(10**9); w.audio(0, 10**8); w.force(0, 10**9); w.frame(); print(w.pose().tolist());"
        "print([m for m in ('mujoco', 'scipy', 'OpenGL', 'matplotlib', 'cv2') if m in sys.modules])"
    )
    root = Path(innervate.boards.__path__[0]).parent
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": f"{root}/.links"})
    assert done.stdout.split("\n")[:2] == ["[3.0, 4.0, 0.0, 0.0]", "[]"]


def test_nothing_is_printed_when_a_world_is_left_open() -> None:
    program = "from innervate.boards.emulator import make_world; w = make_world(None); w.frame(); print('seen')"
    root = Path(innervate.boards.__path__[0]).parent
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PYTHONPATH": f"{root}/.links"})
    assert (done.stdout, done.stderr) == ("seen\n", "")
