"""The codec in Python and in C: the same vectors, the same refusals, and a stream that heals."""

from __future__ import annotations

import ctypes
import json
from typing import Any

import pytest
from cobs import cobs
from hypothesis import given
from hypothesis import strategies as st

from innervate.firmware_bridge import generate, schema, wire
from innervate.firmware_bridge.message import LocalProtocolError, RemoteProtocolError
from innervate.firmware_bridge.messages import MESSAGES, SCHEMA_HASH, Ping, Setpoint, Telemetry
from tests.firmware_bridge.build import build
from tests.firmware_bridge.vectors import PATH, vectors

VECTORS: dict[str, list[dict[str, Any]]] = json.loads(PATH.read_text(encoding="ascii"))


@pytest.fixture(scope="module")
def c() -> ctypes.CDLL:
    lib = ctypes.CDLL(str(build("host") / "libfirmware.so"))
    lib.crc32_ieee.restype = ctypes.c_uint32
    lib.crc16_ccitt.restype = ctypes.c_uint16
    for name in ("cobs_encode", "frame_encode"):
        getattr(lib, name).restype = ctypes.c_size_t
    lib.msg_info.restype = ctypes.c_void_p
    return lib


def c_decode(lib: ctypes.CDLL, data: bytes) -> tuple[int, int, bytes] | None:
    """Push bytes through the C reader; return id, seq and payload of the first good frame."""
    reader = ctypes.create_string_buffer(256)
    info, payload, seq = ctypes.POINTER(ctypes.c_uint8)(), ctypes.POINTER(ctypes.c_uint8)(), ctypes.c_uint8()
    for byte in data:
        if lib.reader_push(reader, ctypes.c_uint8(byte), ctypes.byref(info), ctypes.byref(seq), ctypes.byref(payload)) == 1:
            return info[0], seq.value, bytes(payload[: info[1]])
    return None


def test_generated_files_are_fresh() -> None:
    stale = [path.name for path, text in generate.outputs(schema.load()).items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run python -m innervate.firmware_bridge.generate"


def test_vectors_are_fresh() -> None:
    assert vectors() == VECTORS, "run python -m tests.firmware_bridge.vectors"


def test_every_frame_fits_one_cobs_block() -> None:
    assert max(wire.frame_size(kind) for kind in MESSAGES.values()) - 1 <= min(254, wire.FRAME_MAX)


@pytest.mark.parametrize("case", VECTORS["crc"], ids=lambda c: c["what"])
def test_crc(case: dict[str, Any], c: ctypes.CDLL) -> None:
    data = bytes.fromhex(case["data"])
    assert wire.crc(case["start"], case["bytes"], data) == case["crc"]
    function = c.crc16_ccitt if case["bytes"] == 2 else c.crc32_ieee
    assert function(case["start"], data, len(data)) == case["crc"]


@pytest.mark.parametrize("case", VECTORS["cobs"], ids=lambda c: c["what"])
def test_cobs(case: dict[str, Any], c: ctypes.CDLL) -> None:
    plain, coded = bytes.fromhex(case["plain"]), bytes.fromhex(case["coded"])
    assert wire.cobs_encode(plain) == coded == cobs.encode(plain)
    assert wire.cobs_decode(coded) == plain
    room = ctypes.create_string_buffer(64)
    size = c.cobs_encode(plain, len(plain), room)
    assert room.raw[:size] == coded


@pytest.mark.parametrize("case", VECTORS["good"], ids=lambda c: c["what"])
def test_good_frames(case: dict[str, Any], c: ctypes.CDLL) -> None:
    frame, payload = bytes.fromhex(case["frame"]), bytes.fromhex(case["payload"])
    message, seq = wire.decode(frame[:-1])
    assert (message.ID, seq) == (case["id"], case["seq"])
    assert message == MESSAGES[case["id"]].unpack(payload)
    room = ctypes.create_string_buffer(256)
    size = c.frame_encode(case["id"], case["seq"], payload, room)
    assert room.raw[:size] == frame
    assert c_decode(c, frame) == (case["id"], case["seq"], payload)


@pytest.mark.parametrize("case", VECTORS["bad"], ids=lambda c: c["what"])
def test_bad_frames(case: dict[str, Any], c: ctypes.CDLL) -> None:
    frame = bytes.fromhex(case["frame"])
    with pytest.raises(RemoteProtocolError):
        wire.decode(frame[:-1])
    assert c_decode(c, frame) is None


@given(st.binary(max_size=600))
def test_cobs_is_the_package_s(data: bytes) -> None:
    assert wire.cobs_encode(data) == cobs.encode(data)
    assert wire.cobs_decode(cobs.encode(data)) == data


@given(st.binary(max_size=1000), st.lists(st.integers(0, 999), max_size=20))
def test_a_reader_survives_everything_and_heals(noise: bytes, cuts: list[int]) -> None:
    reader = wire.Reader()
    at = 0
    for cut in sorted({min(c, len(noise)) for c in cuts} | {len(noise)}):
        reader.feed(noise[at:cut])
        at = cut
        assert len(reader._held) <= wire.FRAME_MAX
    assert [m for m, _ in reader.feed(b"\0" + wire.encode(Ping(7), 3))][-1] == Ping(7)


@given(st.binary(min_size=1, max_size=300))
def test_c_and_python_refuse_the_same(noise: bytes) -> None:
    lib = ctypes.CDLL(str(build_once() / "libfirmware.so"))
    got = c_decode(lib, noise + b"\0")
    heard = wire.Reader().feed(noise + b"\0")
    assert (got is None) == (not heard)


_BUILT: list[Any] = []


def build_once() -> Any:
    if not _BUILT:
        _BUILT.append(build("host"))
    return _BUILT[0]


@given(st.integers(0, 159), st.integers(0, 255))
def test_one_damaged_bit_is_always_refused(bit: int, seq: int) -> None:
    frame = bytearray(wire.encode(Setpoint(1, 2, 3.0, 4.0), seq)[:-1])
    frame[bit // 8 % len(frame)] ^= 1 << bit % 8
    with pytest.raises(RemoteProtocolError):
        wire.decode(bytes(frame))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 180.01, -181.0, 1e9])
def test_a_setpoint_out_of_range_is_not_encoded(value: float) -> None:
    with pytest.raises(LocalProtocolError, match=r"setpoint.pan_deg"):
        Setpoint(0, 0, value, 0.0).pack()


def test_useful_payload_of_a_steady_session() -> None:
    useful = 100 * Setpoint.LAYOUT.size + 200 * Telemetry.LAYOUT.size
    on_wire = 100 * wire.frame_size(Setpoint) + 200 * wire.frame_size(Telemetry)
    assert useful / on_wire >= 0.60


def test_an_unknown_key_of_the_schema_names_the_nearest() -> None:
    text = schema.PATH.read_text(encoding="utf-8").replace("scale = 0.01", "scael = 0.01", 1)
    with pytest.raises(schema.SchemaError, match="scale"):
        schema.parse(text)


def test_a_changed_field_changes_hash_and_seed_of_its_message_alone() -> None:
    text = schema.PATH.read_text(encoding="utf-8")
    other = schema.parse(text.replace('name = "token", type = "u32"', 'name = "token", type = "u16"', 1))
    assert other.hash != SCHEMA_HASH
    changed = [a.name for a, b in zip(schema.load().messages, other.messages, strict=True) if a.seed != b.seed]
    assert changed == ["ping"]
