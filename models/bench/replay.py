"""A world for timing: what the senses find was made before the clock ran, so that a tick's time is the device's and not the emulator's."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import numpy.typing as npt

from innervate.boards.emulator.scenario import RATE_HZ, Input, Scenario, SqueezeInput, TextInput
from innervate.boards.emulator.scene import SceneObject
from innervate.boards.emulator.still import StillWorld
from innervate.boards.emulator.stimulus import FORCE_NOISE_N, FORCE_NS, force_instants

TICK_NS = 80_000_000
FRAMES = 100
NOISES = 1000  # draws of the grip's noise before they repeat: ten seconds
LONGEST_SPAN = RATE_HZ // 5  # of sound, samples; the microphone asks for 80 ms
EVERY_S = 10.0  # a command
COMMANDS = ("follow the red cube", "stop", "look left", "what do you see", "find the blue ball", "how hard am i squeezing", "look straight ahead")
OBJECTS = (SceneObject("cube", "red", 20.0, 5.0), SceneObject("ball", "blue", -15.0, -5.0, 1.0))

Frames = npt.NDArray[np.uint8]  # [N, 96, 96, 3]


class ReplayWorld(StillWorld):
    """StillWorld played from a recording: the camera goes round and round through `frames`, one a tick, and sound and grip repeat their noise.

    Servos and typed text are as ever.
    """

    def __init__(self, scenario: Scenario, frames: Frames) -> None:
        super().__init__(scenario)
        self._frames = frames
        sound = np.zeros(RATE_HZ, np.int16) if scenario.noise is None else scenario.noise
        self._sound = np.concatenate([sound, sound[:LONGEST_SPAN]])  # any span that begins in the first copy lies in one piece
        self._period = len(sound)
        instants = np.arange(-(-self.end_ns // FORCE_NS) + 1) * (FORCE_NS / 1e9)
        grip = FORCE_NOISE_N * np.resize(np.random.default_rng(2).standard_normal(NOISES), len(instants))
        for squeeze in (given for given in scenario.inputs if isinstance(given, SqueezeInput)):
            times, force = zip(*squeeze.force_n, strict=True)
            grip += np.interp(instants - squeeze.t_s, times, force, left=0.0, right=0.0)
        self._grip = np.maximum(grip, 0.0).astype(np.float32)

    def frame(self) -> npt.NDArray[np.uint8]:
        """The frame of this tick, uint8 [96, 96, 3]."""
        return self._frames[self.t_ns // TICK_NS % len(self._frames)]

    def audio(self, t0_ns: int, t1_ns: int) -> npt.NDArray[np.int16]:
        """The scenario's noise from t0 up to t1, int16 [N] at 16 kHz."""
        first, last = t0_ns * RATE_HZ // 1_000_000_000, t1_ns * RATE_HZ // 1_000_000_000
        start = first % self._period
        return self._sound[start : start + last - first]

    def force(self, t0_ns: int, t1_ns: int) -> npt.NDArray[np.float32]:
        """Grip force at 100 Hz over (t0, t1], float32 [N] newtons."""
        span = force_instants(t0_ns, t1_ns)
        return self._grip[span.start : span.stop]


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
