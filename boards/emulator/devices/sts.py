"""Feetech STS3215 servos on their bus, byte for byte.

The wire. FF FF id len instruction parameters checksum; len counts instruction, parameters and checksum; the checksum is the inverted sum from
id on. A status packet carries the error byte in the place of the instruction. Multi-byte registers are little endian, sign in bit 15.
Broadcasts (id FE) are not answered but by SYNC READ. Sources: Feetech's communication protocol manual for smart bus servos and the memory
table of the STS series; their example packets are in the tests' vectors.

What it does not imitate: load and current (0), the speed and acceleration registers (kept and read back, but the plant moves by its own limits),
REG WRITE, ACTION, modes other than position (a goal is then ignored), offset and calibration (128 in the torque register is plain torque).
A SYNC READ skips absent servos at once; what a real one's neighbours do is not documented. A question for registers beyond the
table is not answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from innervate.boards.emulator.devices.faults import ServoFaults
from innervate.boards.emulator.devices.plants import AXES, Axes
from innervate.boards.emulator.devices.wire import GAP_NS, KEPT_BYTES_MAX, Outbox, garbled

BROADCAST = 0xFE
MODEL = 777
STEPS = 4096  # per turn
CENTRE = 2048  # angle 0
HEADER = b"\xff\xff"
BOOT_NS = 200_000_000  # a servo that gets power is deaf for about this long
BYTE_NS = 10_000  # at 1 Mbit/s
THINK_NS = 30_000  # from the end of a question to the start of its answer, besides the return delay register
MOVING_DEG_S = 0.2


class Instruction(IntEnum):
    """Those that the simulator knows."""

    PING = 1
    READ = 2
    WRITE = 3
    SYNC_READ = 0x82
    SYNC_WRITE = 0x83


class Reg(IntEnum):
    """First bytes of the registers that mean something here."""

    MODEL = 3
    ID = 5
    RETURN_DELAY = 7  # in 2 microseconds
    ANGLE_MIN = 9
    ANGLE_MAX = 11
    MODE = 33
    TORQUE = 40
    ACCELERATION = 41
    GOAL = 42
    GOAL_TIME = 44
    SPEED = 46
    LOCK = 55
    POSITION = 56
    PRESENT_SPEED = 58
    LOAD = 60
    VOLTAGE = 62
    TEMPERATURE = 63
    STATUS = 65
    MOVING = 66


TABLE = 71
ERROR_VOLTAGE, ERROR_SENSOR, ERROR_HOT, ERROR_CURRENT, ERROR_OVERLOAD = 1, 2, 4, 8, 32


def packet(ident: int, kind: int, parameters: bytes = b"") -> bytes:
    """Close a packet; `kind` is the instruction of a question or the error byte of an answer."""
    body = bytes([ident, len(parameters) + 2, kind]) + parameters
    return HEADER + body + bytes([~sum(body) & 0xFF])


def sign_and_magnitude(value: int) -> bytes:
    """Two bytes, low first, sign in bit 15; saturates."""
    magnitude = min(abs(value), 0x7FFF)
    return (magnitude | (0x8000 if value < 0 else 0)).to_bytes(2, "little")


def steps_of(angle_deg: float) -> int:
    """The encoder's step at an angle."""
    return CENTRE + round(angle_deg * STEPS / 360.0)


def angle_of(steps: int) -> float:
    """The angle in degrees of a step."""
    return (steps - CENTRE) * 360.0 / STEPS


def _factory(ident: int) -> bytearray:
    table = bytearray(TABLE)
    table[0:3] = bytes([3, 10, 0])  # firmware version, byte order
    table[Reg.MODEL : Reg.MODEL + 2] = MODEL.to_bytes(2, "little")
    table[Reg.ID] = ident
    table[8] = 1  # answers everything
    table[Reg.ANGLE_MAX : Reg.ANGLE_MAX + 2] = (STEPS - 1).to_bytes(2, "little")
    table[13:16] = bytes([70, 140, 60])  # limits: degrees Celsius, 0.1 V above, 0.1 V below
    table[16:18] = table[48:50] = (1000).to_bytes(2, "little")  # torque limit, 0.1 %
    table[Reg.LOCK] = 1
    return table


