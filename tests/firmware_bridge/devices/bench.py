"""The firmware's devices as a shared library, joined to simulated devices by lines that take their time.

The library is built with the undefined-behaviour sanitizer set to trap: what C leaves undefined ends the test run with a signal.
"""

from __future__ import annotations

import ctypes
import subprocess
from ctypes import c_bool, c_int, c_int16, c_size_t, c_uint, c_uint8, c_uint16, c_uint32
from pathlib import Path
from typing import Any

from innervate.boards.emulator.devices.wire import Device

ROOT = Path(__file__).parents[3]
FIRMWARE = ROOT / "firmware_bridge" / "firmware"
SOURCES = [FIRMWARE / "devices" / name for name in ("line.c", "sts.c", "modbus_force.c")]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
SANITIZER = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]

SERVO, FORCE = 1, 2  # ports
BYTE_NS = {SERVO: 10_000, FORCE: 86_806}
STEP_NS = 200_000  # one turn of the main loop
PAN, TILT = 0, 1
MOTOR_OK, MOTOR_SILENT, MOTOR_OVERLOAD, MOTOR_HOT, MOTOR_VOLTAGE, MOTOR_SENSOR = range(6)
FORCE_OK, FORCE_SILENT, FORCE_EXCEPTION, FORCE_OVERLOAD = range(4)
UNKNOWN, FIT, WRONG_MODE = range(3)
# Serial calls in one poll: eight reads of the queue at most, one write, a few questions about room. See line.h.
CALLS_MAX = 2 * 12


class MotorSample(ctypes.Structure):
    t_ticks: int
    position_cdeg: int
    speed_cdeg_s: int
    fault: int
    valid: bool
    _fields_ = [("t_ticks", c_uint32), ("position_cdeg", c_int16), ("speed_cdeg_s", c_int16), ("fault", c_uint8), ("valid", c_bool)]


class ForceSample(ctypes.Structure):
    t_ticks: int
    force_cn: int
    seq: int
    fault: int
    valid: bool
    _fields_ = [("t_ticks", c_uint32), ("force_cn", c_int16), ("seq", c_uint8), ("fault", c_uint8), ("valid", c_bool)]


class StsState(ctypes.Structure):
    identity: int
    model: int
    status: int
    voltage_dv: int
    temperature_c: int
    torque: bool
    confirmed: bool
    answers: int
    timeouts: int
    bad_checksums: int
    wrong_packets: int
    torque_losses: int
    stray_bytes: int
    _fields_ = [
        ("identity", c_int),
        ("model", c_uint16),
        *[(name, c_uint8) for name in ("status", "voltage_dv", "temperature_c")],
        *[(name, c_bool) for name in ("torque", "confirmed")],
        *[(name, c_uint32) for name in ("answers", "timeouts", "bad_checksums", "wrong_packets", "torque_losses", "stray_bytes")],
    ]


class ForceMap(ctypes.Structure):
    _fields_ = [
        *[(name, c_uint8) for name in ("unit", "function")],
        ("first", c_uint16),
        ("format", c_int),
        ("spare", c_uint8),
    ]


class ForceState(ctypes.Structure):
    status: int
    exception: int
    answers: int
    timeouts: int
    bad_crcs: int
    exceptions: int
    not_numbers: int
    unchanged: int
    stray_bytes: int
    _fields_ = [
        ("status", c_uint16),
        ("exception", c_uint8),
        *[(name, c_uint32) for name in ("answers", "timeouts", "bad_crcs", "exceptions", "not_numbers", "unchanged", "stray_bytes")],
    ]


