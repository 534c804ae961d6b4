"""The simulated microcontroller, built when it is first needed."""

from __future__ import annotations

from innervate.firmware_bridge.simulated import LIMITS, SimulatedMcu
from tests.firmware_bridge.build import build

__all__ = ["LIMITS", "Mcu"]


class Mcu(SimulatedMcu):
    """One microcontroller from the library in out/firmware."""

    def __init__(self, seed: int = 1, flash: bool = False) -> None:
        super().__init__(build("host") / "libfirmware.so", seed, flash)
