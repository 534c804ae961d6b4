"""Frames: the bytes that a client and a server exchange. No I/O here; docs/serve.md has the same to the byte.

    offset  size
    0       2     "IN"
    2       1     version of the protocol, 1
    3       1     kind, see Kind
    4       4     id: chosen by who asks, repeated by who answers; 0 for what nobody asked
    8       4     M, bytes of meta, 0 to META_MAX
    12      4     B, bytes of body, 0 to BODY_MAX
    16      M     meta: a JSON object in UTF-8; absent when M is 0
    16+M    B     body: float32 values, row by row

All numbers are little-endian. On a Unix socket frames follow one another; over WebSocket each binary message is one frame.

Rules: the first 16 bytes keep this form in every version, so that an old peer can be told what it lacks. Sizes are checked before
anything of that size is allocated. What breaks a rule is a ServeError with a code out of CODES; nothing else is raised here.
"""

import json
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from innervate.runtime.ali.errors import InnervateError, LatentError, SpaceMismatch

Floats = npt.NDArray[np.float32]

MAGIC = b"IN"
VERSION = 1
VERSIONS = (1,)  # that this program speaks
HEADER = struct.Struct("<2sBBIII")
META_MAX = 64 * 1024  # bytes; the longest meta, a registration, has less than one
BODY_MAX = 4 * 1024 * 1024  # bytes; a gradient request of 512 rows of width 768 has three
LITTLE = np.dtype("<f4")

# code -> what it means to a program; the message is for people
CODES = {
    "frame": "bytes that are no frame, or a frame that makes no sense here",
    "version": "no version of the protocol in common",
    "token": "no token, or another one",
    "space": "another latent space, or other weights, than the client counted on",
    "oversized": "more than a frame may hold",
    "latents": "values of a wrong shape, or not finite",
    "budget": "more than the client's budget",
    "busy": "no room for one more connection, session or question",
    "device": "there is no device here, or it has gone",
    "refused": "the device does not take this application",
    "request": "a request that cannot be carried out as it stands",
    "gone": "the connection has ended",
}


class Kind(IntEnum):
    """What a frame is. Requests are answered by DONE, DATA or ERROR with the same id."""

    HELLO = 1
    WELCOME = 2
    ERROR = 3
    DONE = 4
    DATA = 5
    PING = 6
    APPEND = 16
    RESET = 17
    SNAPSHOT = 18
    REWIND = 19
    FORWARD = 24
    VJP = 25
    ROWS = 32
    LOGITS = 33
    ADD = 34
    SET = 35
    REMOVE = 36
    SAY = 48
    WATCH = 49
    EVENT = 50
    RECENT = 51
    REGISTER = 56
    PUSH = 57
    TELL = 58
    OPENED = 59
    LATENT = 60
    CLOSED = 61
    TAKEN = 62
    LEAVE = 63
    FINISH = 64
    # Between the device and its serving process only; a client that sends one is refused.
    CONFIG = 128
    READY = 129
    GONE = 130


class ServeError(InnervateError):
    """Something between a client and a server; `code` is one of CODES."""

    def __init__(self, code: str, who: str, came: str, expected: str = "", next_step: str = "") -> None:
        super().__init__(who, came, expected, next_step)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, self.who, self.came, self.expected, self.next_step)


@dataclass(slots=True)
class Frame:
    """One frame. `body` holds its bytes; `floats` reads them. Not frozen, for that makes it three times as slow to build."""

    kind: int
    id: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    body: bytes | bytearray | memoryview = b""

    def floats(self, columns: int, who: str = "client") -> Floats:
        """Return the body as float32 [T, columns], writable when the body is. Raises ServeError when it is not whole rows."""
        size = len(self.body)
        if size == 0 or size % (4 * columns):
            came = f"a body of {size} bytes"
            raise ServeError("latents", who, came, f"rows of {columns} float32, {4 * columns} bytes each", "send whole rows")
        flat: Floats = np.frombuffer(self.body, LITTLE).astype(np.float32, copy=False)
        return flat.reshape(-1, columns)


def head(kind: int, id: int, meta: dict[str, Any] | None, size: int, version: int = VERSION) -> bytes:
    """Return header and meta of a frame whose body has `size` bytes. Raises ServeError when it is too long to be taken."""
    text = json.dumps(meta, separators=(",", ":"), allow_nan=False).encode() if meta else b""
    check_sizes("this end", len(text), size)
    return HEADER.pack(MAGIC, version, kind, id, len(text), size) + text


