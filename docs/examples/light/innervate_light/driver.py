"""The light sensor on Linux's industrial I/O bus (a BH1750, an APDS-9960, a laptop's own)."""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.component import Sensor
from innervate.runtime.ali.errors import DeviceError
from innervate.runtime.ali.options import read_options

DARK_LUX = 10.0  # below: dark
BRIGHT_LUX = 20.0  # above: light; in between it stays what it was, so that dusk does not flicker
LOOKS_HZ = 20


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[component.light.options]` of a board."""

    path: str = ""
    period_s: float = 2.0


class LightSensor(Sensor):
    """Gives the illuminance in lux, float32 [1], at the open and whenever it turns dark or light."""

    dtype = np.float32
    shape = (1,)

    def _open(self) -> None:
        self._path = Path(read_options(self.context, Options).path)
        self._dark: bool | None = None
        self._look()  # so that a wrong path is an error now

    def _read(self, timeout_s: float) -> tuple[npt.NDArray[np.float32], int] | None:
        clock = self.context.clock
        until_ns = clock.now_ns() + round(timeout_s * 1e9)
        while True:
            lux, now_ns = self._look(), clock.now_ns()
            if self._turned(lux):
                return np.array([lux], np.float32), now_ns
            if now_ns >= until_ns:
                return None
            clock.sleep_until_ns(min(until_ns, now_ns + 1_000_000_000 // LOOKS_HZ))

    def _look(self) -> float:
        try:
            return float(self._path.read_text())
        except (OSError, ValueError) as error:
            step = "`ls /sys/bus/iio/devices` lists the sensors; set its option path"
            raise DeviceError(self.name, f"{self._path}: {error}", "a file with lux", step) from error

    def _turned(self, lux: float) -> bool:
        was = self._dark
        if lux < DARK_LUX or (was is None and lux < BRIGHT_LUX):
            self._dark = True
        elif lux > BRIGHT_LUX or was is None:
            self._dark = False
        return self._dark is not was
