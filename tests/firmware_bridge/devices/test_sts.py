"""The servo bus: the firmware's master against the simulated servos, in simulated time."""

from __future__ import annotations

import ctypes
import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innervate.boards.emulator.devices.plants import ServoAxes
from innervate.boards.emulator.devices.sts import BROADCAST, Instruction, Reg, StsBus, head, packet
from tests.firmware_bridge.devices.bench import (
    FIT,
    MOTOR_HOT,
    MOTOR_OK,
    MOTOR_OVERLOAD,
    MOTOR_SENSOR,
    MOTOR_SILENT,
    MOTOR_VOLTAGE,
    PAN,
    SERVO,
    STEP_NS,
    TILT,
    WRONG_MODE,
    Bench,
)

STEP_CDEG = 9  # one step of the encoder, 0.088 degrees, rounded up


class Rig:
    """A bench with the handheld's two servos."""

    def __init__(self, lib: ctypes.CDLL, echo: bool = False, hz: int = 1_000_000, ticks: int = 0) -> None:
        self.plant = ServoAxes()
        self.bus: StsBus = head(self.plant, echo)
        self.bench = Bench(lib, {SERVO: self.bus}, hz, ticks)
        self.lib = lib

    def servo_table(self, axis: int) -> bytearray:
        return self.bus.servos[1 + axis].table

    def place(self, axis: int, angle_deg: float) -> None:
        """Put an axis somewhere at rest."""
        servo = self.plant.servos[axis]
        servo.position_deg = servo.target_deg = angle_deg
        servo.rate_deg_s = 0.0

    def true_cdeg(self, axis: int) -> float:
        return 100.0 * self.plant.servos[axis].position_deg

    def started(self) -> Rig:
        """Both axes answer and hold."""
        self.bench.run(0.1)
        self.lib.motor_torque(True)
        self.bench.run(0.15)
        for axis in (PAN, TILT):
            assert self.bench.motor(axis).valid
            assert self.bench.servo_state(axis).confirmed
        return self


def said_packets(said: bytes | bytearray) -> list[tuple[int, int, bytes]]:
    """Cut what the master sent into packets; every byte must belong to one with a right checksum."""
    packets, at = [], 0
    while at < len(said):
        assert said[at : at + 2] == b"\xff\xff", said[at : at + 8].hex(" ")
        whole = said[at + 3] + 4
        body = said[at + 2 : at + whole]
        assert ~sum(body[:-1]) & 0xFF == body[-1], body.hex(" ")
        packets.append((body[0], body[2], bytes(body[3:-1])))
        at += whole
    return packets


# --- normal work -----------------------------------------------------------------------------------------------------


def test_first_words_on_the_wire(lib: ctypes.CDLL) -> None:
    bench = Bench(lib, {})
    bench.run(0.03)
    assert bench.said[SERVO].startswith(packet(1, Instruction.READ, bytes([3, 31])))
    assert packet(2, Instruction.READ, bytes([3, 31])) in bench.said[SERVO]


def test_both_axes_are_found_within_a_tenth_of_a_second_and_nothing_is_written(lib: ctypes.CDLL) -> None:
    rig = Rig(lib)
    rig.place(PAN, 12.0)
    rig.bench.run(0.1)
    for axis, cdeg in ((PAN, 1200), (TILT, 0)):
        sample, state = rig.bench.motor(axis), rig.bench.servo_state(axis)
        assert sample.valid
        assert sample.fault == MOTOR_OK
        assert abs(sample.position_cdeg - cdeg) <= STEP_CDEG
        assert (state.identity, state.model, state.voltage_dv, state.temperature_c) == (FIT, 777, 120, 38)
    assert {kind for _, kind, _ in said_packets(rig.bench.said[SERVO])} == {Instruction.READ}


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize(("hz", "ticks"), [(1_000_000, 0), (84_000_000, 2**32 - 42_000_000), (168_000_000, 2**31 - 5), (100_000, 2**32 - 7)])
def test_axes_go_where_they_are_sent(lib: ctypes.CDLL, echo: bool, hz: int, ticks: int) -> None:
    rig = Rig(lib, echo, hz, ticks).started()
    lib.motor_target(PAN, 3000)
    lib.motor_target(TILT, -1000)
    fastest = 0
    for _ in range(4000):
        rig.bench.step()
        for axis in (PAN, TILT):
            sample = rig.bench.motor(axis)
            assert sample.valid
            assert sample.fault == MOTOR_OK
            assert rig.bench.age_ns(sample.t_ticks) < 25_000_000
        fastest = max(fastest, rig.bench.motor(PAN).speed_cdeg_s)
    for axis, cdeg in ((PAN, 3000), (TILT, -1000)):
        assert abs(rig.bench.motor(axis).position_cdeg - cdeg) <= STEP_CDEG
        assert abs(rig.true_cdeg(axis) - cdeg) <= STEP_CDEG
        assert rig.bench.servo_state(axis).timeouts == 0
        assert rig.bench.servo_state(axis).stray_bytes == 0
    assert 14_000 < fastest <= 15_100
    said_packets(rig.bench.said[SERVO])


