"""The messages of the link. Made from schema.toml by `python -m innervate.firmware_bridge.generate`; edit the schema, not this file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import ClassVar

from innervate.firmware_bridge.message import Delivery, Message, Spec

PROTOCOL = 1
SCHEMA_HASH = 0xFD368178B8B5CAD5


class State(IntEnum):
    """`state` of the schema; UNKNOWN is what an end of another version said."""

    UNCONFIGURED = 0
    STOPPED = 1
    READY = 2
    MOVING = 3
    UNKNOWN = 255


class Cause(IntEnum):
    """`cause` of the schema; UNKNOWN is what an end of another version said."""

    NONE = 0
    BOOT = 1
    HOST_REQUEST = 2
    HOST_EXIT = 3
    HOST_FAULT = 4
    DEADMAN = 5
    FORCE_OVER = 6
    FORCE_STUCK = 7
    FORCE_MISSING = 8
    MOTOR = 9
    SESSION = 10
    WATCHDOG = 11
    UPDATE = 12
    UNKNOWN = 255


class Safe(IntEnum):
    """`safe` of the schema; UNKNOWN is what an end of another version said."""

    HOLD = 0
    RELEASE = 1
    UNKNOWN = 255


class Status(IntEnum):
    """`status` of the schema; UNKNOWN is what an end of another version said."""

    OK = 0
    STATE = 1
    RANGE = 2
    SCHEMA = 3
    BOOT = 4
    IMAGE = 5
    UNSUPPORTED = 6
    UNKNOWN = 255


class Image(IntEnum):
    """`image` of the schema; UNKNOWN is what an end of another version said."""

    OK = 0
    ORDER = 1
    SIZE = 2
    MAGIC = 3
    TARGET = 4
    OLDER = 5
    CRC = 6
    SHA = 7
    SIGNATURE = 8
    FLASH = 9
    UNKNOWN = 255


class ResetCause(IntEnum):
    """`reset_cause` of the schema; UNKNOWN is what an end of another version said."""

    POWER = 0
    SOFTWARE = 1
    WATCHDOG = 2
    OTHER = 3
    UNKNOWN = 255


class Port(IntEnum):
    """`port` of the schema; UNKNOWN is what an end of another version said."""

    HOST = 0
    STM32F405 = 1
    MPS2_AN385 = 2
    UNKNOWN = 255


class Capability(IntFlag):
    """Bits of `about.capabilities`."""

    MOTOR = 1
    FORCE = 2
    FLASH = 4
    WATCHDOG = 8


@dataclass(frozen=True, slots=True)
class Hello(Message):
    """Opens a session; repeated with the same nonce until welcome answers; a new nonce ends the old session."""

    ID: ClassVar[int] = 0x01
    NAME: ClassVar[str] = "hello"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0xBA27966A
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<BQI")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("protocol", 1.0, None, None, None, 0),
        Spec("schema_hash", 1.0, None, None, None, 0),
        Spec("nonce", 1.0, 1, None, None, 0),
    )

    protocol: int
    schema_hash: int
    nonce: int


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """Asks for pong: one clock sample."""

    ID: ClassVar[int] = 0x02
    NAME: ClassVar[str] = "ping"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 2
    SEED: ClassVar[int] = 0x0000291D
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<I")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("token", 1.0, None, None, None, 0),
    )

    token: int


@dataclass(frozen=True, slots=True)
class Setpoint(Message):
    """Where the axes shall go, from execute_at on, and until when that is worth anything; the only food of the deadman."""

    ID: ClassVar[int] = 0x10
    NAME: ClassVar[str] = "setpoint"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0xE63BFDAE
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IIhh")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("execute_at_ticks", 1.0, None, None, None, 0),
        Spec("valid_until_ticks", 1.0, None, None, None, 0),
        Spec("pan_deg", 0.01, -18000, 18000, None, 0),
        Spec("tilt_deg", 0.01, -18000, 18000, None, 0),
    )

    execute_at_ticks: int
    valid_until_ticks: int
    pan_deg: float
    tilt_deg: float


@dataclass(frozen=True, slots=True)
class Stop(Message):
    """Latched stop; obeyed in any state, with or without a session; token comes back in stopped."""

    ID: ClassVar[int] = 0x11
    NAME: ClassVar[str] = "stop"
    DELIVERY: ClassVar[Delivery] = "urgent"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x523CA789
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<BB")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("cause", 1.0, 0, 12, Cause, 0),
        Spec("token", 1.0, None, None, None, 0),
    )

    cause: Cause
    token: int


@dataclass(frozen=True, slots=True)
class Configure(Message):
    """The board's limits; accepted while nothing is armed; the firmware keeps none over a reset."""

    ID: ClassVar[int] = 0x12
    NAME: ClassVar[str] = "configure"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x46B8C115
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<hhhhHHHBhHHH")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("pan_min_deg", 0.01, -18000, 18000, None, 0),
        Spec("pan_max_deg", 0.01, -18000, 18000, None, 0),
        Spec("tilt_min_deg", 0.01, -18000, 18000, None, 0),
        Spec("tilt_max_deg", 0.01, -18000, 18000, None, 0),
        Spec("pan_rate_deg_s", 0.1, 10, 7200, None, 0),
        Spec("tilt_rate_deg_s", 0.1, 10, 7200, None, 0),
        Spec("deadman_ms", 1.0, 20, 500, None, 0),
        Spec("safe", 1.0, 0, 1, Safe, 0),
        Spec("force_max_n", 0.01, 0, 32000, None, 0),
        Spec("force_stuck_ms", 1.0, 0, 60000, None, 0),
        Spec("force_missing_ms", 1.0, 0, 60000, None, 0),
        Spec("servo_missing_ms", 1.0, 0, 1000, None, 0),
    )

    pan_min_deg: float
    pan_max_deg: float
    tilt_min_deg: float
    tilt_max_deg: float
    pan_rate_deg_s: float
    tilt_rate_deg_s: float
    deadman_ms: int
    safe: Safe
    force_max_n: float
    force_stuck_ms: int
    force_missing_ms: int
    servo_missing_ms: int


