"""The force sensor's twin."""

import msgspec
import numpy as np
import numpy.typing as npt

from innervate.plugins.force.latent import RATE_HZ, WINDOW
from innervate.runtime.ali.component import Sensor
from innervate.runtime.ali.options import read_options

PERIOD_NS = 1_000_000_000 // RATE_HZ


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.force.options]` of a board."""

    rest_n: float = 0.0
    url: str = ""


class VirtualForce(Sensor):
    """Gives the grip force since the last read, float32 [N] newtons at 100 Hz, sampled on multiples of 10 ms.

    A reader that falls behind gets the newest 1.04 s, all that the encoder looks at. Without a world it feels `rest_n`.

    Not imitated: creep, temperature drift, the delay of an analogue filter. Noise is the world's.
    """

    dtype = np.float32
    shape = (None,)

    def _open(self) -> None:
        self._rest_n = read_options(self.context, Options).rest_n
        self._felt_ns = self._grid_ns()

    def _grid_ns(self) -> int:
        return self.context.clock.now_ns() // PERIOD_NS * PERIOD_NS

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        newest_ns = self._grid_ns()
        if newest_ns <= self._felt_ns:
            return None
        since_ns = max(self._felt_ns, newest_ns - WINDOW * PERIOD_NS)
        self._felt_ns = newest_ns
        if self.context.world is not None:
            return self.context.world.force(since_ns, newest_ns), newest_ns
        return np.full((newest_ns - since_ns) // PERIOD_NS, self._rest_n, np.float32), newest_ns
