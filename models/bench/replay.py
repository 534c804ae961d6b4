"""A world for timing: servos, sound, text and squeezes as ever, but the camera shows frames that were rendered before the clock ran."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.scenario import RATE_HZ, Input, Scenario, SqueezeInput, TextInput
from innervate.boards.emulator.scene import SceneObject
from innervate.boards.emulator.still import StillWorld

TICK_NS = 80_000_000
FRAMES = 100
EVERY_S = 10.0  # a command
COMMANDS = ("follow the red cube", "stop", "look left", "what do you see", "find the blue ball", "how hard am i squeezing", "look straight ahead")
OBJECTS = (SceneObject("cube", "red", 20.0, 5.0), SceneObject("ball", "blue", -15.0, -5.0, 1.0))

Frames = npt.NDArray[np.uint8]  # [N, 96, 96, 3]


class ReplayWorld(StillWorld):
    """StillWorld with a camera that goes round and round through `frames`, one a tick."""

    def __init__(self, scenario: Scenario, frames: Frames) -> None:
        super().__init__(scenario)
        self._frames = frames

    def frame(self) -> npt.NDArray[np.uint8]:
        """The frame of this tick, uint8 [96, 96, 3]."""
        return self._frames[self.t_ns // TICK_NS % len(self._frames)]


def frames() -> Frames:
    """Render a sweep over two objects; without MuJoCo, grey noise: no stage's time depends on what is in the picture."""
    if importlib.util.find_spec("mujoco") is None:
        return np.random.default_rng(0).integers(60, 120, (FRAMES, 96, 96, 3), np.uint8)
    from innervate.boards.emulator.studio import Studio

    with Studio() as studio:
        studio.arrange(OBJECTS, seed=5)
        return np.stack([studio.look(40.0 * math.sin(2 * math.pi * k / FRAMES), 0.0) for k in range(FRAMES)])


def busy(duration_s: float, every_s: float = EVERY_S) -> Scenario:
    """A scenario with a typed command every `every_s`, a squeeze in each minute and noise throughout."""
    inputs: list[Input] = []
    for k in range(int((duration_s - 1.0) / every_s) + 1):
        inputs.append(TextInput(1.0 + k * every_s, COMMANDS[k % len(COMMANDS)]))
        if k % 6 == 5:
            inputs.append(SqueezeInput(1.5 + k * every_s, ((0.0, 0.0), (0.3, 12.0), (3.0, 12.0), (3.3, 0.0))))
    noise = (300.0 * np.random.default_rng(1).standard_normal(10 * RATE_HZ)).astype(np.int16)
    return Scenario(duration_s, 5, OBJECTS, tuple(inputs), noise)