@dataclass(slots=True)
class StsServo:
    """One servo: its table of registers and the axis that it turns.

    goal_enables_torque: some versions of the servo switch their torque on when a goal is written; so does this one, being the harder case.
    """

    ident: int
    axis: int
    plant: Axes
    goal_enables_torque: bool = True
    voltage_dv: int = 120
    temperature_c: int = 38
    faults: ServoFaults = field(default_factory=ServoFaults)
    table: bytearray = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.ident < BROADCAST or not 0 <= self.axis < AXES:
            came = f"id {self.ident}, axis {self.axis}"
            raise ValueError(f"servo: {came}; expected an id of 0..253 and an axis of 0..{AXES - 1}; see boards/emulator/devices")
        self.table = _factory(self.ident)

    def power_up(self) -> None:
        """Lose what is not kept in EEPROM: torque off, no goal."""
        self.table[Reg.TORQUE :] = _factory(self.ident)[Reg.TORQUE :]

    def word(self, at: int) -> int:
        """The unsigned 16-bit register at `at`."""
        return int.from_bytes(self.table[at : at + 2], "little")

    def error(self) -> int:
        """The error byte of every answer."""
        faults = self.faults
        bits = ERROR_VOLTAGE * faults.low_voltage | ERROR_SENSOR * faults.broken_sensor
        return bits | ERROR_HOT * faults.hot | ERROR_OVERLOAD * faults.overload

    def measure(self, t_ns: int) -> None:
        """Bring the registers of what is measured up to date."""
        angle_deg, rate_deg_s = self.plant.state(self.axis, t_ns)
        table = self.table
        if not self.faults.stuck:
            steps = STEPS + 900 if self.faults.over_range else steps_of(angle_deg)
            table[Reg.POSITION : Reg.POSITION + 2] = sign_and_magnitude(steps)
            table[Reg.PRESENT_SPEED : Reg.PRESENT_SPEED + 2] = sign_and_magnitude(round(rate_deg_s * STEPS / 360.0))
        table[Reg.VOLTAGE] = 52 if self.faults.low_voltage else self.voltage_dv
        table[Reg.TEMPERATURE] = 85 if self.faults.hot else self.temperature_c
        table[Reg.STATUS] = self.error()
        table[Reg.MOVING] = abs(rate_deg_s) > MOVING_DEG_S

    def read(self, first: int, count: int, t_ns: int) -> bytes | None:
        """Registers first..first+count-1 at `t_ns`; None beyond the table."""
        if count == 0 or first + count > TABLE:
            return None
        self.measure(t_ns)
        return bytes(self.table[first : first + count])

    def write(self, first: int, data: bytes, t_ns: int) -> None:
        """Write what may be written: EEPROM (5..39) only when unlocked, nothing from POSITION on."""
        before = bytes(self.table)
        for at, value in enumerate(data, first):
            if Reg.TORQUE <= at < Reg.POSITION or (Reg.ID <= at < Reg.TORQUE and self.table[Reg.LOCK] == 0):
                self.table[at] = value
        goal_came = first < Reg.GOAL + 2 and first + len(data) > Reg.GOAL
        if goal_came and self.goal_enables_torque:
            self.table[Reg.TORQUE] = 1
        if self.table[Reg.TORQUE] and (goal_came or not before[Reg.TORQUE]):
            self._move(t_ns)
        elif not self.table[Reg.TORQUE] and before[Reg.TORQUE]:
            self.plant.let_go(self.axis, t_ns)

    def _move(self, t_ns: int) -> None:
        raw = self.word(Reg.GOAL)
        goal = -(raw & 0x7FFF) if raw & 0x8000 else raw
        if self.table[Reg.MODE] == 0:
            steps = max(self.word(Reg.ANGLE_MIN), min(self.word(Reg.ANGLE_MAX), goal))
            self.plant.drive(self.axis, angle_of(steps), t_ns)


