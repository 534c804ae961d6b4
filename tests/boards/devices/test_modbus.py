"""The simulated transmitter: published examples, registers, faults, and garbage on the wire."""

from __future__ import annotations

import math
import struct
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innervate.boards.emulator.devices.modbus import CONVERSION_NS, LoadCell, Refusal, crc, frame
from innervate.boards.emulator.devices.wire import GAP_NS, KEPT_BYTES_MAX

VECTORS = tomllib.loads(Path(__file__).with_name("vectors.toml").read_text(encoding="utf-8"))["modbus"]
SECOND = 1_000_000_000
ALL = frame(1, bytes([4, 0, 0, 0, 6]))


def ask(cell: LoadCell, question: bytes, t_ns: int = 0) -> bytes:
    """What the transmitter says within a tenth of a second."""
    cell.feed(question, t_ns)
    return cell.take(t_ns + SECOND // 10)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])
def test_published_check_values(vector: dict[str, str | int]) -> None:
    assert crc(bytes.fromhex(str(vector["data"]))) == vector["crc"]


def test_frames_close_with_the_low_byte_first() -> None:
    assert frame(0x11, bytes.fromhex("03006B0003")) == bytes.fromhex("1103006B00037687")
    assert frame(0x11, bytes.fromhex("0306AE4156524340")) == bytes.fromhex("110306AE415652434049AD")


@pytest.mark.parametrize("function", [3, 4])
@pytest.mark.parametrize("newtons", [0.0, 12.34, -3.5])
def test_the_map(function: int, newtons: float) -> None:
    cell = LoadCell(lambda: newtons)
    answer = ask(cell, frame(1, bytes([function, 0, 0, 0, 6])), 7 * CONVERSION_NS)
    assert answer == frame(1, struct.pack(">BBiHHHH", function, 12, round(100 * newtons), 0, 7, 100, 1))
    assert ask(cell, frame(1, bytes([function, 0, 2, 0, 1])), SECOND) == frame(1, bytes([function, 2, 0, 0]))


def test_floats() -> None:
    cell = LoadCell(lambda: 12.34, number="float32")
    answer = ask(cell, ALL)
    assert struct.unpack(">f", answer[3:7])[0] == pytest.approx(1234.0)
    cell.faults.broken = True
    answer = ask(cell, ALL)
    assert math.isnan(struct.unpack(">f", answer[3:7])[0])
    assert answer[7:9] == b"\x00\x02"


def test_it_converts_a_hundred_times_a_second() -> None:
    asked: list[None] = []

    def newtons() -> float:
        asked.append(None)
        return 1.0

    cell = LoadCell(newtons)
    for step in range(50):
        cell.registers(step * CONVERSION_NS // 5)
    assert len(asked) == 10


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        (bytes([6, 0, 0, 0, 1]), Refusal.FUNCTION),
        (bytes([0, 0, 0, 0, 1]), Refusal.FUNCTION),
        (bytes([4, 0, 6, 0, 1]), Refusal.ADDRESS),
        (bytes([4, 0, 0, 0, 7]), Refusal.ADDRESS),
        (bytes([3, 0, 107, 0, 3]), Refusal.ADDRESS),
        (bytes([3, 255, 255, 0, 125]), Refusal.ADDRESS),
        (bytes([3, 0, 0, 0, 0]), Refusal.VALUE),
        (bytes([3, 0, 0, 0, 126]), Refusal.VALUE),
        (bytes([4, 0, 0, 255, 255]), Refusal.VALUE),
    ],
)
def test_refusals(pdu: bytes, code: int) -> None:
    assert ask(LoadCell(lambda: 0.0), frame(1, pdu)) == frame(1, bytes([pdu[0] | 0x80, code]))


@pytest.mark.parametrize("question", [frame(2, ALL[1:6]), frame(0, ALL[1:6]), ALL[:-1] + b"\0", ALL[:-1]])
def test_questions_that_have_no_answer(question: bytes) -> None:
    cell = LoadCell(lambda: 0.0)
    assert ask(cell, question) == b""
    assert ask(cell, ALL, SECOND)


