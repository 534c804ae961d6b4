"""A world without MuJoCo, for devices: what a twin needs when the real part is not wired.

It has the servos' motion, the scenario's sound, text and squeezes, and a plain grey picture. Nothing heavy is imported,
so a device's boot stays light. What it does not imitate: objects and everything else that a camera could see, and the
mechanics behind servos and grip (the head is exactly where the servo's reference is).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scenario import Scenario
from innervate.boards.emulator.stage import STEP_NS, Stage
from innervate.boards.emulator.stimulus import force_instants

GREY = 90  # of every pixel


class StillWorld(Stage):
    """The same methods as World's, except that the camera sees nothing."""

    def __init__(self, scenario: Scenario, seed: int | None = None, size: int = 96) -> None:
        super().__init__(scenario, seed)
        self._frame: NDArray[np.uint8] = np.full((size, size, 3), GREY, np.uint8)

    def _step(self) -> None:
        for servo in self._servos:
            servo.step(STEP_NS * 1e-9)

    def _turns(self) -> NDArray[np.float64]:
        pan, tilt = self._servos
        return np.array([pan.position_deg, tilt.position_deg, pan.rate_deg_s, tilt.rate_deg_s])

    def frame(self) -> NDArray[np.uint8]:
        """A grey uint8 [96, 96, 3]."""
        return self._frame.copy()

    def force(self, t0_ns: int, t1_ns: int) -> NDArray[np.float32]:
        """Grip force at the instants of the 100 Hz grid in (t0, t1]: float32 [N] newtons; any span."""
        grid = [(k, self._stimulus.squeeze_n(k / 100.0)) for k in force_instants(t0_ns, t1_ns)]
        return np.array([self._stimulus.sensed_n(k, n) for k, n in grid], np.float32)
