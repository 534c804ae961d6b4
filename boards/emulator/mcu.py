"""The emulated handheld with its microcontroller: the firmware's own ELF in QEMU between the host and the simulated servos and load cell.

The servos' plants run at the lines' own time, in a process of their own (devices/apart.py says why). The world repeats, at each turn of the loop,
what the servos were told, at the instants when they were told it; both have the same servo law, so camera and encoders agree within the 2 ms of
a step. The load cell feels the scenario's hand at the instant of each conversion.

What it does not imitate: exact time (QEMU is as late as a busy machine makes it), a head that is pushed from outside.
"""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

from innervate.boards.emulator.devices.apart import DevicesApart
from innervate.boards.emulator.scenario import Scenario, SqueezeInput
from innervate.boards.emulator.world import World
from innervate.firmware_bridge.qemu import OUT, Qemu

ELF = OUT / "stm32f405.elf"
BOOT_S = 15.0  # QEMU and the simulators take half a second on an idle machine


class McuWorld(World):
    """A World whose head and grip hang on the emulated microcontroller; drivers find its port under `offers["mcu"]`.

    It lives in real time. `close` ends QEMU and the simulators, also after a failed start.
    """

    def __init__(self, scenario: Scenario, seed: int | None = None, elf: Path = ELF) -> None:
        super().__init__(scenario, seed)
        self._stack = contextlib.ExitStack()
        squeezes = [item for item in self.scenario.inputs if isinstance(item, SqueezeInput)]
        with contextlib.ExitStack() as starting:
            starting.callback(super().close)
            self.frame()  # the renderer takes a quarter of a second to begin: not out of the first turn
            self.qemu = starting.enter_context(Qemu(elf, tied=threading.current_thread() is threading.main_thread()))
            self.devices = starting.enter_context(DevicesApart(self.qemu.ports[1], self.qemu.ports[2], squeezes, self.seed))
            self.devices.wait(BOOT_S)  # not on the device's time; one that never boots is the drivers' to report
            self._stack = starting.pop_all()
        self.offers = {"mcu": self.qemu.url}

    def advance_to(self, t_ns: int) -> None:
        """Run physics up to `t_ns`, which is now; the servos' targets change when the real ones' did. Raises DeviceError when these are gone."""
        origin_ns = time.monotonic_ns() - t_ns
        self.devices.begin(origin_ns)
        for told_ns, *targets in self.devices.told():
            super().advance_to(min(t_ns, max(self.t_ns, told_ns - origin_ns)))
            self.drive(*targets)
        super().advance_to(t_ns)

    def close(self) -> None:
        """End the microcontroller and free the renderer; safe to call twice."""
        self._stack.close()


def make_world(scenario: Path | None, seed: int | None = None) -> McuWorld:
    """Build the world of a scenario file around a microcontroller that runs, or an empty silent one when `scenario` is None.

    Raises ScenarioError for a file that does not hold, DeviceError with the next step without QEMU, without the ELF, a renderer or a synthesiser.
    """
    return McuWorld.from_file(scenario, seed)
