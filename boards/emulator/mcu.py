"""The emulated handheld with its microcontroller: the firmware's own ELF in QEMU between the host and the simulated servos and load cell.

The servos' plants run at the lines' own time, in the threads that serve the lines: the firmware asks them hundreds of times a second and calls a
servo silent after 0.1 s, so none of them may wait for the renderer. The world repeats, at each turn of the loop, what the servos were told, at the
instants when they were told it; both have the same servo law, so camera and encoders agree within the 2 ms of a step. The load cell feels the
scenario's hand at the instant of each conversion.

What it does not imitate: exact time (QEMU is as late as a busy machine makes it), a head that is pushed from outside.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from innervate.boards.emulator.devices.modbus import LoadCell
from innervate.boards.emulator.devices.plants import AXES, ServoAxes
from innervate.boards.emulator.devices.port import DevicePort
from innervate.boards.emulator.devices.sts import head
from innervate.boards.emulator.scenario import Scenario, load_scenario
from innervate.boards.emulator.stimulus import FORCE_NS
from innervate.boards.emulator.world import World
from innervate.firmware_bridge.qemu import OUT, Qemu

ELF = OUT / "stm32f405.elf"
BOOT_S = 3.0  # QEMU and the servos' own start take 0.3 s on an idle machine
TOLD_MAX = 4096  # changes of a target between two turns: each servo can be told 100 times a second; more means that no loop runs


class ToldAxes(ServoAxes):
    """Servos that keep a record of when a target changed, for a world that follows; times are those of the line."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = threading.Event()  # somebody drives or reads them: the firmware has booted
        self._record: deque[tuple[int, float, float]] = deque(maxlen=TOLD_MAX)
        self._lock = threading.Lock()

    def state(self, axis: int, t_ns: int) -> tuple[float, float]:
        """Angle and rate of an axis at `t_ns`."""
        self.asked.set()
        with self._lock:
            return super().state(axis, t_ns)

    def drive(self, axis: int, target_deg: float, t_ns: int) -> None:
        """Turn towards an angle."""
        with self._lock:
            before = self.servos[axis].target_deg
            super().drive(axis, target_deg, t_ns)
            self._note(axis, before, t_ns)

    def let_go(self, axis: int, t_ns: int) -> None:
        """Take the torque away."""
        with self._lock:
            before = self.servos[axis].target_deg
            super().let_go(axis, t_ns)
            self._note(axis, before, t_ns)

    def _note(self, axis: int, before: float, t_ns: int) -> None:
        if self.servos[axis].target_deg != before:
            self._record.append((t_ns, self.servos[0].target_deg, self.servos[1].target_deg))

    def told(self) -> list[tuple[int, float, float]]:
        """Return and forget the changes since the last call, oldest first: (time, pan target, tilt target)."""
        with self._lock:
            record = list(self._record)
            self._record.clear()
        return record


class McuWorld(World):
    """A World whose head and grip hang on the emulated microcontroller; drivers find its port under `offers["mcu"]`.

    It lives in real time. `close` ends QEMU and the simulators, also after a failed start.
    """

    def __init__(self, scenario: Scenario, seed: int | None = None, elf: Path = ELF, clock: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(scenario, seed)
        self._line_clock = clock
        self._origin_ns = clock()  # of the line's time, where the world's is 0
        self._stack = contextlib.ExitStack()
        self.axes = ToldAxes()
        self.cell = LoadCell(self._grip_n)
        with contextlib.ExitStack() as starting:
            starting.callback(super().close)
            self.qemu = starting.enter_context(Qemu(elf, tied=threading.current_thread() is threading.main_thread()))
            starting.enter_context(DevicePort(head(self.axes), connect=("127.0.0.1", self.qemu.ports[1])))
            starting.enter_context(DevicePort(self.cell, connect=("127.0.0.1", self.qemu.ports[2])))
            self.axes.asked.wait(BOOT_S)  # not on the device's time; one that never boots is the drivers' to report
            self._stack = starting.pop_all()
        self.offers = {"mcu": self.qemu.url}

    @classmethod
    def from_file(cls, path: Path | None, seed: int | None = None) -> McuWorld:
        """Read a scenario file and build its world; None gives an empty, silent one without an end."""
        return cls(Scenario(duration_s=None) if path is None else load_scenario(path), seed)

    def advance_to(self, t_ns: int) -> None:
        """Run physics up to `t_ns`, which is now; the servos' targets change when the real ones' did."""
        self._origin_ns = self._line_clock() - t_ns
        for told_ns, *targets in self.axes.told():
            super().advance_to(min(t_ns, max(self.t_ns, told_ns - self._origin_ns)))
            super().drive(*targets[:AXES])
        super().advance_to(t_ns)

    def _grip_n(self) -> float:
        """What the load cell feels now, in newtons; asked from its line's thread, so it touches nothing that changes."""
        sample = max(0, self._line_clock() - self._origin_ns) // FORCE_NS
        return self._stimulus.sensed_n(sample, self._stimulus.squeeze_n(sample * FORCE_NS * 1e-9))

    def close(self) -> None:
        """End the microcontroller and free the renderer; safe to call twice."""
        self._stack.close()


def make_world(scenario: Path | None, seed: int | None = None) -> McuWorld:
    """Build the world of a scenario file around a microcontroller that runs, or an empty silent one when `scenario` is None.

    Raises ScenarioError for a file that does not hold, DeviceError with the next step without QEMU, without the ELF, a renderer or a synthesiser.
    """
    return McuWorld.from_file(scenario, seed)
