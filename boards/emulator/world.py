"""The physical world around and in the device, from one scenario and one seed.

Beyond the rules of `stage`: nothing depends on which senses are read. So the same scenario and seed give the same bytes
from every sensor on the same machine.

What it does not imitate: shadows, motion blur and exposure of the camera, echo and direction of sound, backlash of the
servos.
"""

from __future__ import annotations

import math
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scenario import Scenario
from innervate.boards.emulator.stage import STEP_NS, Stage
from innervate.boards.emulator.stimulus import FORCE_NS, force_instants
from innervate.boards.emulator.studio import Studio

FORCE_KEPT = 2_000  # samples: 20 s, far more than any reader's window
_INERTIA = (1.04e-3, 1.02e-3)  # kg m2 of pan and tilt, from the model
_STIFFNESS, _DAMPING = 4.0e4, 4.0e2  # 1/s2, 1/s: the joint follows the servo's reference within 5 ms


class World(Stage):
    """A handheld on its bench: see the module's rules. Built by `make_world` from a file, or here from a Scenario.

    `frame` needs a renderer and makes it at the first call; everything else runs without one.
    """

    def __init__(self, scenario: Scenario, seed: int | None = None, size: int = 96) -> None:
        super().__init__(scenario, seed)
        self._studio = Studio(size)
        self._studio.arrange(scenario.objects, self.seed)
        self._force: NDArray[np.float32] = np.zeros(FORCE_KEPT, np.float32)  # ring: sample k at k % FORCE_KEPT
        self._force_count = 0
        self._grip = self._studio.model.body("grip").id
        self._grip_force = self._studio.data.sensor("grip")
        self._measure_force()

    def _step(self) -> None:
        mj, model, data = self._studio.mj, self._studio.model, self._studio.data
        dt_s = STEP_NS * 1e-9
        for axis, servo in enumerate(self._servos):
            servo.step(dt_s)
            # the joint meets the reference at the end of this step: compare with where it goes by itself
            ahead = data.qpos[axis] + data.qvel[axis] * dt_s
            pull = _STIFFNESS * (math.radians(servo.position_deg) - ahead)
            pull += _DAMPING * (math.radians(servo.rate_deg_s) - data.qvel[axis])
            data.ctrl[axis] = _INERTIA[axis] * pull
        mj.mj_step(model, data)
        if self._steps * STEP_NS % FORCE_NS == 0:
            self._measure_force()

    def _measure_force(self) -> None:
        """Press on the grip with the scenario's force and store what its sensor reads now."""
        data = self._studio.data
        # along one axis of the sensor, through a welded pad: no contact solver between hand and sensor
        data.xfrc_applied[self._grip, 0] = self._stimulus.squeeze_n(self._steps * STEP_NS * 1e-9)
        self._studio.mj.mj_forward(self._studio.model, data)
        k = self._force_count
        self._force[k % FORCE_KEPT] = self._stimulus.sensed_n(k, abs(float(self._grip_force.data[0])))
        self._force_count += 1

    def _turns(self) -> NDArray[np.float64]:
        turns: NDArray[np.float64] = np.degrees(np.concatenate([self._studio.data.qpos[:2], self._studio.data.qvel[:2]]))
        return turns

    def frame(self) -> NDArray[np.uint8]:
        """What the camera sees now: uint8 [96, 96, 3] RGB, field of view 60 degrees."""
        with self._lock:
            return self._studio.shoot(self.t_ns * 1e-9)

    def force(self, t0_ns: int, t1_ns: int) -> NDArray[np.float32]:
        """Grip force at the instants of the 100 Hz grid in (t0, t1]: float32 [N] newtons.

        The last 20 s are kept. Raises ValueError for older instants and for those not yet lived through.
        """
        instants = force_instants(t0_ns, t1_ns)
        with self._lock:
            if instants and (instants[-1] >= self._force_count or instants[0] < self._force_count - FORCE_KEPT):
                came = f"world: force from {t0_ns} to {t1_ns} ns"
                raise ValueError(f"{came}; expected a span of the 20 s before {self.t_ns}; advance first")
            return self._force[np.asarray(instants, np.int64) % FORCE_KEPT]

    def close(self) -> None:
        """Free the renderer; safe to call twice."""
        with self._lock:
            self._studio.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
