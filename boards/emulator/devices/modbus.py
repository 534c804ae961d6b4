"""A load-cell transmitter that speaks Modbus RTU, byte for byte.

The wire. Question: unit, function, first register, count, CRC; answer: unit, function, byte count, registers, CRC; refusal: unit, function + 128,
exception code, CRC. Numbers are big endian, the CRC goes low byte first. Sources: "MODBUS application protocol", V1.1b3, and "MODBUS over
serial line", V1.02; check value and example frames are in the tests' vectors.

The map, the same for holding (3) and input registers (4): 0 and 1 force in 0.01 N, int32 or binary32, high word first; 2 status (1 beyond the
range, 2 broken); 3 a counter of the conversions; 4 the capacity in newtons; 5 the unit. The converter runs at 100 Hz of the line's time.

What it does not imitate: writing (an exception, as of a device that may only be read), filters, tare, drift. Questions end by their length, not by a
silence, so it also works over a socket; bytes that are no question are skipped until one begins.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from innervate.boards.emulator.devices.faults import CellFaults
from innervate.boards.emulator.devices.wire import GAP_NS, KEPT_BYTES_MAX, Outbox, garbled

CONVERSION_NS = 10_000_000
THINK_NS = 200_000
CHARACTER_NS = 10 * 1_000_000_000 // 115_200  # 8N1
QUESTION = 8
COUNT_MAX = 125  # registers in one answer
STATUS_OVERLOAD, STATUS_BROKEN = 1, 2


class Refusal(IntEnum):
    """Exception codes of the standard."""

    FUNCTION = 1
    ADDRESS = 2
    VALUE = 3
    FAILURE = 4
    BUSY = 6


def crc(data: bytes) -> int:
    """CRC-16/MODBUS: polynomial 0x8005 reflected, start 0xFFFF. 0x4B37 for b"123456789"."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


def frame(unit: int, pdu: bytes) -> bytes:
    """Close a frame: unit, PDU, CRC."""
    body = bytes([unit]) + pdu
    return body + crc(body).to_bytes(2, "little")


@dataclass(slots=True)
class LoadCell:
    """The transmitter: a `wire.Device`. `newtons` gives the force on the cell; it is asked once for each conversion."""

    newtons: Callable[[], float]
    unit: int = 1
    number: Literal["int32", "float32"] = "int32"
    capacity_n: float = 100.0
    gap_ns: int = GAP_NS
    faults: CellFaults = field(default_factory=CellFaults)
    _rx: bytearray = field(default_factory=bytearray)
    _heard_ns: int = 0
    _out: Outbox = field(default_factory=Outbox)
    _conversion: int = -1
    _centinewtons: float = 0.0
    _on: bool = True

    def power(self, on: bool) -> None:
        """Switch its supply: without it it is silent."""
        self._on = on
        if not on:
            self._rx.clear()
            self._out.clear()

    def feed(self, data: bytes, t_ns: int) -> None:
        """Bytes that arrived at `t_ns`."""
        if not self._on:
            return
        if t_ns - self._heard_ns > self.gap_ns:
            self._rx.clear()
        self._heard_ns = t_ns
        self._rx += data
        rx = self._rx
        while len(rx) >= QUESTION:
            if rx[0] not in (0, self.unit) or crc(bytes(rx[: QUESTION - 2])) != rx[6] | rx[7] << 8:
                del rx[0]
                continue
            question = bytes(rx[: QUESTION - 2])
            del rx[:QUESTION]
            if question[0] != 0:  # broadcasts are not answered
                self._say(self._reply(question[1], question[2:], t_ns), t_ns)
        del rx[:-KEPT_BYTES_MAX]

    def take(self, t_ns: int) -> bytes:
        """Everything sent up to `t_ns`; a frame comes whole, when its last byte is through."""
        return self._out.take(t_ns)

    def due_ns(self) -> int | None:
        """When the oldest untaken byte leaves."""
        return self._out.due_ns()

    def registers(self, t_ns: int) -> list[int]:
        """The map as it reads at `t_ns`: six 16-bit registers."""
        if t_ns // CONVERSION_NS != self._conversion:
            self._conversion = t_ns // CONVERSION_NS
            if not self.faults.stuck:
                force_n = 2.0 * self.capacity_n if self.faults.over_range else self.newtons()
                self._centinewtons = 100.0 * force_n
        beyond = abs(self._centinewtons) > 100.0 * self.capacity_n or self.faults.over_range
        status = STATUS_OVERLOAD * beyond | STATUS_BROKEN * self.faults.broken
        if self.number == "float32":
            value = struct.pack(">f", math.nan if self.faults.broken else self._centinewtons)
        else:
            value = struct.pack(">i", max(-(2**31), min(2**31 - 1, round(self._centinewtons))))
        return [*struct.unpack(">HH", value), status, self._conversion & 0xFFFF, min(round(self.capacity_n), 0xFFFF), self.unit]

    def _reply(self, function: int, parameters: bytes, t_ns: int) -> bytes:
        first, count = struct.unpack(">HH", parameters)
        refused = self.faults.exception
        table = self.registers(t_ns)
        if not refused and function not in (3, 4):
            refused = Refusal.FUNCTION
        elif not refused and not 1 <= count <= COUNT_MAX:
            refused = Refusal.VALUE
        elif not refused and first + count > len(table):
            refused = Refusal.ADDRESS
        if refused:
            return bytes([function | 0x80, refused])
        return struct.pack(f">BB{count}H", function, 2 * count, *table[first : first + count])

    def _say(self, pdu: bytes, t_ns: int) -> None:
        if self.faults.silent:
            return
        answer = garbled(frame(self.unit ^ self.faults.wrong_id, pdu), self.faults, tail=2)
        self._out.put(t_ns + THINK_NS + CHARACTER_NS * len(answer) + self.faults.late_ns, answer)
