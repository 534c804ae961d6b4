"""What every world has, with mechanics or without: time, servos, and the senses that need no picture.

Rules. Time is integer nanoseconds from 0 and moves only by `advance_to`, in steps of 2 ms, so nothing depends on how a span is cut into
calls. One lock guards the world: senses may be read from several threads.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from innervate.boards.emulator.scenario import Scenario, load_scenario
from innervate.boards.emulator.scene import PAN_LIMIT_DEG, TILT_LIMIT_DEG, Seen, look_up
from innervate.boards.emulator.servo import Servo
from innervate.boards.emulator.stimulus import Stimulus

STEP_NS = 2_000_000
NEVER_NS = 1 << 62


class Stage(ABC):
    """Base of worlds; one writes `_step`, `_turns`, `frame` and `force`."""

    def __init__(self, scenario: Scenario, seed: int | None = None) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self.end_ns = NEVER_NS if scenario.duration_s is None else round(scenario.duration_s * 1e9)
        self.t_ns = 0
        self._lock = threading.RLock()
        self._stimulus = Stimulus(scenario, self.seed)
        self._servos = (Servo(PAN_LIMIT_DEG), Servo(TILT_LIMIT_DEG))
        self._steps = 0  # of STEP_NS, done so far

    @classmethod
    def from_file(cls, path: Path | None, seed: int | None = None) -> Self:
        """Read a scenario file and build its world; None gives an empty, silent one without an end."""
        return cls(Scenario(duration_s=None) if path is None else load_scenario(path), seed)

    # -- time and motion ------------------------------------------------------------------------------------------

    def advance_to(self, t_ns: int) -> None:
        """Run physics up to `t_ns`; raises ValueError when that is in the past."""
        with self._lock:
            if t_ns < self.t_ns:
                raise ValueError(f"world: advance to {t_ns} ns; expected at least {self.t_ns}; time never goes back")
            for _ in range(t_ns // STEP_NS - self._steps):
                self._steps += 1
                self._step()
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

    @abstractmethod
    def _step(self) -> None:
        """Hook: live through STEP_NS, up to step number `_steps`."""

    @abstractmethod
    def _turns(self) -> NDArray[np.float64]:
        """Hook: pan_deg, tilt_deg, pan_deg_s, tilt_deg_s as they really are now, [4]."""

    # -- senses ---------------------------------------------------------------------------------------------------

    def pose(self) -> NDArray[np.float32]:
        """Measured [4] float32: pan_deg, tilt_deg, pan_deg_s, tilt_deg_s, by an encoder of 0.01 degrees."""
        with self._lock:
            turns = self._turns()
        measured: NDArray[np.float32] = (np.round(turns * 100.0) / 100.0 + 0.0).astype(np.float32)  # no -0.0
        return measured

    @abstractmethod
    def frame(self) -> NDArray[np.uint8]:
        """What the camera sees now: uint8 [96, 96, 3] RGB, field of view 60 degrees."""

    def audio(self, t0_ns: int, t1_ns: int) -> NDArray[np.int16]:
        """What the microphone hears from t0 up to t1: int16 [N] mono at 16 kHz; any span, past or future."""
        return self._stimulus.audio(t0_ns, t1_ns)

    @abstractmethod
    def force(self, t0_ns: int, t1_ns: int) -> NDArray[np.float32]:
        """Grip force at the instants of the 100 Hz grid in (t0, t1]: float32 [N] newtons."""

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        """What was typed from t0 up to t1, UTF-8, each input ended by a newline."""
        return self._stimulus.typed(t0_ns, t1_ns)

    # -- truth ----------------------------------------------------------------------------------------------------

    def truth(self) -> list[Seen]:
        """Where every object really is now, in the scenario's order: for judging and training, not for the device."""
        with self._lock:
            pan_deg, tilt_deg = self._turns()[:2].tolist()
            return look_up(self.scenario.objects, pan_deg, tilt_deg, self.t_ns * 1e-9)

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Free what the world holds; safe to call twice."""