@dataclass(frozen=True, slots=True)
class Arm(Message):
    """Explicit re-arm: names the boot and the stop that it ends, so that an old one cannot end a newer stop."""

    ID: ClassVar[int] = 0x13
    NAME: ClassVar[str] = "arm"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0xF2C6502E
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IH")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("boot_id", 1.0, None, None, None, 0),
        Spec("stop_count", 1.0, None, None, None, 0),
    )

    boot_id: int
    stop_count: int


@dataclass(frozen=True, slots=True)
class Rest(Message):
    """The motion is over: hold still; the deadman sleeps until the next setpoint."""

    ID: ClassVar[int] = 0x14
    NAME: ClassVar[str] = "rest"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0xB920A4FA
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<")
    FIELDS: ClassVar[tuple[Spec, ...]] = ()


@dataclass(frozen=True, slots=True)
class Reset(Message):
    """Stop, then restart the processor."""

    ID: ClassVar[int] = 0x15
    NAME: ClassVar[str] = "reset"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x404C6330
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<I")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("boot_id", 1.0, None, None, None, 0),
    )

    boot_id: int


@dataclass(frozen=True, slots=True)
class Dictionary(Message):
    """Asks for one dictionary_data at this offset."""

    ID: ClassVar[int] = 0x16
    NAME: ClassVar[str] = "dictionary"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x6B7FAA8B
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<H")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("offset", 1.0, None, None, None, 0),
    )

    offset: int


@dataclass(frozen=True, slots=True)
class Probe(Message):
    """Does nothing, acknowledged: measures the round trip; moves nothing, so CRC-16."""

    ID: ClassVar[int] = 0x17
    NAME: ClassVar[str] = "probe"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 2
    SEED: ClassVar[int] = 0x00005F86
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<16s")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("data", 1.0, None, None, None, 16),
    )

    data: bytes


@dataclass(frozen=True, slots=True)
class Bulk(Message):
    """Does nothing, acknowledged: measures the throughput; moves nothing, so CRC-16."""

    ID: ClassVar[int] = 0x18
    NAME: ClassVar[str] = "bulk"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 2
    SEED: ClassVar[int] = 0x000023A6
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<128s")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("data", 1.0, None, None, None, 128),
    )

    data: bytes


@dataclass(frozen=True, slots=True)
class ImageBegin(Message):
    """Stop, then make the other slot ready for an image of size bytes, header and signature included."""

    ID: ClassVar[int] = 0x20
    NAME: ClassVar[str] = "image_begin"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x6BA96D02
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<I")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("size", 1.0, None, None, None, 0),
    )

    size: int


