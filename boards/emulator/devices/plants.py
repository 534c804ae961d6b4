"""The physics behind the simulated devices: two axes to turn, a force to feel.

`WorldAxes` and `grip_n` are for a World that somebody else moves through time; `ServoAxes` is a plant of its own, for benches without one.
"""

from __future__ import annotations

import math
from typing import Protocol

from innervate.boards.emulator.scene import PAN_LIMIT_DEG, TILT_LIMIT_DEG
from innervate.boards.emulator.servo import ACCELERATION_LIMIT_DEG_S2, Servo
from innervate.boards.emulator.stage import STEP_NS
from innervate.boards.emulator.stimulus import FORCE_NS
from innervate.boards.emulator.world import World

AXES = 2  # pan, tilt


class Axes(Protocol):
    """What the servos turn. Angles in degrees, 0 straight ahead, pan left and tilt up positive."""

    def state(self, axis: int, t_ns: int) -> tuple[float, float]:
        """Angle and rate (degrees, degrees per second) of an axis at `t_ns`."""

    def drive(self, axis: int, target_deg: float, t_ns: int) -> None:
        """Turn towards an angle, clamped to the axis's range."""

    def let_go(self, axis: int, t_ns: int) -> None:
        """Take the torque away."""


class ServoAxes:
    """Two of the emulator's servos in steps of 2 ms; their time begins at the first one they are told.

    Without torque an axis stops as quickly as its limits allow: the gears of these servos (345:1) do not turn by themselves.
    """

    def __init__(self) -> None:
        self.servos = (Servo(PAN_LIMIT_DEG), Servo(TILT_LIMIT_DEG))
        self._steps: int | None = None  # since the clock's zero, which may be long ago

    def _advance(self, t_ns: int) -> None:
        now = t_ns // STEP_NS
        for _ in range(now - (now if self._steps is None else self._steps)):
            for servo in self.servos:
                servo.step(STEP_NS * 1e-9)
        self._steps = now

    def state(self, axis: int, t_ns: int) -> tuple[float, float]:
        """Angle and rate of an axis at `t_ns`."""
        self._advance(t_ns)
        return self.servos[axis].position_deg, self.servos[axis].rate_deg_s

    def drive(self, axis: int, target_deg: float, t_ns: int) -> None:
        """Turn towards an angle."""
        self._advance(t_ns)
        self.servos[axis].drive(target_deg)

    def let_go(self, axis: int, t_ns: int) -> None:
        """Take the torque away."""
        self._advance(t_ns)
        self.servos[axis].hold()


class WorldAxes:
    """The axes of a World, at the World's own time: `t_ns` of the line is not asked.

    World.drive takes both axes at once, so the set point of the other one is kept here. Without torque an axis stays where it is,
    for the reason given at `ServoAxes`.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        pose = world.pose()
        self._targets = [float(pose[0]), float(pose[1])]

    def state(self, axis: int, t_ns: int) -> tuple[float, float]:
        """Angle and rate of an axis now."""
        pose = self._world.pose()
        return float(pose[axis]), float(pose[AXES + axis])

    def drive(self, axis: int, target_deg: float, t_ns: int) -> None:
        """Turn towards an angle."""
        if not math.isfinite(target_deg):
            raise ValueError(f"axis {axis}: set point {target_deg}; expected a finite angle in degrees; send a new one")
        if target_deg != self._targets[axis]:
            self._targets[axis] = target_deg
            self._world.drive(*self._targets)

    def let_go(self, axis: int, t_ns: int) -> None:
        """Take the torque away."""
        angle_deg, rate_deg_s = self.state(axis, t_ns)
        self.drive(axis, angle_deg + rate_deg_s * abs(rate_deg_s) / (2.0 * ACCELERATION_LIMIT_DEG_S2), t_ns)


def grip_n(world: World) -> float:
    """The newest sample of the grip's force in newtons: the last instant of its 100 Hz grid."""
    t_ns = world.t_ns - world.t_ns % FORCE_NS
    return float(world.force(t_ns - 1, t_ns)[-1])
