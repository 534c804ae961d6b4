"""The load cell: the firmware's Modbus master against the simulated transmitter, in simulated time."""

from __future__ import annotations

import ctypes
import itertools
import math
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innervate.boards.emulator.devices.modbus import LoadCell, Refusal, crc, frame
from tests.firmware_bridge.devices.bench import (
    FORCE,
    FORCE_EXCEPTION,
    FORCE_OK,
    FORCE_OVERLOAD,
    FORCE_SILENT,
    Bench,
    ForceMap,
)

INT32, FLOAT32 = 0, 1


class Rig:
    """A bench with the transmitter; the force on it is `newtons`."""

    def __init__(self, lib: ctypes.CDLL, hz: int = 1_000_000, ticks: int = 0, number: str = "int32", force_map: ForceMap | None = None) -> None:
        self.newtons = 12.34
        self.cell = LoadCell(lambda: self.newtons, number="float32" if number == "float32" else "int32")
        self.bench = Bench(lib, {FORCE: self.cell}, hz, ticks, force_map)

    def started(self) -> Rig:
        self.bench.run(0.1)
        assert self.bench.force().valid
        assert self.bench.force().fault == FORCE_OK
        return self


def said_questions(said: bytes | bytearray) -> list[bytes]:
    """Cut what the master sent into questions, each with a right CRC."""
    assert len(said) % 8 == 0
    questions = [bytes(said[at : at + 8]) for at in range(0, len(said), 8)]
    assert all(crc(question[:6]).to_bytes(2, "little") == question[6:] for question in questions)
    return questions


# --- normal work -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "value"), [(b"123456789", 0x4B37), (b"", 0xFFFF), (bytes.fromhex("1103006b0003"), 0x8776)])
def test_check_values(lib: ctypes.CDLL, data: bytes, value: int) -> None:
    assert lib.modbus_crc(data, len(data)) == value


@given(st.binary(max_size=64))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_sides_compute_the_same_crc(lib: ctypes.CDLL, data: bytes) -> None:
    assert lib.modbus_crc(data, len(data)) == crc(data)


def test_first_words_on_the_wire(lib: ctypes.CDLL) -> None:
    bench = Bench(lib, {})
    bench.run(0.01)
    assert bytes(bench.said[FORCE]) == bytes.fromhex("0104 0000 0003 b00b")


@pytest.mark.parametrize(("hz", "ticks"), [(1_000_000, 0), (84_000_000, 2**32 - 42_000_000), (168_000_000, 2**31 - 5), (100_000, 2**32 - 7)])
@pytest.mark.parametrize("newtons", [0.0, 12.34, -3.5, 99.99])
def test_force_arrives_at_a_hundred_hertz(lib: ctypes.CDLL, hz: int, ticks: int, newtons: float) -> None:
    rig = Rig(lib, hz, ticks)
    rig.newtons = newtons
    rig.started()
    first = rig.bench.force().seq
    for _ in range(2500):
        rig.bench.step()
        sample = rig.bench.force()
        assert sample.valid
        assert sample.force_cn == round(100 * newtons)
        assert rig.bench.age_ns(sample.t_ticks) < 15_000_000
    assert 48 <= (rig.bench.force().seq - first) % 256 <= 50
    state = rig.bench.cell_state()
    assert (state.timeouts, state.bad_crcs, state.stray_bytes) == (0, 0, 0)
    assert state.unchanged == state.answers - 1


