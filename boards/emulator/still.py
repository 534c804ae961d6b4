"""A world without MuJoCo, for devices: what a twin needs when the real part is not wired.

It has the servos' motion, the scenario's sound, text and squeezes, and a plain grey picture. Nothing heavy is imported,
so a device's boot stays light. What it does not imitate: objects and everything else that a camera could see, and the
mechanics behind servos and grip (the head is exactly where the servo's reference is).
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scenario import Scenario, load_scenario
from innervate.boards.emulator.scene import PAN_LIMIT_DEG, TILT_LIMIT_DEG, Seen, look_up
from innervate.boards.emulator.servo import Servo
from innervate.boards.emulator.stimulus import Stimulus, force_instants

STEP_NS = 2_000_000
GREY = 90  # of every pixel
NEVER_NS = 1 << 62


class StillWorld:
    """The same methods as World's, except that the camera sees nothing."""

    def __init__(self, scenario: Scenario, seed: int | None = None, size: int = 96) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self.end_ns = NEVER_NS if scenario.duration_s is None else round(scenario.duration_s * 1e9)
        self.t_ns = 0
        self._lock = threading.RLock()
        self._stimulus = Stimulus(scenario, self.seed)
        self._servos = (Servo(PAN_LIMIT_DEG), Servo(TILT_LIMIT_DEG))
        self._steps = 0
        self._frame: NDArray[np.uint8] = np.full((size, size, 3), GREY, np.uint8)

    @classmethod
    def from_file(cls, path: Path | None, seed: int | None = None) -> StillWorld:
        """Read a scenario file and build its world; None gives a silent one without an end."""
        return cls(Scenario(duration_s=None) if path is None else load_scenario(path), seed)

    def advance_to(self, t_ns: int) -> None:
        """Move the servos on to `t_ns`; raises ValueError when that is in the past."""
        with self._lock:
            if t_ns < self.t_ns:
                raise ValueError(f"world: advance to {t_ns} ns; expected at least {self.t_ns}; time never goes back")
            for _ in range(t_ns // STEP_NS - self._steps):
                for servo in self._servos:
                    servo.step(STEP_NS * 1e-9)
            self._steps = t_ns // STEP_NS
            self.t_ns = t_ns

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

    def pose(self) -> NDArray[np.float32]:
        """Pan_deg, tilt_deg, pan_deg_s, tilt_deg_s as float32 [4]."""
        with self._lock:
            pan, tilt = self._servos
            turns = np.array([pan.position_deg, tilt.position_deg, pan.rate_deg_s, tilt.rate_deg_s])
        measured: NDArray[np.float32] = (np.round(turns * 100.0) / 100.0 + 0.0).astype(np.float32)  # no -0.0
        return measured

    def frame(self) -> NDArray[np.uint8]:
        """A grey uint8 [96, 96, 3]."""
        return self._frame.copy()

    def audio(self, t0_ns: int, t1_ns: int) -> NDArray[np.int16]:
        """What the microphone hears from t0 up to t1: int16 [N] mono at 16 kHz; any span, past or future."""
        return self._stimulus.audio(t0_ns, t1_ns)

    def force(self, t0_ns: int, t1_ns: int) -> NDArray[np.float32]:
        """Grip force at the instants of the 100 Hz grid in (t0, t1]: float32 [N] newtons; any span."""
        grid = [(k, self._stimulus.squeeze_n(k / 100.0)) for k in force_instants(t0_ns, t1_ns)]
        return np.array([self._stimulus.sensed_n(k, n) for k, n in grid], np.float32)

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        """What was typed from t0 up to t1, UTF-8, each input ended by a newline."""
        return self._stimulus.typed(t0_ns, t1_ns)

    def truth(self) -> list[Seen]:
        """Where the scenario's objects would be now."""
        pan_deg, tilt_deg, _, _ = self.pose().tolist()
        return look_up(self.scenario.objects, pan_deg, tilt_deg, self.t_ns * 1e-9)

    def close(self) -> None:
        """Nothing to free."""