@dataclass(frozen=True, slots=True)
class ImageData(Message):
    """The next bytes of the image; length is 128 but in the last chunk."""

    ID: ClassVar[int] = 0x21
    NAME: ClassVar[str] = "image_data"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0xD7037A8F
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IB128s")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("offset", 1.0, None, None, None, 0),
        Spec("length", 1.0, 1, 128, None, 0),
        Spec("data", 1.0, None, None, None, 128),
    )

    offset: int
    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ImageEnd(Message):
    """Check the whole image (CRC-32, SHA-256, signature, target, version) and try it at the next reset."""

    ID: ClassVar[int] = 0x22
    NAME: ClassVar[str] = "image_end"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0xEA1909E6
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<")
    FIELDS: ClassVar[tuple[Spec, ...]] = ()


@dataclass(frozen=True, slots=True)
class ImageConfirm(Message):
    """The host found the running image healthy: keep it; without this the next reset goes back to the other slot."""

    ID: ClassVar[int] = 0x23
    NAME: ClassVar[str] = "image_confirm"
    DELIVERY: ClassVar[Delivery] = "command"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x5A7A9C6A
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<I")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("boot_id", 1.0, None, None, None, 0),
    )

    boot_id: int


@dataclass(frozen=True, slots=True)
class Welcome(Message):
    """Answers hello (nonce repeated); sent by itself with nonce 0 four times a second while there is no session; short, to get through."""

    ID: ClassVar[int] = 0x81
    NAME: ClassVar[str] = "welcome"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x584C921A
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<BBQIII")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("protocol", 1.0, None, None, None, 0),
        Spec("port", 1.0, 0, 2, Port, 0),
        Spec("schema_hash", 1.0, None, None, None, 0),
        Spec("nonce", 1.0, None, None, None, 0),
        Spec("boot_id", 1.0, None, None, None, 0),
        Spec("tick_hz", 1.0, None, None, None, 0),
    )

    protocol: int
    port: Port
    schema_hash: int
    nonce: int
    boot_id: int
    tick_hz: int


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """When ping was taken from the line and when this answer was put on it."""

    ID: ClassVar[int] = 0x82
    NAME: ClassVar[str] = "pong"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 2
    SEED: ClassVar[int] = 0x0000CD1E
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<III")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("token", 1.0, None, None, None, 0),
        Spec("received_ticks", 1.0, None, None, None, 0),
        Spec("sent_ticks", 1.0, None, None, None, 0),
    )

    token: int
    received_ticks: int
    sent_ticks: int


@dataclass(frozen=True, slots=True)
class Reply(Message):
    """Answers one command; asked again it gives the same answer without acting again."""

    ID: ClassVar[int] = 0x83
    NAME: ClassVar[str] = "reply"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 2
    SEED: ClassVar[int] = 0x000065F2
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<BBI")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("command_seq", 1.0, None, None, None, 0),
        Spec("status", 1.0, 0, 6, Status, 0),
        Spec("detail", 1.0, None, None, None, 0),
    )

    command_seq: int
    status: Status
    detail: int


@dataclass(frozen=True, slots=True)
class Telemetry(Message):
    """The state of everything, 200 times a second in a session, schema mismatch or not."""

    ID: ClassVar[int] = 0x90
    NAME: ClassVar[str] = "telemetry"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 2
    SEED: ClassVar[int] = 0x0000CF65
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IhhhhhhhBBBBB")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("t_ticks", 1.0, None, None, None, 0),
        Spec("pan_deg", 0.01, None, None, None, 0),
        Spec("tilt_deg", 0.01, None, None, None, 0),
        Spec("pan_deg_s", 0.1, None, None, None, 0),
        Spec("tilt_deg_s", 0.1, None, None, None, 0),
        Spec("pan_goal_deg", 0.01, None, None, None, 0),
        Spec("tilt_goal_deg", 0.01, None, None, None, 0),
        Spec("force_n", 0.01, None, None, None, 0),
        Spec("force_seq", 1.0, None, None, None, 0),
        Spec("state", 1.0, 0, 3, State, 0),
        Spec("cause", 1.0, 0, 12, Cause, 0),
        Spec("device_faults", 1.0, None, None, None, 0),
        Spec("setpoint_seq", 1.0, None, None, None, 0),
    )

    t_ticks: int
    pan_deg: float
    tilt_deg: float
    pan_deg_s: float
    tilt_deg_s: float
    pan_goal_deg: float
    tilt_goal_deg: float
    force_n: float
    force_seq: int
    state: State
    cause: Cause
    device_faults: int
    setpoint_seq: int