def read_header(data: bytes | bytearray | memoryview, who: str) -> tuple[int, int, int, int]:
    """Return kind, id, bytes of meta, bytes of body. Raises ServeError for what no peer of this version sends."""
    magic, version, kind, id, meta, body = HEADER.unpack_from(data)
    if magic != MAGIC:
        step = "connect with innervate.runtime.serve.client, or see docs/serve.md; HTTP has a port of its own"
        raise ServeError("frame", who, f"began with the bytes {bytes(magic).hex(' ')}", f"{MAGIC.hex(' ')} ({MAGIC.decode()})", step)
    if version not in VERSIONS:
        raise old_version(who, [version])
    check_sizes(who, meta, body)
    return kind, id, meta, body


def old_version(who: str, came: list[int]) -> ServeError:
    """Return the error for a peer that speaks none of VERSIONS."""
    theirs, ours = ", ".join(map(str, came)), ", ".join(map(str, VERSIONS))
    newer = bool(came) and max(came) > VERSION
    step = "update innervate where this server runs" if newer else "update innervate where the client runs (pip install -U innervate)"
    return ServeError("version", who, f"speaks version {theirs} of the protocol", ours, step)


def check_sizes(who: str, meta: int, body: int) -> None:
    """Raise ServeError when a frame is larger than any may be."""
    if meta > META_MAX:
        raise ServeError("oversized", who, f"a meta of {meta} bytes", f"at most {META_MAX}", "put values into the body")
    if body > BODY_MAX:
        raise ServeError("oversized", who, f"a body of {body} bytes", f"at most {BODY_MAX}", "send the latents in parts")


def read_meta(data: bytes | bytearray | memoryview, who: str) -> dict[str, Any]:
    """Return the meta of a frame. Raises ServeError unless it is a JSON object."""
    if not len(data):
        return {}
    try:
        meta = json.loads(bytes(data))
    except (ValueError, RecursionError) as error:
        raise ServeError("frame", who, f"a meta that is not JSON ({error})", "a JSON object", "see docs/serve.md") from error
    if not isinstance(meta, dict):
        raise ServeError("frame", who, f"a meta that is a {type(meta).__name__}", "a JSON object", "see docs/serve.md")
    return meta


def raw(values: Floats) -> memoryview:
    """Return the bytes of float32 values as they stand in a body; no copy where memory has that form already."""
    flat: Any = np.ascontiguousarray(values, LITTLE)
    return memoryview(flat).cast("B")


def error_meta(error: Exception) -> dict[str, Any]:
    """Return what an ERROR frame says of an exception."""
    if isinstance(error, ServeError):
        code = error.code
    elif isinstance(error, SpaceMismatch):
        code = "space"
    elif isinstance(error, LatentError):
        code = "latents"
    else:
        code = "request"
    if isinstance(error, InnervateError):
        parts = {"who": error.who, "came": error.came, "expected": error.expected, "next_step": error.next_step}
    else:
        parts = {"who": "server", "came": f"{type(error).__name__}: {error}", "expected": "", "next_step": "see the device's own messages"}
    return {"code": code, **{key: value[:2000] for key, value in parts.items()}}


def error_of(meta: dict[str, Any]) -> InnervateError:
    """Return the exception that an ERROR frame stands for: LatentError and SpaceMismatch are themselves again."""
    parts = [str(meta.get(key, "")) for key in ("who", "came", "expected", "next_step")]
    code = str(meta.get("code", "request"))
    if code == "latents":
        return LatentError(*parts)
    if code == "space":
        return SpaceMismatch(*parts)
    return ServeError(code, *parts)


class FrameBuffer:
    """Bytes in any pieces in, frames out: for an end that reads without waiting."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what came."""
        self._data += data

    def next(self) -> Frame | None:
        """Return the next whole frame, None when there is none yet. Raises ServeError as `read_header` does."""
        if len(self._data) < HEADER.size:
            return None
        kind, id, meta_size, body_size = read_header(self._data, self._who)
        begin, end = HEADER.size + meta_size, HEADER.size + meta_size + body_size
        if len(self._data) < end:
            return None
        frame = Frame(kind, id, read_meta(self._data[HEADER.size : begin], self._who), self._data[begin:end])
        del self._data[:end]
        return frame
