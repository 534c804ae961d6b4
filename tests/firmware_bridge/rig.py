"""The real ELF in QEMU with simulated servos and load cell on its other lines."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import TracebackType

from innervate.boards.emulator.devices.modbus import LoadCell
from innervate.boards.emulator.devices.plants import ServoAxes
from innervate.boards.emulator.devices.port import DevicePort
from innervate.boards.emulator.devices.sts import head
from innervate.firmware_bridge.link import Link, LinkError
from innervate.firmware_bridge.messages import Configure, Safe
from innervate.firmware_bridge.messages import State as Motion
from innervate.firmware_bridge.qemu import Qemu
from innervate.runtime.loop.clock import RealClock
from tests.firmware_bridge.build import build

# Deadman and servos' silence are at their longest here: a busy test machine may keep a thread from running for 100 ms.
LIMITS = Configure(-90.0, 90.0, -45.0, 45.0, 120.0, 120.0, 500, Safe.HOLD, 0.0, 0, 0, 1000)


def arm(link: Link, limits: Configure = LIMITS, tries: int = 20) -> None:
    """Wait for the devices, configure, arm. A busy test machine makes simulated servos late, which rightly stops the firmware: try again."""
    for attempt in range(tries):
        link.wait(lambda: link.telemetry is not None and link.telemetry.telemetry.device_faults == 0, 30.0)
        sample = link.telemetry
        if sample is not None and sample.telemetry.state in (Motion.READY, Motion.MOVING):
            return
        try:
            link.configure(limits, 5.0)
            link.rearm(5.0)
            return
        except LinkError as error:
            if attempt == tries - 1 or "servo" not in str(error):
                raise


class Rig:
    """One emulated board with its devices."""

    def __init__(self, elf: str = "stm32f405", qtest: Path | None = None) -> None:
        self.stack = contextlib.ExitStack()
        self.qemu = self.stack.enter_context(Qemu(build(elf) / f"{elf}.elf", qtest=qtest))
        self.newtons = 1.0
        self.axes = ServoAxes()
        self.bus = head(self.axes)
        self.cell = LoadCell(lambda: self.newtons)
        self.stack.enter_context(DevicePort(self.bus, connect=("127.0.0.1", self.qemu.ports[1])))
        self.stack.enter_context(DevicePort(self.cell, connect=("127.0.0.1", self.qemu.ports[2])))
        self.clock = RealClock()

    def open(self, url: str | None = None, timeout_s: float = 10.0) -> Link:
        """Open a link that is closed with the rig."""
        link = Link.open(url or self.qemu.url, self.clock, timeout_s)
        self.stack.callback(link.close)
        return link

    def arm(self, link: Link, limits: Configure = LIMITS) -> None:
        """Wait for the devices, configure, arm; what is armed stays so."""
        arm(link, limits)

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stack.close()