def test_each_axis_is_asked_a_hundred_times_a_second(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    before = [rig.bench.servo_state(axis).answers for axis in (PAN, TILT)]
    rig.bench.run(1.0)
    for axis in (PAN, TILT):
        assert 90 <= rig.bench.servo_state(axis).answers - before[axis] <= 100


def test_a_confirmed_command_is_not_written_again(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    rig.bench.said[SERVO].clear()
    rig.bench.run(0.5)
    assert {kind for _, kind, _ in said_packets(rig.bench.said[SERVO])} == {Instruction.READ}


def test_targets_beyond_a_turn_are_clamped_to_it(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    for cdeg, goal in ((32767, 4095), (-32768, 0), (17999, 4095), (-18000, 0)):
        lib.motor_target(PAN, cdeg)
        rig.bench.run(0.1)
        assert rig.bus.servos[1].word(Reg.GOAL) == goal


def test_an_axis_that_does_not_exist_has_no_sample(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    lib.motor_target(7, 1000)
    assert not rig.bench.motor(7).valid
    assert rig.bench.motor(7).fault == MOTOR_SILENT
    assert rig.bench.servo_state(7).answers == 0


# --- torque ----------------------------------------------------------------------------------------------------------


def test_torque_catches_an_axis_where_it_stands(lib: ctypes.CDLL) -> None:
    rig = Rig(lib)
    rig.place(PAN, 25.0)
    rig.servo_table(PAN)[Reg.GOAL : Reg.GOAL + 2] = (100).to_bytes(2, "little")  # an old goal, far away
    rig.started()
    assert rig.servo_table(PAN)[Reg.TORQUE] == 1
    rig.bench.run(0.3)
    assert abs(rig.true_cdeg(PAN) - 2500) <= STEP_CDEG


def test_a_goal_given_before_torque_is_gone_to(lib: ctypes.CDLL) -> None:
    rig = Rig(lib)
    rig.bench.run(0.1)
    lib.motor_target(PAN, 1500)
    rig.bench.run(0.1)
    assert rig.true_cdeg(PAN) == 0.0
    lib.motor_torque(True)
    rig.bench.run(0.5)
    assert abs(rig.true_cdeg(PAN) - 1500) <= STEP_CDEG


def test_letting_go_writes_no_goal_and_forgets_the_old_one(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    lib.motor_target(PAN, 2000)
    rig.bench.run(0.06)
    rig.bench.said[SERVO].clear()
    lib.motor_torque(False)
    rig.bench.run(0.2)
    writes = [body for ident, kind, body in said_packets(rig.bench.said[SERVO]) if ident == BROADCAST]
    assert set(writes) == {bytes([Reg.TORQUE, 1, 1, 0]), bytes([Reg.TORQUE, 1, 2, 0])}
    for axis in (PAN, TILT):
        assert rig.servo_table(axis)[Reg.TORQUE] == 0
        assert rig.bench.servo_state(axis).confirmed
    stopped = rig.true_cdeg(PAN)
    assert 0.0 < stopped < 1900.0
    lib.motor_torque(True)
    rig.bench.run(0.3)
    assert abs(rig.true_cdeg(PAN) - stopped) <= STEP_CDEG


def test_letting_go_reaches_a_servo_whose_answers_do_not_reach_us(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    rig.bus.servos[1].faults.silent = True
    rig.bench.run(0.3)
    assert not rig.bench.motor(PAN).valid
    lib.motor_torque(False)
    rig.bench.run(0.1)
    assert rig.servo_table(PAN)[Reg.TORQUE] == 0


@pytest.mark.parametrize("lost", [1, 5, 17])
def test_a_lost_command_is_sent_again_until_the_servo_shows_it(lib: ctypes.CDLL, lost: int) -> None:
    rig = Rig(lib).started()
    lib.motor_target(PAN, 1000)
    rig.bench.lossy[SERVO] = lost
    rig.bench.run(0.1)
    assert rig.bench.servo_state(PAN).confirmed
    assert abs(rig.bus.servos[1].word(Reg.GOAL) - 2048 - 114) <= 1


def test_torque_that_goes_off_by_itself_is_reported_and_the_axis_caught(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    lib.motor_target(PAN, 2000)
    rig.bench.run(0.6)
    rig.bus.servos[1].power_up()
    rig.place(PAN, 5.0)  # it sank
    seen = []
    for _ in range(500):
        rig.bench.step()
        seen.append(rig.bench.motor(PAN).fault)
    assert MOTOR_VOLTAGE in seen[: 70_000_000 // STEP_NS]
    assert rig.bench.servo_state(PAN).torque_losses == 1
    rig.bench.run(0.5)
    assert rig.bench.motor(PAN).fault == MOTOR_OK
    assert rig.servo_table(PAN)[Reg.TORQUE] == 1
    assert abs(rig.true_cdeg(PAN) - 500) <= STEP_CDEG, "the old goal is not resumed"


def test_torque_lost_behind_a_missed_answer_is_seen_though_goals_keep_coming(lib: ctypes.CDLL) -> None:
    """A write would switch it on again unseen: after a missed answer the driver reads first."""
    rig = Rig(lib).started()
    rig.bus.servos[1].faults.silent = True
    for step in range(500):
        lib.motor_target(PAN, 10 * step)
        rig.bench.step()
        if step == 30:
            rig.bus.servos[1].power_up()
        if step == 60:
            rig.bus.servos[1].faults.silent = False
    assert rig.bench.servo_state(PAN).torque_losses == 1
    assert rig.bench.motor(PAN).fault == MOTOR_VOLTAGE


# --- faults ----------------------------------------------------------------------------------------------------------


def others_are_well(rig: Rig, axis: int) -> None:
    sample = rig.bench.motor(1 - axis)
    assert sample.valid
    assert sample.fault == MOTOR_OK
    assert rig.bench.age_ns(sample.t_ticks) < 60_000_000


SILENCING = {
    "silent": ("silent", True),
    "corrupt": ("corrupt", True),
    "late": ("late_ns", 30_000_000),
    "wrong id": ("wrong_id", 6),
    "cut": ("cut", 3),
}


@pytest.mark.parametrize("axis", [PAN, TILT])
@pytest.mark.parametrize("name", SILENCING)
def test_without_a_usable_answer_an_axis_is_silent_and_its_goal_gone(lib: ctypes.CDLL, name: str, axis: int) -> None:
    rig = Rig(lib).started()
    lib.motor_target(axis, 1500)
    rig.bench.run(0.4)
    faults = rig.bus.servos[1 + axis].faults
    switch, value = SILENCING[name]
    before = getattr(faults, switch)
    since_ns = rig.bench.t_ns
    setattr(faults, switch, value)
    while rig.bench.motor(axis).valid:
        rig.bench.step()
        others_are_well(rig, axis)
        assert rig.bench.t_ns - since_ns < 130_000_000
    assert rig.bench.motor(axis).fault == MOTOR_SILENT
    rig.place(axis, 3.0)
    for _ in range(1500):
        rig.bench.step()
        others_are_well(rig, axis)
        assert not rig.bench.motor(axis).valid
    state = rig.bench.servo_state(axis)
    assert 4 <= state.timeouts <= 14
    assert (state.bad_checksums > 0) == (name == "corrupt")
    assert (state.wrong_packets > 0) == (name in ("late", "wrong id"))
    setattr(faults, switch, before)
    rig.bench.run(0.2)
    sample = rig.bench.motor(axis)
    assert sample.valid
    assert sample.fault == MOTOR_OK
    rig.bench.run(0.3)
    assert abs(rig.true_cdeg(axis) - 300) <= STEP_CDEG, "the old goal is not resumed"
    lib.motor_target(axis, 1000)
    rig.bench.run(0.5)
    assert abs(rig.true_cdeg(axis) - 1000) <= STEP_CDEG


@pytest.mark.parametrize("late_ms", [1, 5, 15])
def test_answers_within_the_time_out_count(lib: ctypes.CDLL, late_ms: int) -> None:
    rig = Rig(lib).started()
    for servo in rig.bus.servos.values():
        servo.faults.late_ns = late_ms * 1_000_000
    rig.bench.run(0.5)
    for axis in (PAN, TILT):
        assert rig.bench.motor(axis).valid
        assert rig.bench.servo_state(axis).timeouts == 0


@pytest.mark.parametrize("late_ms", [19, 21, 25, 33, 41, 50, 55, 63, 75, 90])
@pytest.mark.parametrize("both", [False, True])
def test_a_late_answer_never_passes_for_a_new_one(lib: ctypes.CDLL, late_ms: int, both: bool) -> None:
    rig = Rig(lib).started()
    lib.motor_target(PAN, 9000)
    rig.bench.run(0.1)
    history: list[float] = []
    for servo in list(rig.bus.servos.values())[: 2 if both else 1]:
        servo.faults.late_ns = late_ms * 1_000_000
    for _ in range(2500):
        history.append(rig.true_cdeg(PAN))
        rig.bench.step()
        sample = rig.bench.motor(PAN)
        if sample.valid and len(history) > 600:
            # the angle told is one that the axis had in the 25 ms before the answer came
            came = len(history) - rig.bench.age_ns(sample.t_ticks) // STEP_NS
            then = history[max(0, came - 25_000_000 // STEP_NS) : came + 1]
            assert min(then) - STEP_CDEG <= sample.position_cdeg <= max(then) + STEP_CDEG


def test_noise_before_each_answer_is_skipped(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    for noise in (b"\x00", b"\xff", b"\xff\xff", b"\xff\xff\x01", b"\xff\xff\x01\x0d\x00", b"\xff" * 9, bytes(range(40))):
        rig.bus.servos[1].faults.garbage = noise
        rig.bench.run(0.3)
        assert rig.bench.motor(PAN).valid, noise
        assert rig.bench.age_ns(rig.bench.motor(PAN).t_ticks) < 60_000_000
        others_are_well(rig, PAN)


REPORTED = {
    "hot": MOTOR_HOT,
    "overload": MOTOR_OVERLOAD,
    "low_voltage": MOTOR_VOLTAGE,
    "broken_sensor": MOTOR_SENSOR,
    "over_range": MOTOR_SENSOR,
}


@pytest.mark.parametrize("name", REPORTED)
def test_what_the_servo_reports_is_told_and_passes(lib: ctypes.CDLL, name: str) -> None:
    rig = Rig(lib).started()
    faults = rig.bus.servos[2].faults
    setattr(faults, name, True)
    rig.bench.run(0.05)
    assert rig.bench.motor(TILT).fault == REPORTED[name]
    assert rig.bench.motor(TILT).valid == (name != "over_range")
    others_are_well(rig, TILT)
    setattr(faults, name, False)
    rig.bench.run(0.05)
    assert rig.bench.motor(TILT).fault == MOTOR_OK
    assert rig.bench.motor(TILT).valid


def test_one_angle_out_of_range_is_taken_for_a_garbled_answer(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    rig.bus.servos[1].faults.over_range = True
    rig.bench.run(0.01)
    rig.bus.servos[1].faults.over_range = False
    for _ in range(200):
        rig.bench.step()
        assert rig.bench.motor(PAN).fault == MOTOR_OK
        assert rig.bench.motor(PAN).valid


def test_a_stuck_encoder_repeats_itself_while_the_axis_moves(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    rig.bus.servos[1].faults.stuck = True
    lib.motor_target(PAN, 4000)
    rig.bench.run(0.6)
    sample = rig.bench.motor(PAN)
    assert sample.valid
    assert sample.position_cdeg == 0, "the driver tells what the servo says; goal against angle is the core's check"
    assert rig.true_cdeg(PAN) > 3900
    rig.bus.servos[1].faults.stuck = False
    rig.bench.run(0.05)
    assert abs(rig.bench.motor(PAN).position_cdeg - 4000) <= STEP_CDEG


@pytest.mark.parametrize("offset_us", range(0, 6000, 800))
def test_a_processor_that_stood_still_blames_nobody(lib: ctypes.CDLL, offset_us: int) -> None:
    rig = Rig(lib).started()
    rig.bench.run(offset_us * 1e-6)
    rig.bench.stall(0.5)
    for _ in range(500):
        rig.bench.step()
        for axis in (PAN, TILT):
            assert rig.bench.motor(axis).valid
            assert rig.bench.motor(axis).fault == MOTOR_OK
    assert rig.bench.age_ns(rig.bench.motor(PAN).t_ticks) < 25_000_000


def test_the_bus_loses_its_power_and_gets_it_back(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    lib.motor_target(PAN, 2000)
    lib.motor_target(TILT, 500)
    rig.bench.run(0.5)
    rig.bus.power(False, rig.bench.t_ns)
    rig.bench.run(0.15)
    for axis in (PAN, TILT):
        assert not rig.bench.motor(axis).valid
        assert rig.bench.motor(axis).fault == MOTOR_SILENT
    rig.place(PAN, 7.0)
    rig.place(TILT, -20.0)  # it fell
    rig.bus.power(True, rig.bench.t_ns)
    rig.bench.run(0.2 + 0.25)
    for axis, cdeg in ((PAN, 700), (TILT, -2000)):
        assert rig.bench.motor(axis).valid
        assert rig.servo_table(axis)[Reg.TORQUE] == 1, "torque was wanted, so the axis is held"
        assert abs(rig.true_cdeg(axis) - cdeg) <= STEP_CDEG, "where it is"


def test_after_power_comes_back_a_released_axis_stays_released(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    lib.motor_torque(False)
    rig.bench.run(0.1)
    rig.bus.power(False, rig.bench.t_ns)
    rig.bench.run(0.2)
    rig.bus.power(True, rig.bench.t_ns)
    rig.bench.run(0.5)
    assert rig.bench.motor(PAN).valid
    assert rig.servo_table(PAN)[Reg.TORQUE] == 0


def test_a_servo_in_another_mode_gets_no_goal(lib: ctypes.CDLL) -> None:
    rig = Rig(lib)
    rig.servo_table(PAN)[Reg.MODE] = 1
    lib.motor_torque(True)
    for cdeg in range(0, 3000, 100):
        lib.motor_target(PAN, cdeg)
        rig.bench.run(0.01)
    assert rig.bench.servo_state(PAN).identity == WRONG_MODE
    assert not rig.bench.motor(PAN).valid
    assert rig.bench.motor(PAN).fault == MOTOR_SENSOR
    assert rig.bus.servos[1].word(Reg.GOAL) == 0
    lib.motor_torque(False)
    rig.bench.run(0.1)
    assert bytes([Reg.TORQUE, 1, 1, 0]) in {body for _, kind, body in said_packets(rig.bench.said[SERVO]) if kind == Instruction.SYNC_WRITE}


def test_a_port_that_takes_nothing_blocks_nothing(lib: ctypes.CDLL) -> None:
    rig = Rig(lib).started()
    lib.bench_room(7)
    rig.bench.run(0.3)
    assert [rig.bench.motor(axis).fault for axis in (PAN, TILT)] == [MOTOR_SILENT] * 2
    lib.bench_room(256)
    rig.bench.run(0.2)
    assert rig.bench.motor(PAN).valid
    assert rig.bench.motor(TILT).valid


# --- garbage ---------------------------------------------------------------------------------------------------------


def test_a_line_that_never_falls_silent_stops_no_questions(lib: ctypes.CDLL) -> None:
    bench = Bench(lib, {})
    noise = itertools.cycle(bytes((7 * i * i + i) & 0xFF for i in range(251)))
    for _ in range(5000):
        bench.push(SERVO, bytes(itertools.islice(noise, 20)))  # 200 microseconds at 1 Mbit/s
        bench.step()
    assert len(said_packets(bench.said[SERVO])) >= 20
    assert not bench.motor(PAN).valid


bytes_on_the_wire = st.one_of(
    st.binary(max_size=60),
    # packets that look right: any id, any length, any content, a right checksum
    st.builds(packet, st.integers(0, 254), st.integers(0, 255), st.binary(max_size=40)),
)


@given(st.lists(st.tuples(st.integers(0, 40), bytes_on_the_wire), max_size=25), st.booleans(), st.sampled_from([0, 2**32 - 5000]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_from_the_line_harms_nothing_and_is_recovered_from(lib: ctypes.CDLL, noise: list[tuple[int, bytes]], echo: bool, ticks: int) -> None:
    """Whatever comes: each poll ends within its bound, what the master says is well formed, and after the noise all is well within 0.4 s."""
    rig = Rig(lib, echo, ticks=ticks)
    lib.motor_torque(True)
    for steps, data in noise:
        for _ in range(steps):
            rig.bench.step()
        rig.bench.push(SERVO, data)
    rig.bench.run(0.4)  # forged answers may have let an axis go silent for a while
    for axis in (PAN, TILT):
        assert rig.bench.motor(axis).valid
        assert rig.bench.motor(axis).fault in (MOTOR_OK, MOTOR_VOLTAGE)  # a forged loss of torque is reported for 0.2 s
        assert abs(rig.bench.motor(axis).position_cdeg - rig.true_cdeg(axis)) <= STEP_CDEG
    said_packets(rig.bench.said[SERVO])
