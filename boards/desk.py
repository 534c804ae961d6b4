"""The desk: the smallest world in which twins can live, for a computer with no head to turn and no grip to squeeze.

A board whose microphone and camera are real, but whose motor is not, names it:

    world = "innervate.boards.desk:make_desk"

It has a servo with a rate and an acceleration, so that setpoints turn into poses over time, and nothing else that moves: a plain
picture, silence, no force, nobody who types. It needs numpy alone.

Servo: each axis brakes so as to stop at its target, v = sqrt(2 a d) at distance d, under the rate limit; integrated in
fixed steps, so that the same calls give the same poses. Not imitated: inertia, friction, load, gear play.
"""

from math import copysign, sqrt
from pathlib import Path

import numpy as np
import numpy.typing as npt

from innervate.plugins.camera.virtual import Scene
from innervate.runtime.ali.errors import ScenarioError

NS_PER_S = 1_000_000_000
STEP_NS = 2_000_000
AUDIO_HZ = 16_000
FORCE_HZ = 100
PAN_DEG_MAX = 90.0
TILT_DEG_MAX = 30.0
RATE_DEG_S_MAX = 150.0
ACCEL_DEG_S2 = 1_500.0  # full speed in 0.1 s, as small hobby servos reach
END_NS = 2**62  # a desk has no end


class Axis:
    """One servo axis: position in degrees, velocity in degrees a second."""

    def __init__(self, limit_deg: float) -> None:
        self.limit_deg = limit_deg
        self.deg = 0.0
        self.deg_s = 0.0
        self._target_deg = 0.0

    def drive(self, deg: float) -> None:
        """Set the target, clamped to the axis's range."""
        self._target_deg = min(max(deg, -self.limit_deg), self.limit_deg)

    def hold(self) -> None:
        """Set the target to where braking leads."""
        self.drive(self.deg + self.deg_s * abs(self.deg_s) / (2 * ACCEL_DEG_S2))

    def step(self, dt_s: float) -> None:
        """Move for `dt_s` seconds."""
        away = self._target_deg - self.deg
        change = ACCEL_DEG_S2 * dt_s
        # The last step lands on the target: the braking curve has no slope left there to follow.
        wanted = copysign(min(sqrt(2 * ACCEL_DEG_S2 * abs(away)), RATE_DEG_S_MAX, abs(away) / dt_s), away)
        self.deg_s += min(max(wanted - self.deg_s, -change), change)
        self.deg += self.deg_s * dt_s


class Desk:
    """A world with a servo; the methods are those that `innervate.runtime.ali.component.Bench` describes."""

    end_ns = END_NS

    def __init__(self, seed: int = 0) -> None:
        self._pan, self._tilt = Axis(PAN_DEG_MAX), Axis(TILT_DEG_MAX)
        self._scene = Scene(seed)
        self._now_ns = 0

    def advance_to(self, t_ns: int) -> None:
        """Let time pass up to `t_ns`, in whole steps; no effect when that is past."""
        while self._now_ns + STEP_NS <= t_ns:
            self._now_ns += STEP_NS
            for axis in (self._pan, self._tilt):
                axis.step(STEP_NS / NS_PER_S)

    def frame(self) -> npt.NDArray[np.uint8]:
        """Return a plain picture with one disc that swings, [96, 96, 3] RGB."""
        return self._scene.at(self._now_ns)

    def audio(self, t0_ns: int, t1_ns: int) -> npt.NDArray[np.int16]:
        """Return silence, mono at 16 kHz."""
        return np.zeros(_between(t0_ns, t1_ns, AUDIO_HZ), np.int16)

    def force(self, t0_ns: int, t1_ns: int) -> npt.NDArray[np.float32]:
        """Return no force, in newtons at 100 Hz."""
        return np.zeros(_between(t0_ns, t1_ns, FORCE_HZ), np.float32)

    def pose(self) -> npt.NDArray[np.float32]:
        """Return pan_deg, tilt_deg, pan_deg_s, tilt_deg_s, [4]."""
        return np.array([self._pan.deg, self._tilt.deg, self._pan.deg_s, self._tilt.deg_s], np.float32)

    def drive(self, pan_deg: float, tilt_deg: float) -> None:
        """Set the servo's targets, clamped to +-90 and +-30 degrees."""
        self._pan.drive(pan_deg)
        self._tilt.drive(tilt_deg)

    def hold(self) -> None:
        """Brake both axes and stay."""
        self._pan.hold()
        self._tilt.hold()

    def typed(self, t0_ns: int, t1_ns: int) -> bytes:
        """Return nothing: nobody types on a desk; text comes through the keyboard's driver."""
        return b""

    def truth(self) -> list[object]:
        """Return nothing: there is no object to judge by."""
        return []

    def close(self) -> None:
        """Nothing is held."""


def make_desk(scenario: Path | None, seed: int | None = None) -> Desk:
    """Make a desk. Raises ScenarioError when given a scenario, which it cannot play."""
    if scenario is not None:
        raise ScenarioError(str(scenario), "a scenario for a desk, which plays none", "no scenario", "use --board emulator")
    return Desk(seed or 0)


def _between(t0_ns: int, t1_ns: int, rate_hz: int) -> int:
    return t1_ns * rate_hz // NS_PER_S - t0_ns * rate_hz // NS_PER_S
