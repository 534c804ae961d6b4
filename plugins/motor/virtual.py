"""The head's twins: the motor drives the world's servo, the pose measures it."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from innervate.plugins.motor.latent import AXES, POSE
from innervate.runtime.ali.component import Actuator, Sensor


class VirtualMotor(Actuator):
    """Drives pan and tilt of the head in the world, in degrees; its safe value is to brake and stay.

    An axis that a setpoint leaves out keeps its last target. How fast the head follows is the world's
    affair: `boards.emulator` has one with mass and friction and a still one with a rate and an acceleration.

    Not imitated: gear play, supply sag, heat, the wire to a servo and what it loses.
    """

    def _open(self) -> None:
        self._bench = self.context.bench()
        self._take_pose()

    def _take_pose(self) -> None:
        pan_deg, tilt_deg = self._bench.pose()[: len(AXES)]
        self._target = {"pan": float(pan_deg), "tilt": float(tilt_deg)}

    def _apply(self, values: Mapping[str, float]) -> None:
        self._target.update(values)
        self._bench.drive(self._target["pan"], self._target["tilt"])

    def _safe(self) -> None:
        self._bench.hold()
        self._take_pose()


class VirtualPose(Sensor):
    """Gives the measured pose, float32 [4] (pan_deg, tilt_deg, pan_deg_s, tilt_deg_s), once for each time it is asked.

    Not imitated: the encoder's resolution and the wire's delay.
    """

    dtype = np.float32
    shape = (POSE,)

    def _open(self) -> None:
        self._bench = self.context.bench()
        self._measured_ns = -1

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        now_ns = self.context.clock.now_ns()
        if now_ns <= self._measured_ns:
            return None
        self._measured_ns = now_ns
        return self._bench.pose(), now_ns
