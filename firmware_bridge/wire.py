"""Bytes on the wire: COBS frames, a CRC seeded per message, an 8-bit sequence number. No I/O.

    frame = COBS( id:u8  seq:u8  payload  crc ) 0x00          payload length fixed by id; crc little-endian

Rules and invariants
- 0x00 ends a frame and is nowhere else in it, so one lost or flipped byte costs at most two frames and the reader finds the next by itself.
- id + seq + payload + crc < 254 bytes, so COBS adds exactly one byte and a frame of a given id has exactly one length on the wire.
- The CRC covers id, seq and payload. It starts at a seed that is a hash of the message's fields: an end that reads the same id with other
  fields never takes the frame. (For one length, another start value changes the CRC by a constant, so a wrong seed always shows.)
- CRC-16 is CCITT-FALSE (poly 0x1021), CRC-32 is IEEE (0xEDB88320 reflected, final xor); with the published start values they give the
  published check values 0x29B1 and 0xCBF43926 for "123456789".

Which CRC for what moves something: the goal is 0 wrong setpoints in 10^7 frames with bit flips at 1e-3 and 10 % byte loss
- A setpoint is 20 bytes on the wire. It arrives whole with 0.9^20 * 0.999^160 = 0.122 * 0.852 = 10 %: of 10^7 frames 9.0e6 are damaged.
- Worst case, all damaged frames keep their length and look random: CRC-16 passes 9.0e6 / 2^16 = 137 of them, CRC-32 passes 9.0e6 / 2^32 = 0.002.
- Closer: byte loss changes the length and is refused for sure, unless flips split or join frames to the right length. What keeps its length has
  flips only: 10^7 * 0.122 * 0.148 = 1.8e5 frames. CRC-16 detects all 1 to 3 flips at this length; 4 or more happen in C(160,4) * 1e-12 = 2.6e-5
  of the frames, 32 of 10^7 * 0.122, of which 2^-15 pass: 1e-3. But a flip inside COBS is not a flip of the data (a changed code byte moves
  zeros about, which is a burst of any weight), and those are 1 byte in 20, 9e3 frames that only the random bound covers: 9e3 / 2^16 = 0.14.
- So CRC-16 would show a wrong setpoint in about one run of seven; CRC-32 in one of 4.7e5 by the same count, one of 500 by the worst case. Two
  bytes a setpoint buy that: CRC-32 for setpoint, stop and every command that changes what may move; CRC-16 for telemetry, clock and tests.

Known weaknesses: no protection against someone who means it (nobody else is on this wire); 8 bits of sequence number hide the loss of exactly
256 frames in a row from the gap counter (never from the deadman).
"""

from __future__ import annotations

import binascii
import zlib
from dataclasses import dataclass, field

from innervate.firmware_bridge.message import LocalProtocolError, Message, RemoteProtocolError
from innervate.firmware_bridge.messages import MESSAGES

HEADER = 2  # id, seq
FRAME_MAX = 160  # wire bytes without the delimiter; the longest message makes 140, the rest is noise that is dropped
CRC_SIZES = (2, 4)


def crc(seed: int, size: int, data: bytes) -> int:
    """Return the CRC of `data` from register value `seed`; `size` 2: CCITT-FALSE, 4: IEEE."""
    if size == 2:
        return binascii.crc_hqx(data, seed)
    return zlib.crc32(data, seed ^ 0xFFFFFFFF)


def cobs_encode(data: bytes) -> bytes:
    """Return `data` without zeros, one byte longer for each 254 begun (S. Cheshire, M. Baker, 1999); no delimiter."""
    out = bytearray()
    block = bytearray()
    full = False  # the last block was a full one: nothing is left to write unless more bytes follow
    for byte in data:
        full = False
        if byte:
            block.append(byte)
            if len(block) < 254:
                continue
            out += b"\xff" + block
            full = True
        else:
            out += bytes((len(block) + 1,)) + block
        block.clear()
    if not full:
        out += bytes((len(block) + 1,)) + block
    return bytes(out)


def cobs_decode(data: bytes) -> bytes:
    """Return what was encoded. Raises RemoteProtocolError for a zero inside or a block that runs past the end."""
    out = bytearray()
    at = 0
    while at < len(data):
        code = data[at]
        block = data[at + 1 : at + code]
        if code == 0 or 0 in block or len(block) != code - 1:
            raise RemoteProtocolError("frame", f"broken COBS at byte {at}", "blocks that end inside the frame")
        out += block
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


def encode(message: Message, seq: int) -> bytes:
    """Return the frame of `message`, delimiter included. Raises LocalProtocolError for a value out of range."""
    if not 0 <= seq < 256:
        raise LocalProtocolError(message.NAME, f"sequence number {seq}", "0 to 255")
    body = bytes((message.ID, seq)) + message.pack()
    check = crc(message.SEED, message.CRC_BYTES, body).to_bytes(message.CRC_BYTES, "little")
    return cobs_encode(body + check) + b"\0"


def frame_size(message: type[Message]) -> int:
    """Return the wire bytes of a frame of this kind, delimiter included."""
    return HEADER + message.LAYOUT.size + message.CRC_BYTES + 2


def decode(frame: bytes) -> tuple[Message, int]:
    """Return message and sequence number of one frame without its delimiter. Raises RemoteProtocolError with what was wrong."""
    body = cobs_decode(frame)
    if len(body) < HEADER + 2:
        raise RemoteProtocolError("frame", f"{len(body)} bytes", "at least 4")
    kind = MESSAGES.get(body[0])
    if kind is None:
        raise RemoteProtocolError("frame", f"unknown id 0x{body[0]:02x}", "an id of the schema")
    end = HEADER + kind.LAYOUT.size
    if len(body) != end + kind.CRC_BYTES:
        raise RemoteProtocolError(kind.NAME, f"{len(body)} bytes", f"{end + kind.CRC_BYTES}")
    if crc(kind.SEED, kind.CRC_BYTES, body[:end]) != int.from_bytes(body[end:], "little"):
        raise RemoteProtocolError(kind.NAME, "wrong CRC")
    return kind.unpack(body[HEADER:end]), body[1]


@dataclass(slots=True)
class Reader:
    """Cuts a byte stream into messages. Holds at most FRAME_MAX bytes whatever comes; counts what it dropped and why."""

    good: int = 0
    bad: int = 0
    noise_bytes: int = 0  # bytes of frames that were refused or too long
    last_error: str = ""
    _held: bytearray = field(default_factory=bytearray)
    _overrun: bool = False

    def feed(self, data: bytes) -> list[tuple[Message, int]]:
        """Take bytes from the line; return the messages that they completed, oldest first. Never raises."""
        done = []
        *ends, rest = bytes(data).split(b"\0")
        for piece in ends:
            self._keep(piece)
            frame = bytes(self._held)
            self._held.clear()
            if self._overrun:
                self._overrun = False
                self.bad += 1
            elif frame:
                try:
                    done.append(decode(frame))
                    self.good += 1
                except RemoteProtocolError as error:
                    self.bad += 1
                    self.noise_bytes += len(frame)
                    self.last_error = str(error)
        self._keep(rest)
        return done

    def _keep(self, piece: bytes) -> None:
        if self._overrun or len(self._held) + len(piece) > FRAME_MAX:
            self.noise_bytes += len(piece) + len(self._held)
            self._held.clear()
            self._overrun = self._overrun or bool(piece)
            return
        self._held += piece
