"""The simulated servos and load cell in a process of their own, beside the device's.

Why: the firmware calls a servo silent after 0.1 s, and asks each a hundred times a second. In the device's own process every answer would wait for
the interpreter's lock, which drawing a frame, loading a library or collecting garbage holds for longer than that: then the firmware stops, rightly.
A process that mostly sleeps is woken at once, even on a machine with two busy processors.

Rules
- Both processes read the same monotonic clock, so times of one mean the same in the other.
- Down the pipe goes one JSON line with what to simulate (`Plan`), then at each turn of the world when its time was 0. Up come the changes of the
  servos' targets, one JSON line each, both targets in it: a line that is lost because nobody reads is made good by the next one.
- Neither end waits for the other. The process ends with its parent, whatever kills that: then its input ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType

from innervate.boards.emulator.devices.modbus import LoadCell
from innervate.boards.emulator.devices.plants import ServoAxes
from innervate.boards.emulator.devices.port import DevicePort
from innervate.boards.emulator.devices.sts import head
from innervate.boards.emulator.scenario import Scenario, SqueezeInput
from innervate.boards.emulator.stimulus import FORCE_NS, Stimulus
from innervate.runtime.ali.errors import DeviceError

CHUNK = 65536
END_S = 5.0

Told = tuple[int, float, float]  # when (ns, monotonic clock), pan target, tilt target in degrees


class ToldAxes(ServoAxes):
    """Servos that say when a target changes, and at the first question where they are: somebody is there who asks."""

    def __init__(self, out: int) -> None:
        """`out`: a non-blocking descriptor that takes the lines."""
        super().__init__()
        self._out = out
        self._asked = False
        self._lock = threading.Lock()

    def state(self, axis: int, t_ns: int) -> tuple[float, float]:
        """Angle and rate of an axis at `t_ns`."""
        with self._lock:
            if not self._asked:
                self._asked = True
                self._say(t_ns)
            return super().state(axis, t_ns)

    def drive(self, axis: int, target_deg: float, t_ns: int) -> None:
        """Turn towards an angle."""
        with self._lock:
            before = self.servos[axis].target_deg
            super().drive(axis, target_deg, t_ns)
            if self.servos[axis].target_deg != before:
                self._say(t_ns)

    def let_go(self, axis: int, t_ns: int) -> None:
        """Take the torque away."""
        with self._lock:
            before = self.servos[axis].target_deg
            super().let_go(axis, t_ns)
            if self.servos[axis].target_deg != before:
                self._say(t_ns)

    def _say(self, t_ns: int) -> None:
        line = json.dumps([t_ns, *(servo.target_deg for servo in self.servos)]) + "\n"
        with contextlib.suppress(BlockingIOError, BrokenPipeError):  # short enough to go whole or not at all
            os.write(self._out, line.encode())


class Grip:
    """What the load cell feels: the scenario's hand at the instant of each conversion."""

    def __init__(self, squeezes: Sequence[SqueezeInput], seed: int) -> None:
        self._stimulus = Stimulus(Scenario(duration_s=None, inputs=tuple(squeezes)), seed)
        self.origin_ns = time.monotonic_ns()  # where the world's time was 0

    def newtons(self) -> float:
        """The force now."""
        sample = max(0, time.monotonic_ns() - self.origin_ns) // FORCE_NS
        return self._stimulus.sensed_n(sample, self._stimulus.squeeze_n(sample * FORCE_NS * 1e-9))


class DevicesApart:
    """The process, as the world drives it. `servo` and `force` are the TCP ports of the emulated lines on this machine."""

    def __init__(self, servo: int, force: int, squeezes: Sequence[SqueezeInput], seed: int) -> None:
        plan = {"servo": servo, "force": force, "seed": seed, "squeezes": [[item.t_s, item.force_n] for item in squeezes]}
        paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        # A group of its own: Ctrl-C is the device's to take, which brings the head to rest while the servos still answer.
        self.process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=paths, process_group=0
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None  # they were asked for
        self._down, self._up = self.process.stdin.fileno(), self.process.stdout.fileno()
        self._heard = b""
        os.write(self._down, json.dumps(plan).encode() + b"\n")
        os.set_blocking(self._down, False)
        os.set_blocking(self._up, False)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the servos were asked for the first time: the firmware has booted. Returns whether they were."""
        return bool(select.select([self._up], [], [], timeout_s)[0])

    def begin(self, origin_ns: int) -> None:
        """Tell when the world's time was 0. Raises DeviceError when the process is gone."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._down, b"%d\n" % origin_ns)
        if self.process.poll() is not None:
            came = f"their process ended with status {self.process.returncode}"
            raise DeviceError("simulated servos and load cell", came, "one that lasts as long as the run", "what it printed above is the cause")

    def told(self) -> list[Told]:
        """Return and forget the changes of the servos' targets since the last call, oldest first."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._up, CHUNK):
                self._heard += chunk
        *lines, self._heard = self._heard.split(b"\n")
        return [tuple(json.loads(line)) for line in lines]

    def close(self) -> None:
        """End the process; safe to call twice."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> DevicesApart:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def main() -> None:
    """Simulate what the first line of the input asks for, until the input ends. Raises what a device raised."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out = sys.stdout.fileno()
    os.set_blocking(out, False)
    plan = json.loads(sys.stdin.readline())
    grip = Grip([SqueezeInput(t_s, tuple(tuple(point) for point in points)) for t_s, points in plan["squeezes"]], plan["seed"])
    servos = DevicePort(head(ToldAxes(out)), connect=("127.0.0.1", plan["servo"]))
    with servos, DevicePort(LoadCell(grip.newtons), connect=("127.0.0.1", plan["force"])) as cell:
        for line in sys.stdin:
            grip.origin_ns = int(line)
            if not (servos.running and cell.running):
                return  # closing them raises the cause


if __name__ == "__main__":
    main()