def test_half_a_question_is_forgotten_after_a_while() -> None:
    cell = LoadCell(lambda: 0.0)
    assert ask(cell, ALL[:4]) == b""
    assert ask(cell, ALL[4:], GAP_NS + 1) == b""
    assert ask(cell, ALL[:4], SECOND) == b""
    assert ask(cell, ALL[4:], SECOND + GAP_NS)


def test_faults() -> None:
    cell = LoadCell(lambda: 1.0)
    good = ask(cell, ALL)
    cell.faults.corrupt = True
    assert ask(cell, ALL) == good[:-2] + bytes([good[-2] ^ 0x10, good[-1]])
    cell.faults.corrupt, cell.faults.wrong_id = False, 6
    assert ask(cell, ALL) == frame(7, good[1:-2])
    cell.faults.wrong_id, cell.faults.cut, cell.faults.garbage = 0, 2, b"xyz"
    assert ask(cell, ALL) == b"xyz" + good[:-2]
    cell.faults.cut, cell.faults.garbage, cell.faults.exception = 0, b"", Refusal.BUSY
    assert ask(cell, ALL) == frame(1, bytes([0x84, 6]))
    cell.faults.exception, cell.faults.silent = 0, True
    assert ask(cell, ALL) == b""
    cell.faults.silent, cell.faults.over_range = False, True
    answer = ask(cell, ALL, SECOND)
    assert answer[3:9] == struct.pack(">iH", 20_000, 1)
    cell.faults.over_range, cell.faults.late_ns = False, SECOND
    assert ask(cell, ALL, 2 * SECOND) == b""
    assert cell.due_ns() == 3 * SECOND + 200_000 + 17 * 86_805
    assert cell.take(4 * SECOND)


def test_stuck_keeps_the_force_and_counts_on() -> None:
    force = [1.0]
    cell = LoadCell(lambda: force[0])
    assert cell.registers(0)[1] == 100
    force[0] = 2.0
    cell.faults.stuck = True
    assert cell.registers(SECOND)[1:4] == [100, 0, 100]


def test_power() -> None:
    cell = LoadCell(lambda: 1.0)
    cell.feed(ALL, 0)
    cell.power(False)
    assert cell.take(SECOND) == b""
    assert ask(cell, ALL, SECOND) == b""
    cell.power(True)
    assert ask(cell, ALL, 2 * SECOND)


@given(st.lists(st.tuples(st.binary(max_size=300), st.integers(0, 2 * GAP_NS)), max_size=12))
@settings(max_examples=150, deadline=None)
def test_garbage_raises_nothing_and_is_forgotten(noise: list[tuple[bytes, int]]) -> None:
    """Whatever comes: no exception, bounded memory, and after a silence a question is answered."""
    cell = LoadCell(lambda: 1.0)
    t_ns = 0
    for data, gap_ns in noise:
        t_ns += gap_ns
        cell.feed(data, t_ns)
    assert len(cell.take(t_ns + SECOND)) <= KEPT_BYTES_MAX
    assert len(ask(cell, ALL, t_ns + 2 * SECOND)) == 17


@given(st.binary(max_size=30), st.integers(1, 8))
@settings(deadline=None)
def test_noise_does_not_hide_a_question(noise: bytes, cut: int) -> None:
    cell = LoadCell(lambda: 1.0)
    said = noise + ALL
    cell.feed(said[:cut], 0)
    assert ask(cell, said[cut:], 1000)[-17:] == frame(1, struct.pack(">BBiHHHH", 4, 12, 100, 0, 0, 100, 1))


@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=4, max_size=4))
@settings(deadline=None)
def test_every_question_of_eight_bytes_has_at_most_one_answer(unit: int, function: int, rest: bytes) -> None:
    answer = ask(LoadCell(lambda: 1.0), frame(unit, bytes([function]) + rest))
    if unit != 1:
        assert answer == b""
    else:
        assert crc(answer) == 0, "a frame with its own CRC has the CRC 0"