def test_silence_before_each_question_is_at_least_the_standards(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    rig.cell.faults.late_ns = 8_000_000  # the answer comes when the next question is nearly due
    heard_ns, last = 0, rig.bench.cell_state().answers
    for _ in range(1000):
        before = len(rig.bench.said[FORCE])
        rig.bench.step()
        if rig.bench.cell_state().answers != last:
            heard_ns, last = rig.bench.t_ns, rig.bench.cell_state().answers
        if len(rig.bench.said[FORCE]) > before:
            assert rig.bench.t_ns - heard_ns >= 1_750_000


@pytest.mark.parametrize("function", [3, 4])
@pytest.mark.parametrize("spare", [0, 1, 3, 200])
def test_other_maps(lib: ctypes.CDLL, function: int, spare: int) -> None:
    rig = Rig(lib, number="float32", force_map=ForceMap(unit=1, function=function, first=0, format=FLOAT32, spare=spare)).started()
    assert rig.bench.force().force_cn == 1234
    assert {question[1] for question in said_questions(rig.bench.said[FORCE])} == {function}


class Canned:
    """A transmitter that answers every question for n registers with the same six bytes and zeros behind them."""

    gap_ns = 0

    def __init__(self, six: bytes) -> None:
        self.six = six
        self.question = self.out = b""

    def feed(self, data: bytes, t_ns: int) -> None:
        self.question += data
        if len(self.question) >= 8:
            count = 2 * self.question[5]
            self.out = frame(1, bytes([4, count]) + self.six.ljust(count, b"\0"))
            self.question = b""

    def take(self, t_ns: int) -> bytes:
        out, self.out = self.out, b""
        return out

    def due_ns(self) -> int | None:
        return None


@given(st.one_of(st.floats(width=32), st.floats(-400.0, 400.0, width=32)))
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_floats_round_to_the_nearest_hundredth_of_a_newton(lib: ctypes.CDLL, value: float) -> None:
    """No floating point in the firmware: for every binary32 the sample is the nearest integer, saturated; no number gives no sample."""
    bench = Bench(lib, {FORCE: Canned(struct.pack(">fH", value, 0))}, force_map=ForceMap(unit=1, function=4, first=0, format=FLOAT32, spare=0))
    bench.run(0.012)
    sample, state = bench.force(), bench.cell_state()
    if not math.isfinite(value):
        assert (sample.valid, state.not_numbers, sample.fault) == (False, state.answers, FORCE_EXCEPTION)
        return
    assert sample.valid
    clamped = max(-32768.0, min(32767.0, value))
    assert abs(sample.force_cn - clamped) <= 0.5
    assert (sample.fault == FORCE_OVERLOAD) == (not -32768.5 < value < 32767.5)


@pytest.mark.parametrize(
    ("raw", "cn", "fault"),
    [(-1, -1, FORCE_OK), (2**31 - 1, 32767, FORCE_OVERLOAD), (-(2**31), -32768, FORCE_OVERLOAD), (32767, 32767, FORCE_OK)],
)
def test_integers_are_signed_and_saturate(lib: ctypes.CDLL, raw: int, cn: int, fault: int) -> None:
    bench = Bench(lib, {FORCE: Canned(struct.pack(">iH", raw, 0))})
    bench.run(0.012)
    assert (bench.force().force_cn, bench.force().fault) == (cn, fault)


# --- faults ----------------------------------------------------------------------------------------------------------

SILENCING = {
    "silent": ("silent", True),
    "corrupt": ("corrupt", True),
    "late": ("late_ns", 30_000_000),
    "wrong id": ("wrong_id", 6),
    "cut": ("cut", 1),
}


@pytest.mark.parametrize("name", SILENCING)
def test_without_a_usable_answer_the_cell_is_silent(lib: ctypes.CDLL, name: str) -> None:
    rig = Rig(lib).started()
    switch, value = SILENCING[name]
    before = getattr(rig.cell.faults, switch)
    since_ns = rig.bench.t_ns
    setattr(rig.cell.faults, switch, value)
    while rig.bench.force().valid:
        rig.bench.step()
        assert rig.bench.t_ns - since_ns < 115_000_000
    assert rig.bench.force().fault == FORCE_SILENT
    for _ in range(2500):
        rig.bench.step()
        assert not rig.bench.force().valid
    state = rig.bench.cell_state()
    assert 8 <= state.timeouts <= 16
    assert (state.bad_crcs > 0) == (name == "corrupt")
    setattr(rig.cell.faults, switch, before)
    rig.newtons = 5.0
    rig.bench.run(0.15)
    assert rig.bench.force().valid
    assert rig.bench.force().fault == FORCE_OK
    assert rig.bench.force().force_cn == 500


@pytest.mark.parametrize("late_ms", [19, 21, 23, 33, 45, 55, 73, 90, 105, 120])
def test_a_late_answer_never_passes_for_a_new_one(lib: ctypes.CDLL, late_ms: int) -> None:
    rig = Rig(lib).started()
    rig.cell.faults.late_ns = late_ms * 1_000_000
    for step in range(5000):
        rig.newtons = step * 0.01  # 0.5 N in 10 ms
        rig.bench.step()
        sample = rig.bench.force()
        if sample.valid and step > 700:
            true_cn = step - rig.bench.age_ns(sample.t_ticks) // 200_000
            # the time-out, one conversion of 10 ms, the answer's own time
            assert true_cn - sample.force_cn <= (20 + 10 + 5) * 5


def test_one_missed_answer_costs_one_sample(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    rig.cell.faults.silent = True
    rig.bench.run(0.011)
    rig.cell.faults.silent = False
    oldest = 0
    for _ in range(500):
        rig.bench.step()
        oldest = max(oldest, rig.bench.age_ns(rig.bench.force().t_ticks))
    assert 20_000_000 < oldest < 40_000_000
    assert rig.bench.cell_state().timeouts == 1


@pytest.mark.parametrize("code", [Refusal.FAILURE, Refusal.BUSY, 255])
def test_exceptions_are_told_by_their_code(lib: ctypes.CDLL, code: int) -> None:
    rig = Rig(lib).started()
    rig.cell.faults.exception = code
    rig.bench.run(0.05)
    assert rig.bench.force().fault == FORCE_EXCEPTION
    assert rig.bench.cell_state().exception == code
    rig.bench.run(0.2)
    assert rig.bench.force().fault == FORCE_EXCEPTION
    assert not rig.bench.force().valid
    rig.cell.faults.silent = True
    rig.bench.run(0.2)
    assert rig.bench.force().fault == FORCE_SILENT
    rig.cell.faults.silent, rig.cell.faults.exception = False, 0
    rig.bench.run(0.1)
    assert rig.bench.force().fault == FORCE_OK
    assert rig.bench.force().valid
    assert rig.bench.cell_state().exception == 0


def test_a_map_that_the_transmitter_does_not_have(lib: ctypes.CDLL) -> None:
    rig = Rig(lib, force_map=ForceMap(unit=1, function=4, first=500, format=INT32, spare=0))
    rig.bench.run(0.1)
    assert rig.bench.force().fault == FORCE_EXCEPTION
    assert rig.bench.cell_state().exception == Refusal.ADDRESS


@pytest.mark.parametrize("number", ["int32", "float32"])
def test_overload_and_broken_bridge(lib: ctypes.CDLL, number: str) -> None:
    force_map = ForceMap(unit=1, function=4, first=0, format=FLOAT32 if number == "float32" else INT32, spare=3)
    rig = Rig(lib, number=number, force_map=force_map).started()
    rig.cell.faults.over_range = True
    rig.bench.run(0.05)
    assert (rig.bench.force().valid, rig.bench.force().fault, rig.bench.force().force_cn) == (True, FORCE_OVERLOAD, 20_000)
    rig.cell.faults.over_range = False
    rig.bench.run(0.05)
    assert rig.bench.force().fault == FORCE_OK
    rig.cell.faults.broken = True
    rig.bench.run(0.05)
    assert rig.bench.force().fault == FORCE_EXCEPTION
    rig.bench.run(0.1)
    assert not rig.bench.force().valid
    rig.cell.faults.broken = False
    rig.bench.run(0.05)
    assert (rig.bench.force().valid, rig.bench.force().fault) == (True, FORCE_OK)


def test_a_stuck_value_is_counted(lib: ctypes.CDLL) -> None:
    rig = Rig(lib)
    ramp = itertools.count()
    rig.cell.newtons = lambda: 0.01 * next(ramp)
    rig.started()
    assert rig.bench.cell_state().unchanged <= 1
    rig.cell.faults.stuck = True
    rig.bench.run(0.5)
    assert rig.bench.cell_state().unchanged >= 45
    rig.cell.faults.stuck = False
    rig.bench.run(0.05)
    assert rig.bench.cell_state().unchanged <= 1


@pytest.mark.parametrize("offset_us", range(0, 10_000, 1200))
def test_a_processor_that_stood_still_blames_nobody(lib: ctypes.CDLL, offset_us: int) -> None:
    rig = Rig(lib).started()
    rig.bench.run(offset_us * 1e-6)
    rig.bench.stall(0.5)
    for _ in range(500):
        rig.bench.step()
        assert rig.bench.force().valid
        assert rig.bench.force().fault == FORCE_OK


def test_it_loses_its_power_and_gets_it_back(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    rig.cell.power(False)
    rig.bench.run(0.2)
    assert rig.bench.force().fault == FORCE_SILENT
    rig.cell.power(True)
    rig.bench.run(0.15)
    assert rig.bench.force().fault == FORCE_OK


def test_a_port_that_takes_nothing_blocks_nothing(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    lib.bench_room(7)
    rig.bench.run(0.3)
    assert rig.bench.force().fault == FORCE_SILENT
    lib.bench_room(256)
    rig.bench.run(0.15)
    assert rig.bench.force().valid


# --- garbage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", ["00", "01", "0104", "010406", "0184", "0184020000", "010400000003b00b", "00" * 30])
def test_noise_before_each_answer_is_skipped(lib: ctypes.CDLL, noise: str) -> None:
    """The one before the last is the echo of the question itself."""
    rig = Rig(lib).started()
    rig.cell.faults.garbage = bytes.fromhex(noise)
    for _ in range(1500):
        rig.bench.step()
        assert rig.bench.force().valid
        assert rig.bench.age_ns(rig.bench.force().t_ticks) < 45_000_000


bytes_on_the_wire = st.one_of(
    st.binary(max_size=40),
    # frames that look right: any unit, any content, a right CRC
    st.builds(frame, st.integers(0, 255), st.binary(min_size=1, max_size=20)),
    st.builds(lambda pdu: frame(1, b"\x04" + pdu), st.binary(max_size=12)),
)


@given(st.lists(st.tuples(st.integers(0, 80), bytes_on_the_wire), max_size=25), st.sampled_from([0, 2**32 - 5000]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_from_the_line_harms_nothing_and_is_recovered_from(lib: ctypes.CDLL, noise: list[tuple[int, bytes]], ticks: int) -> None:
    """Whatever comes: each poll ends within its bound, what the master says is well formed, and after the noise all is well within 0.2 s."""
    rig = Rig(lib, ticks=ticks)
    for steps, data in noise:
        for _ in range(steps):
            rig.bench.step()
        rig.bench.push(FORCE, data)
    rig.bench.run(0.2)
    assert rig.bench.force().valid
    assert rig.bench.force().fault == FORCE_OK
    assert rig.bench.force().force_cn == 1234
    said_questions(rig.bench.said[FORCE])