def build(folder: Path) -> Path:
    """Compile the devices with the test's HAL; warnings are errors."""
    library = folder / "devices.so"
    sources = [*SOURCES, Path(__file__).with_name("bench.c")]
    command = ["cc", "-std=c11", "-O1", "-g", *WARNINGS, *SANITIZER, "-shared", "-fPIC", f"-I{FIRMWARE / 'core'}", f"-I{FIRMWARE / 'devices'}"]
    done = subprocess.run([*command, *map(str, sources), "-o", str(library)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def load(library: Path) -> ctypes.CDLL:
    """Load the library and declare what its functions take and give."""
    lib = ctypes.CDLL(str(library))
    signatures: dict[str, tuple[list[Any], Any]] = {
        "bench_reset": ([c_uint32, c_uint32], None),
        "bench_ticks": ([c_uint32], None),
        "bench_room": ([c_size_t], None),
        "bench_push": ([c_uint, ctypes.c_char_p, c_size_t], None),
        "bench_take": ([c_uint, ctypes.c_char_p, c_size_t], c_size_t),
        "bench_calls": ([], c_uint32),
        "motor_init": ([], None),
        "motor_poll": ([], None),
        "motor_target": ([c_uint, c_int16], None),
        "motor_torque": ([c_bool], None),
        "motor_sample": ([c_uint], MotorSample),
        "sts_state": ([c_uint], StsState),
        "force_init": ([], None),
        "force_poll": ([], None),
        "force_configure": ([ctypes.POINTER(ForceMap)], None),
        "force_sample": ([], ForceSample),
        "force_state": ([], ForceState),
        "modbus_crc": ([ctypes.c_char_p, c_size_t], c_uint16),
    }
    for name, (takes, gives) in signatures.items():
        function = getattr(lib, name)
        function.argtypes, function.restype = takes, gives
    return lib


class Line:
    """One direction of a serial line: bytes arrive one after another, each after its own time."""

    def __init__(self, byte_ns: int) -> None:
        self._byte_ns = byte_ns
        self._queue = bytearray()
        self._next_ns = 0

    def put(self, data: bytes, t_ns: int) -> None:
        if not self._queue:
            self._next_ns = max(self._next_ns, t_ns + self._byte_ns)
        self._queue += data

    def arrived(self, t_ns: int) -> bytes:
        if not self._queue or t_ns < self._next_ns:
            return b""
        count = min(len(self._queue), (t_ns - self._next_ns) // self._byte_ns + 1)
        self._next_ns += count * self._byte_ns
        data = bytes(self._queue[:count])
        del self._queue[:count]
        return data


class Bench:
    """The firmware's devices, a clock and the lines. Without a device on a port, its questions go nowhere."""

    def __init__(self, lib: ctypes.CDLL, devices: dict[int, Device], hz: int = 1_000_000, ticks: int = 0, force_map: ForceMap | None = None) -> None:
        self.lib, self.devices, self.hz = lib, devices, hz
        self.t_ns = 0
        self._start = ticks
        self.said: dict[int, bytearray] = {SERVO: bytearray(), FORCE: bytearray()}  # what the firmware sent
        self.lossy = {SERVO: 0, FORCE: 0}  # so many bytes of what it sends are lost next
        self._to = {port: Line(BYTE_NS[port]) for port in BYTE_NS}
        self._from = {port: Line(BYTE_NS[port]) for port in BYTE_NS}
        lib.bench_reset(hz, ticks)
        lib.motor_init()
        if force_map is None:
            lib.force_init()
        else:
            lib.force_configure(ctypes.byref(force_map))

    def ticks(self, t_ns: int | None = None) -> int:
        """The counter at a time, now by default."""
        return (self._start + (self.t_ns if t_ns is None else t_ns) * self.hz // 1_000_000_000) & 0xFFFFFFFF

    def age_ns(self, t_ticks: int) -> int:
        """How long ago the counter showed `t_ticks`."""
        return ((self.ticks() - t_ticks) & 0xFFFFFFFF) * 1_000_000_000 // self.hz

    def step(self) -> None:
        """One turn of the main loop, and what the lines carried meanwhile."""
        self.t_ns += STEP_NS
        self.lib.bench_ticks(self.ticks())
        for port in self.devices:
            self._carry(port)
        self.lib.motor_poll()
        self.lib.force_poll()
        assert self.lib.bench_calls() <= CALLS_MAX
        for port in BYTE_NS:
            sent = self._take(port)
            self.said[port] += sent
            dropped = min(self.lossy[port], len(sent))
            self.lossy[port] -= dropped
            self._to[port].put(sent[dropped:], self.t_ns)

    def _carry(self, port: int) -> None:
        heard = self._to[port].arrived(self.t_ns)
        if heard:
            self.devices[port].feed(heard, self.t_ns)
        self._from[port].put(self.devices[port].take(self.t_ns), self.t_ns)
        self.push(port, self._from[port].arrived(self.t_ns))

    def _take(self, port: int) -> bytes:
        buffer = ctypes.create_string_buffer(1024)
        count = self.lib.bench_take(port, buffer, 1024)
        return buffer.raw[:count]

    def push(self, port: int, data: bytes) -> None:
        """Bytes that the firmware receives now, from whomever."""
        if data:
            self.lib.bench_push(port, data, len(data))

    def stall(self, seconds: float) -> None:
        """The processor stands still (it erases flash, an emulator has no CPU); devices and lines go on."""
        until_ns = self.t_ns + round(seconds * 1e9)
        while self.t_ns < until_ns:
            self.t_ns += STEP_NS
            for port in self.devices:
                self._carry(port)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end_ns = self.t_ns + round(seconds * 1e9)
        while self.t_ns < end_ns:
            self.step()

    def motor(self, axis: int) -> MotorSample:
        sample: MotorSample = self.lib.motor_sample(axis)
        return sample

    def servo_state(self, axis: int) -> StsState:
        state: StsState = self.lib.sts_state(axis)
        return state

    def force(self) -> ForceSample:
        sample: ForceSample = self.lib.force_sample()
        return sample

    def cell_state(self) -> ForceState:
        state: ForceState = self.lib.force_state()
        return state
