"""The servo of one axis: how a position set point becomes a motion within the axis's limits.

Rule: at every control step the reference speed moves towards the fastest speed from which the axis can still brake in
time (the square-root law), within the rate and acceleration limits. So a set point is reached without overshoot, and
`hold` stops in the shortest time that the acceleration limit allows: 0.1 s from full speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RATE_LIMIT_DEG_S = 150.0
ACCELERATION_LIMIT_DEG_S2 = 1500.0


@dataclass(slots=True)
class Servo:
    """One axis; angles in degrees, `limit_deg` to either side of zero."""

    limit_deg: float
    position_deg: float = 0.0
    rate_deg_s: float = 0.0
    target_deg: float = 0.0
    acceleration_deg_s2: float = 0.0

    def drive(self, target_deg: float) -> None:
        """Take a new set point, clamped to the axis's range; raises ValueError when it is not finite."""
        if not math.isfinite(target_deg):
            raise ValueError(f"servo: set point {target_deg}; expected a finite angle in degrees; send a new one")
        self.target_deg = min(self.limit_deg, max(-self.limit_deg, target_deg))

    def hold(self) -> None:
        """Stop where braking leads."""
        braking_deg = self.rate_deg_s * abs(self.rate_deg_s) / (2.0 * ACCELERATION_LIMIT_DEG_S2)
        self.drive(self.position_deg + braking_deg)

    def step(self, dt_s: float) -> None:
        """Move the reference on by one control step."""
        gap = self.target_deg - self.position_deg
        gain = ACCELERATION_LIMIT_DEG_S2 * dt_s
        # the square-root law for discrete steps, after which the last step lands on the target exactly
        brake = math.sqrt(2.0 * ACCELERATION_LIMIT_DEG_S2 * abs(gap) + 0.25 * gain * gain) - 0.5 * gain
        wanted = math.copysign(min(RATE_LIMIT_DEG_S, brake, abs(gap) / dt_s), gap)
        rate = min(self.rate_deg_s + gain, max(self.rate_deg_s - gain, wanted))
        self.acceleration_deg_s2 = (rate - self.rate_deg_s) / dt_s
        self.position_deg += rate * dt_s
        self.rate_deg_s = rate
