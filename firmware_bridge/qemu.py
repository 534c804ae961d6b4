"""The firmware's ELF in QEMU: the same file that would be flashed, its three lines on TCP ports of this machine.

QEMU listens on each line and whoever comes is served, one at a time, again and again; the host line is opened as `socket://127.0.0.1:PORT`.
What QEMU does not imitate: exact time (use the firmware's own stamps), pins, the watchdog and the flash of the STM32F405.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from innervate.runtime.ali.errors import DeviceError

FIRMWARE = Path(__file__).parent / "firmware"
OUT = Path(__file__).resolve().parent.parent / "out" / "firmware"
MACHINES = {"netduinoplus2": 3, "mps2-an385": 3}  # lines that the port of each machine uses
LISTEN_S = 10.0
TRIES = 5


class EmulatorError(DeviceError):
    """QEMU is missing, or does not start."""


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]


def _listens(port: int) -> bool:
    """Whether somebody listens, asked without connecting: QEMU would take a connection for a client."""
    want = f"0100007F:{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(line.split()[1] == want and line.split()[3] == "0A" for line in list(table)[1:])


class Qemu:
    """One emulated board. `urls` and `ports` are those of the lines host, servo, force; close it, or use it as a context manager."""

    def __init__(
        self, elf: Path, machine: str = "netduinoplus2", flash: Mapping[int, Path] | None = None, tied: bool = False, qtest: Path | None = None
    ) -> None:
        """Start `elf`; `flash` lays the bytes of files at addresses, over what the ELF puts there. Raises EmulatorError with the next step.

        `qtest`: where to make a socket over which registers and memory are read and written while the board runs (QEMU's qtest protocol).

        `tied`: the kernel ends QEMU with the thread that calls this, whatever kills it; for a thread that lasts as long as the emulator shall. Ctrl-C
        is then the caller's alone, so that motors can be brought to rest.
        """
        program = shutil.which("qemu-system-arm")
        if program is None:
            raise EmulatorError("qemu", "qemu-system-arm is not installed", "", "apt-get install qemu-system-arm")
        if not elf.exists():
            raise EmulatorError("qemu", f"no {elf}", "a built firmware", "run `make firmware`, which needs gcc-arm-none-eabi")
        leash = [setpriv, "--pdeathsig", "KILL"] if tied and (setpriv := shutil.which("setpriv")) else []
        for attempt in range(TRIES):
            self.ports = _free_ports(MACHINES[machine])
            lines = [part for port in self.ports for part in ("-serial", f"tcp:127.0.0.1:{port},server=on,wait=off,nodelay=on")]
            command = [*leash, program, "-M", machine, "-display", "none", "-monitor", "none", "-kernel", str(elf), *lines]
            for address, file in (flash or {}).items():
                command += ["-device", f"loader,file={file},addr={address:#x},force-raw=on"]
            if qtest is not None:
                command += ["-qtest", f"unix:{qtest},server=on,wait=off", "-qtest-log", "none"]
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, process_group=0 if tied else None
            )  # fmt: skip
            if self._wait_listening():
                break
            said = self.process.communicate()[1].strip()
            if attempt == TRIES - 1 or ("Failed to find" not in said and "in use" not in said):
                raise EmulatorError("qemu", f"does not start: {said}")
        self.url = f"socket://127.0.0.1:{self.ports[0]}"

    def _wait_listening(self) -> bool:
        end = time.monotonic() + LISTEN_S
        while time.monotonic() < end and self.process.poll() is None:
            if all(_listens(port) for port in self.ports):
                return True
            time.sleep(0.01)
        if self.process.poll() is None:
            self.process.kill()
        return False

    def pause(self) -> None:
        """Stop the emulator as it stands, its clock too."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Qemu:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
