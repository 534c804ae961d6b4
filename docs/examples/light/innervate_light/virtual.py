"""The light sensor's twin: a lamp that somebody switches off and on."""

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Sensor
from innervate.runtime.ali.options import read_options

from .driver import Options

ON_LUX, OFF_LUX = 300.0, 1.0


class VirtualLight(Sensor):
    """Gives the illuminance in lux, float32 [1], at the open and every `period_s`, light and dark in turn.

    Not imitated: dusk, flicker, the sensor's own delay.
    """

    dtype = np.float32
    shape = (1,)

    def _open(self) -> None:
        self._period_ns = round(read_options(self.context, Options).period_s * 1e9)
        self._phase = -1

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        phase = self.context.clock.now_ns() // self._period_ns  # never time.time(): the clock may be virtual
        if phase == self._phase:
            return None
        self._phase = phase
        lux = OFF_LUX if phase % 2 else ON_LUX
        return np.array([lux], np.float32), phase * self._period_ns  # the time at which it changed
