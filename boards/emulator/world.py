"""The physical world around and in the device, from one scenario and one seed.

Rules. Time is integer nanoseconds from 0 and moves only by `advance_to`. Physics runs in steps of 2 ms, so nothing
depends on how a span is cut into calls, nor on which senses are read. So the same scenario and seed give the same bytes
from every sensor on the same machine. One lock guards the world: senses may be read from several threads.

What it does not imitate: shadows, motion blur and exposure of the camera, echo and direction of sound, backlash of the
servos.
"""

from __future__ import annotations

import math
import threading
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scenario import Scenario, load_scenario
from innervate.boards.emulator.scene import PAN_LIMIT_DEG, TILT_LIMIT_DEG, Seen, look_up
from innervate.boards.emulator.servo import Servo
from innervate.boards.emulator.stimulus import FORCE_NS, Stimulus, force_instants
from innervate.boards.emulator.studio import Studio

STEP_NS = 2_000_000
FORCE_KEPT = 2_000  # samples: 20 s, far more than any reader's window
NEVER_NS = 1 << 62
_INERTIA = (1.04e-3, 1.02e-3)  # kg m2 of pan and tilt, from the model
_STIFFNESS, _DAMPING = 4.0e4, 4.0e2  # 1/s2, 1/s: the joint follows the servo's reference within 5 ms


class World:
    """A handheld on its bench: see the module's rules. Built by `make_world` from a file, or here from a Scenario.

    `frame` needs a renderer and makes it at the first call; everything else runs without one.
    """

    def __init__(self, scenario: Scenario, seed: int | None = None, size: int = 96) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self.end_ns = NEVER_NS if scenario.duration_s is None else round(scenario.duration_s * 1e9)
        self.t_ns = 0
        self._lock = threading.RLock()
        self._stimulus = Stimulus(scenario, self.seed)
        self._studio = Studio(size)
        self._studio.arrange(scenario.objects, self.seed)
        self._servos = (Servo(PAN_LIMIT_DEG), Servo(TILT_LIMIT_DEG))
        self._steps = 0
        self._force: NDArray[np.float32] = np.zeros(FORCE_KEPT, np.float32)  # ring: sample k at k % FORCE_KEPT
        self._force_count = 0
        self._grip = self._studio.model.body("grip").id
        self._grip_force = self._studio.data.sensor("grip")
        self._measure_force()

    @classmethod
    def from_file(cls, path: Path | None, seed: int | None = None) -> World:
        """Read a scenario file and build its world; None gives an empty, silent one without an end."""
        return cls(Scenario(duration_s=None) if path is None else load_scenario(path), seed)

    # -- time and motion ------------------------------------------------------------------------------------------

    def advance_to(self, t_ns: int) -> None:
        """Run physics up to `t_ns`; raises ValueError when that is in the past."""
        with self._lock:
            if t_ns < self.t_ns:
                raise ValueError(f"world: advance to {t_ns} ns; expected at least {self.t_ns}; time never goes back")
            for _ in range(t_ns // STEP_NS - self._steps):
                self._step()
            self.t_ns = t_ns

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
        self._steps += 1
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

    def drive(self, pan_deg: float, tilt_deg: float) -> None:
        """Give the servos a set point in degrees, clamped to +-90 and +-30; ValueError when not finite."""
        with self._lock:
            for servo, target in zip(self._servos, (pan_deg, tilt_deg), strict=True):
                servo.drive(float(target))

    def hold(self) -> None:
        """Stop both axes as quickly as their limits allow, and stay there."""
        with self._lock:
            for servo in self._servos:
                servo.hold()

    # -- senses ---------------------------------------------------------------------------------------------------

    def pose(self) -> NDArray[np.float32]:
        """Measured [4] float32: pan_deg, tilt_deg, pan_deg_s, tilt_deg_s, by an encoder of 0.01 degrees."""
        with self._lock:
            turns = np.degrees(np.concatenate([self._studio.data.qpos[:2], self._studio.data.qvel[:2]]))
        measured: NDArray[np.float32] = (np.round(turns * 100.0) / 100.0 + 0.0).astype(np.float32)  # no -0.0
        return measured

    def frame(self) -> NDArray[np.uint8]:
        """What the camera sees now: uint8 [96, 96, 3] RGB, field of view 60 degrees."""
        with self._lock:
            return self._studio.shoot(self.t_ns * 1e-9)

    def audio(self, t0_ns: int, t1_ns: int) -> NDArray[np.int16]:
        """What the microphone hears from t0 up to t1: int16 [N] mono at 16 kHz; any span, past or future."""
        return self._stimulus.audio(t0_ns, t1_ns)

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

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        """What was typed from t0 up to t1, UTF-8, each input ended by a newline."""
        return self._stimulus.typed(t0_ns, t1_ns)

    # -- truth ----------------------------------------------------------------------------------------------------

    def truth(self) -> list[Seen]:
        """Where every object really is now, in the scenario's order: for judging and training, not for the device."""
        with self._lock:
            pan, tilt = np.degrees(self._studio.data.qpos[:2])
            return look_up(self.scenario.objects, float(pan), float(tilt), self.t_ns * 1e-9)

    def close(self) -> None:
        """Free the renderer; safe to call twice."""
        with self._lock:
            self._studio.close()

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
