"""The camera's twin: sees the world, or a synthetic scene."""

import numpy as np
import numpy.typing as npt

from innervate.plugins.camera.settings import SIDE, Options
from innervate.runtime.ali.component import Sensor
from innervate.runtime.ali.options import read_options

NS_PER_S = 1_000_000_000
DISC_PX = 14.0
SWING_S = 6.0  # the disc crosses the picture and comes back in this time


class Scene:
    """A plain background, a horizon and a coloured disc that swings from side to side; `seed` chooses the colours."""

    def __init__(self, seed: int) -> None:
        draws = np.random.default_rng(seed)
        self._sky, self._ground, self._disc = draws.integers(40, 216, (3, 3), dtype=np.uint8)
        self._phase = float(draws.uniform())

    def at(self, t_ns: int) -> npt.NDArray[np.uint8]:
        """Return the picture at that time, RGB [96, 96, 3]; the same for the same seed and time."""
        frame = np.empty((SIDE, SIDE, 3), np.uint8)
        frame[: SIDE // 2], frame[SIDE // 2 :] = self._sky, self._ground
        turn = 2 * np.pi * (t_ns / NS_PER_S / SWING_S + self._phase)
        row, column = np.ogrid[:SIDE, :SIDE]
        inside = (column - SIDE / 2 * (1 + 0.8 * np.sin(turn))) ** 2 + (row - SIDE / 2) ** 2 < DISC_PX**2
        frame[inside] = self._disc
        return frame


class VirtualCamera(Sensor):
    """Gives one RGB frame, uint8 [H, W, 3], for each time at which it is asked, rendered at that time.

    Without a world it shows a `Scene`, [96, 96, 3], by the option `seed`.

    Not imitated: exposure time, rolling shutter, lens distortion, frame rate and transport delay.
    """

    dtype = np.uint8
    shape = (None, None, 3)

    def _open(self) -> None:
        self._scene = Scene(read_options(self.context, Options).seed)
        self._seen_ns = -1

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.uint8], int] | None:
        now_ns = self.context.clock.now_ns()
        if now_ns <= self._seen_ns:
            return None
        self._seen_ns = now_ns
        world = self.context.world
        return (self._scene.at(now_ns) if world is None else world.frame()), now_ns