class StsBus:
    """The bus with its servos: a `wire.Device`. With `echo` everything heard is said again, as on a half-duplex line without direction control."""

    def __init__(self, servos: Sequence[StsServo], echo: bool = False) -> None:
        self.servos = {servo.ident: servo for servo in servos}
        self.echo = echo
        self.gap_ns = GAP_NS
        self.deaf_until_ns = 0
        self._powered = True
        self._rx = bytearray()
        self._heard_ns = 0
        self._free_ns = 0  # the bus is one line: answers follow one another
        self._out = Outbox()

    @property
    def powered(self) -> bool:
        """Whether the servos have their supply."""
        return self._powered

    def power(self, on: bool, t_ns: int) -> None:
        """Switch the servos' supply. Without it they are silent and let go; with it they start anew after 0.2 s."""
        if on and not self._powered:
            self.deaf_until_ns = t_ns + BOOT_NS
        if not on and self._powered:
            self._out.clear()
            self._rx.clear()
            for servo in self.servos.values():
                servo.power_up()
                servo.plant.let_go(servo.axis, t_ns)
        self._powered = on

    def feed(self, data: bytes, t_ns: int) -> None:
        """Bytes that arrived at `t_ns`."""
        if self.echo:
            self._out.put(t_ns, data)
        if not self._powered or t_ns < self.deaf_until_ns:
            return
        if t_ns - self._heard_ns > self.gap_ns:
            self._rx.clear()
        self._heard_ns = t_ns
        self._free_ns = max(self._free_ns, t_ns)
        self._rx += data
        while (question := self._next()) is not None:
            self._obey(question[0], question[1], question[2:], t_ns)
        del self._rx[:-KEPT_BYTES_MAX]

    def _next(self) -> bytes | None:
        """Take the next whole packet with a right checksum out of what came: id, instruction, parameters."""
        rx = self._rx
        while (start := rx.find(HEADER)) >= 0:
            del rx[:start]
            if len(rx) < 4:
                return None
            whole = rx[3] + 4
            if rx[2] == 0xFF or rx[3] < 2:
                del rx[0]
            elif len(rx) < whole:
                return None
            elif ~sum(rx[2 : whole - 1]) & 0xFF != rx[whole - 1]:
                del rx[0]
            else:
                body = bytes([rx[2], *rx[4 : whole - 1]])
                del rx[:whole]
                return body
        del rx[: max(0, len(rx) - 1)]  # a header may have begun
        return None

    def _obey(self, ident: int, kind: int, parameters: bytes, t_ns: int) -> None:
        servo = self.servos.get(ident)
        if kind == Instruction.SYNC_WRITE and ident == BROADCAST and len(parameters) >= 2:
            first, count = parameters[0], parameters[1]
            for at in range(2, len(parameters) - count, count + 1):
                target = self.servos.get(parameters[at])
                if target is not None:
                    target.write(first, parameters[at + 1 : at + 1 + count], t_ns)
        elif kind == Instruction.SYNC_READ and ident == BROADCAST and len(parameters) >= 3:
            for each in parameters[2:]:
                self._answer(self.servos.get(each), parameters[0], parameters[1], t_ns)
        elif kind == Instruction.WRITE and len(parameters) >= 2:
            for target in self.servos.values() if ident == BROADCAST else filter(None, [servo]):
                target.write(parameters[0], parameters[1:], t_ns)
            self._say(servo, b"", t_ns)
        elif kind == Instruction.READ and len(parameters) == 2:
            self._answer(servo, parameters[0], parameters[1], t_ns)
        elif kind == Instruction.PING:
            self._say(servo, b"", t_ns)

    def _answer(self, servo: StsServo | None, first: int, count: int, t_ns: int) -> None:
        data = None if servo is None else servo.read(first, count, t_ns)
        if data is not None:
            self._say(servo, data, t_ns)

    def _say(self, servo: StsServo | None, data: bytes, t_ns: int) -> None:
        if servo is None or servo.faults.silent:
            return
        faults = servo.faults
        answer = garbled(packet(servo.ident ^ faults.wrong_id, servo.error(), data), faults, tail=1)
        delay_ns = 2_000 * servo.table[Reg.RETURN_DELAY] + THINK_NS
        self._free_ns += delay_ns + BYTE_NS * len(answer)
        self._out.put(self._free_ns + faults.late_ns, answer)

    def take(self, t_ns: int) -> bytes:
        """Everything sent up to `t_ns`; a packet comes whole, when its last byte is through."""
        return self._out.take(t_ns)

    def due_ns(self) -> int | None:
        """When the oldest untaken byte leaves."""
        return self._out.due_ns()


def head(plant: Axes, echo: bool = False) -> StsBus:
    """The handheld's bus: pan under id 1, tilt under id 2."""
    return StsBus([StsServo(1 + axis, axis, plant) for axis in range(AXES)], echo)