@dataclass(frozen=True, slots=True)
class Stopped(Message):
    """A stop, with the firmware's own stamps; at once, then ten times a second while latched."""

    ID: ClassVar[int] = 0x91
    NAME: ClassVar[str] = "stopped"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0xC74EFE1B
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IIHBBi")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("t_food_ticks", 1.0, None, None, None, 0),
        Spec("t_stop_ticks", 1.0, None, None, None, 0),
        Spec("stop_count", 1.0, None, None, None, 0),
        Spec("cause", 1.0, 0, 12, Cause, 0),
        Spec("token", 1.0, None, None, None, 0),
        Spec("detail", 1.0, None, None, None, 0),
    )

    t_food_ticks: int
    t_stop_ticks: int
    stop_count: int
    cause: Cause
    token: int
    detail: int


@dataclass(frozen=True, slots=True)
class Stats(Message):
    """Counters since boot, once a second; they wrap."""

    ID: ClassVar[int] = 0x92
    NAME: ClassVar[str] = "stats"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 2
    SEED: ClassVar[int] = 0x00007E71
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<IIIHHIIHHHHHHHHH")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("frames_good", 1.0, None, None, None, 0),
        Spec("frames_bad_crc", 1.0, None, None, None, 0),
        Spec("frames_bad_length", 1.0, None, None, None, 0),
        Spec("frames_unknown", 1.0, None, None, None, 0),
        Spec("bytes_lost", 1.0, None, None, None, 0),
        Spec("setpoints_accepted", 1.0, None, None, None, 0),
        Spec("setpoints_executed", 1.0, None, None, None, 0),
        Spec("refused_late", 1.0, None, None, None, 0),
        Spec("refused_future", 1.0, None, None, None, 0),
        Spec("refused_range", 1.0, None, None, None, 0),
        Spec("refused_state", 1.0, None, None, None, 0),
        Spec("refused_stale", 1.0, None, None, None, 0),
        Spec("stream_gaps", 1.0, None, None, None, 0),
        Spec("commands_repeated", 1.0, None, None, None, 0),
        Spec("turn_us_max", 1.0, None, None, None, 0),
        Spec("output_dropped", 1.0, None, None, None, 0),
    )

    frames_good: int
    frames_bad_crc: int
    frames_bad_length: int
    frames_unknown: int
    bytes_lost: int
    setpoints_accepted: int
    setpoints_executed: int
    refused_late: int
    refused_future: int
    refused_range: int
    refused_state: int
    refused_stale: int
    stream_gaps: int
    commands_repeated: int
    turn_us_max: int
    output_dropped: int


@dataclass(frozen=True, slots=True)
class DictionaryData(Message):
    """A piece of the zlib-compressed JSON form of this file, as built into the firmware."""

    ID: ClassVar[int] = 0x93
    NAME: ClassVar[str] = "dictionary_data"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x7548C763
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<HB64s")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("offset", 1.0, None, None, None, 0),
        Spec("length", 1.0, None, None, None, 0),
        Spec("data", 1.0, None, None, None, 64),
    )

    offset: int
    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class About(Message):
    """What this firmware is, once a second."""

    ID: ClassVar[int] = 0x94
    NAME: ClassVar[str] = "about"
    DELIVERY: ClassVar[Delivery] = "stream"
    CRC_BYTES: ClassVar[int] = 4
    SEED: ClassVar[int] = 0x62BAB071
    LAYOUT: ClassVar[struct.Struct] = struct.Struct("<I8sHBBH")
    FIELDS: ClassVar[tuple[Spec, ...]] = (
        Spec("version", 1.0, None, None, None, 0),
        Spec("build", 1.0, None, None, None, 8),
        Spec("capabilities", 1.0, None, None, None, 0),
        Spec("reset_cause", 1.0, 0, 3, ResetCause, 0),
        Spec("slot", 1.0, None, None, None, 0),
        Spec("dictionary_size", 1.0, None, None, None, 0),
    )

    version: int
    build: bytes
    capabilities: int
    reset_cause: ResetCause
    slot: int
    dictionary_size: int


MESSAGES: dict[int, type[Message]] = {
    0x01: Hello,
    0x02: Ping,
    0x10: Setpoint,
    0x11: Stop,
    0x12: Configure,
    0x13: Arm,
    0x14: Rest,
    0x15: Reset,
    0x16: Dictionary,
    0x17: Probe,
    0x18: Bulk,
    0x20: ImageBegin,
    0x21: ImageData,
    0x22: ImageEnd,
    0x23: ImageConfirm,
    0x81: Welcome,
    0x82: Pong,
    0x83: Reply,
    0x90: Telemetry,
    0x91: Stopped,
    0x92: Stats,
    0x93: DictionaryData,
    0x94: About,
}
